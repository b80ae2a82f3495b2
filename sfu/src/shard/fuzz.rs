//! The fuzz function of a whole shard: bytes become a sequence of datagrams, commands and time.
//!
//! Nobody can guess a key, so bytes alone would never reach what lies behind one. Packets of the
//! participants are therefore handed in as if they had been authenticated; everything else takes
//! the ordinary way. What must hold whatever happens: no panic, one SRTP number is one packet, and
//! nothing is left when the rooms are closed.
#![expect(
    clippy::disallowed_methods,
    reason = "an arbitrary start of virtual time; only differences of it count"
)]

mod tap;

pub use self::tap::tap;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::command::{Command, DataChannel, Directive};
use super::{Output, Shard, StableHash};
use crate::config::Limits;
use crate::id::{Epoch, PublicationId, RoomId, SubscriptionId, TransportId, WorkerId};
use crate::media::{
    Codec, CodecParams, LayerParams, LayerWish, MediaKind, Mid, PublicationParams, Rid,
    SubscriptionParams,
};
use crate::publication::history::PacketInfo;
use crate::relay::{Address, Frame, frame};
use crate::rtp::packet::Header;
use crate::slab::{Carried, new_buffer};
use crate::subscription::Outgoing;
use crate::subscription::rewriter::{PictureIds, StreamKey};
use crate::transport::dtls::Identity;
use crate::transport::params::{ExtensionIds, Fingerprint, IceCredentials, TransportParams};
use crate::unit::{Bitrate, NtpTime, PayloadType, SeqNo, Ssrc};

const PEERS: u64 = 3;
const VIDEO: PublicationId = PublicationId(1);
const SOUND: PublicationId = PublicationId(2);
const FAR: PublicationId = PublicationId(3);

/// Plays a script with two rooms: in one, two participants of whom the first publishes a picture
/// and a sound to the second; in the other, a third.
pub fn shard(bytes: &[u8]) {
    let mut play = Play::new();
    let mut script = Script { bytes };
    while let Some(step) = script.byte() {
        play.step(step, &mut script);
        play.poll();
    }
    for room in [1, 2] {
        play.command(room, Command::CloseRoom);
        play.poll();
    }
    let stats = play.shard.stats();
    let left = stats.rooms + stats.transports + stats.publications + stats.subscriptions;
    assert_eq!((left, stats.slabs_used), (0, 0), "something is left behind");
}

/// The same with a picture of another worker, and with frames that claim to come from there.
pub fn relay(bytes: &[u8]) {
    if let Ok((frame, payload)) = frame::read(bytes) {
        let mut written = new_buffer();
        if let Some(len) = frame::write(&frame, &bytes[payload], &mut written[..]) {
            let again = frame::read(&written[..len]).map(|(again, _)| again);
            assert_eq!(
                again,
                Ok(frame),
                "what is read can be written and read again"
            );
        }
    }
    let mut play = Play::new();
    play.command(1, mirror());
    play.command(1, subscribe(2, 3, FAR));
    play.poll();
    let mut script = Script { bytes };
    while let Some(step) = script.byte() {
        match step % 4 {
            0 => play.step(step / 4, &mut script),
            1 if step > 200 => play.command(1, mirror()),
            _ => play.frame(&mut script),
        }
        play.poll();
    }
    for room in [1, 2] {
        play.command(room, Command::CloseRoom);
        play.poll();
    }
    let stats = play.shard.stats();
    let left = stats.rooms + stats.publications + stats.relays + stats.subscriptions;
    assert_eq!((left, stats.slabs_used), (0, 0), "something is left behind");
}

struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    fn small(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.small()).min(self.bytes.len());
        let (bytes, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        bytes
    }
}

/// A stream as SRTP knows it: which peer, which source.
type Sealed = HashMap<(usize, Ssrc, SeqNo), (Outgoing, Vec<u8>), StableHash>;

struct Play {
    shard: Shard,
    now: Instant,
    heads: HashMap<(u64, Ssrc), SeqNo, StableHash>,
    sealed: Sealed,
    next_id: u64,
}

impl Play {
    fn new() -> Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        let identity = IDENTITY.get_or_init(Identity::generate);
        let now = Instant::now();
        let limits = Limits {
            history_packets: 16,
            slabs_max: 24,
            ssrcs_per_transport_max: 10,
            subscriptions_per_transport_max: 6,
            publications_per_transport_max: 4,
            transports_max: 5,
            rooms_max: 3,
            ..Limits::default()
        };
        let mut play = Self {
            shard: Shard::new(now, NtpTime(1 << 40), [9; 32], identity.clone(), limits),
            now,
            heads: HashMap::default(),
            sealed: HashMap::default(),
            next_id: 100,
        };
        play.command(1, Command::OpenRoom);
        play.command(2, Command::OpenRoom);
        for (peer, room) in [(1, 1), (2, 1), (3, 2)] {
            play.command(room, add_transport(peer));
            play.connect(peer);
        }
        play.command(1, publish(1, VIDEO));
        play.command(1, publish(1, SOUND));
        play.command(1, subscribe(2, 1, VIDEO));
        play.command(1, subscribe(2, 2, SOUND));
        play
    }

    /// As if the handshake had been done.
    fn connect(&mut self, peer: u64) {
        if let Some(&place) = self.shard.transports.get(&TransportId(peer)) {
            self.shard.router.hots[place].is_connected = true;
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 8 {
            0 => {
                self.now += Duration::from_millis(10 * u64::from(script.small()));
                self.shard.handle_timeout(self.now);
            }
            1 => {
                let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let from = SocketAddr::new(ip, u16::from(script.small() % 3) + 1);
                let mut datagram = script.bytes().to_vec();
                self.shard.handle_datagram(self.now, from, &mut datagram);
            }
            2 | 3 => self.media(script),
            4 => {
                let packet = script.bytes();
                self.rtp(1, packet);
            }
            5 => {
                let peer = 1 + u64::from(script.small()) % PEERS;
                let compound = script.bytes();
                if let Some(&place) = self.shard.transports.get(&TransportId(peer)) {
                    let moment = self.shard.moment(self.now);
                    self.shard.router.handle_rtcp(moment, place, compound);
                }
            }
            6 => self.ask_again(script),
            _ => self.any_command(script),
        }
    }

    /// A well-formed packet of one of the known streams, with a number near the last one.
    fn media(&mut self, script: &mut Script<'_>) {
        let (kind, jump, flags) = (script.small(), script.small(), script.small());
        let (payload_type, ssrc, mid, rid): (u8, u32, &[u8], &[u8]) = match kind % 6 {
            0 => (96, 10, b"1", b"q"),
            1 => (96, 11, b"1", b"h"),
            2 => (97, 12, b"1", b"q"),
            3 => (111, 13, b"2", b""),
            4 => (63, 13, b"2", b""),
            _ => (96, 20 + u32::from(jump % 4), b"1", b"h"),
        };
        let head = self.heads.get(&(1, Ssrc(ssrc))).copied();
        let head = head.unwrap_or(SeqNo::first(65_530)).wire();
        let number = head.wrapping_add(u16::from(jump % 8)).wrapping_sub(3);
        let mut packet = vec![0x90, payload_type | flags & 0x80];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 3000).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 2]);
        packet.extend([4 << 4, mid[0]]);
        match rid {
            [] => packet.extend([1 << 4, flags]),
            _ => packet.extend([if payload_type == 97 { 11 } else { 10 } << 4, rid[0]]),
        }
        packet.extend([3 << 4 | 1, jump, flags, 0]);
        if payload_type == 97 {
            let original = self.heads.get(&(1, Ssrc(10))).map_or(0, |seq| seq.wire());
            packet.extend(original.wrapping_sub(u16::from(jump % 4)).to_be_bytes());
        }
        if payload_type != 111 && payload_type != 63 {
            // A descriptor with long picture id and layer index; a keyframe now and then.
            packet.extend([0x90, 0xc0, 0x80 | flags & 0x7f, jump, flags, flags & 1]);
        }
        packet.extend_from_slice(script.bytes());
        self.rtp(1, &packet);
    }

    /// A packet as if it had been authenticated; SRTP would have refused a repetition.
    fn rtp(&mut self, peer: u64, packet: &[u8]) {
        let (Some(&place), Ok(header)) = (
            self.shard.transports.get(&TransportId(peer)),
            Header::parse(packet),
        ) else {
            return;
        };
        let head = self.heads.entry((peer, header.ssrc));
        let head = head.or_insert(SeqNo::first(header.sequence));
        let seq = head.extend(header.sequence);
        *head = seq.max(*head);
        // What is refused is counted by its reason where it comes from; here it has none to tell.
        let payload = &packet[header.len..];
        let mut buffer = new_buffer();
        let Some(opened) = buffer.get_mut(..payload.len()) else {
            return;
        };
        opened.copy_from_slice(payload);
        let opened = Carried {
            range: 0..payload.len(),
            buffer: &mut buffer,
        };
        let _counted_elsewhere = self
            .shard
            .router
            .receive(self.now, place, &header, seq, packet, opened);
    }

    /// A subscriber asks for numbers near those that it was sent.
    fn ask_again(&mut self, script: &mut Script<'_>) {
        let mut asked: Vec<(usize, Ssrc, SeqNo)> = self.sealed.keys().copied().collect();
        asked.sort_unstable();
        let Some(&(place, ssrc, seq)) = asked.get(usize::from(script.small())) else {
            return;
        };
        let number = seq.wire().wrapping_add(u16::from(script.small() % 5));
        let mut compound = Vec::new();
        crate::rtp::rtcp::feedback::append_nack(&mut compound, Ssrc(1), ssrc, [number]);
        crate::rtp::rtcp::feedback::append_pli(&mut compound, Ssrc(1), ssrc);
        if self.shard.router.peers.contains(place) {
            let moment = self.shard.moment(self.now);
            self.shard.router.handle_rtcp(moment, place, &compound);
        }
    }

    /// A frame of another worker, mostly one that could be meant for us.
    fn frame(&mut self, script: &mut Script<'_>) {
        let (kind, which, jump) = (script.small(), script.small(), script.small());
        let rooms = &self.shard.router.rooms;
        let publication = PublicationId(1 + u64::from(which % 3));
        let place = rooms.publication_anywhere(publication).unwrap_or(0) as u32;
        let to = Address {
            place: place + u32::from(which > 250),
            publication,
        };
        let stream = StreamKey {
            rank: which / 3 % 3,
            incarnation: u32::from(which > 220),
        };
        let seq = SeqNo(70_000 + u64::from(jump));
        let frame = match kind % 12 {
            0 => Frame::State {
                to,
                live: jump,
                is_muted: which > 200,
            },
            1 => Frame::Clock {
                to,
                stream,
                ntp: NtpTime(u64::from(jump) << 36),
                rtp: u32::from(which) << 24,
                offset: i64::from(jump) << 56,
            },
            2 => Frame::End { to },
            3 | 4 => Frame::Open {
                reply: to,
                room: RoomId(u64::from(1 + jump % 2)),
                epoch: Epoch(1 + u64::from(which / 250)),
                demand: which,
            },
            5 => Frame::Close { publication },
            6 => Frame::Keyframe {
                publication,
                rank: jump % 4,
            },
            7 => Frame::Resend {
                publication,
                stream,
                first: seq,
                mask: u64::from(which) << (jump % 64),
            },
            _ => Frame::Packet {
                to,
                stream,
                info: PacketInfo {
                    seq,
                    timestamp: u32::from(jump) * 3000,
                    marker: which & 1 != 0,
                    codec: u8::from(which > 240) * 3,
                    starts_keyframe: jump.is_multiple_of(3),
                    picture: PictureIds::default(),
                    audio_level: None,
                    orientation: Some(jump),
                    spatial: None,
                    descriptor: 0,
                },
            },
        };
        let mut buffer = new_buffer();
        let len = frame::write(&frame, script.bytes(), &mut buffer[..]).unwrap_or(0);
        let from = WorkerId(u16::from(kind < 240));
        self.shard.handle_relay(self.now, from, &mut buffer, len);
        self.forget_ended();
    }

    fn any_command(&mut self, script: &mut Script<'_>) {
        let (kind, which) = (script.small(), u64::from(script.small()));
        let room = 1 + which % 2;
        let (transport, publication) = (TransportId(1 + which % 4), PublicationId(1 + which % 3));
        let subscription = SubscriptionId(1 + which % 4);
        self.next_id += 1;
        let command = match kind % 13 {
            0 => Command::SetWish {
                subscription,
                wish: match which % 4 {
                    0 => LayerWish::Paused,
                    1 => LayerWish::Rank(which as u8 >> 4),
                    2 => LayerWish::Best,
                    _ => LayerWish::Size {
                        width: which as u32 * 8,
                        height: 200,
                    },
                },
            },
            1 => Command::SetMuted {
                publication,
                muted: which & 8 != 0,
            },
            2 => Command::Unsubscribe { subscription },
            3 => subscribe(transport.0, subscription.0, publication),
            4 => Command::Unpublish { publication },
            5 => publish(transport.0, publication),
            6 => Command::RemoveTransport { transport },
            7 => add_transport(transport.0),
            8 => Command::SendData {
                transport,
                channel: DataChannel::Lossy,
                payload: Bytes::from_static(b"x"),
            },
            9 => Command::OpenRoom,
            10 if which > 200 => Command::CloseRoom,
            11 => Command::RestartIce {
                transport,
                local: IceCredentials::generate(transport, [3; 28]),
                remote: IceCredentials::generate(transport, [4; 28]),
            },
            12 if which > 200 => Command::LearnExtensions {
                transport,
                extensions: ExtensionIds {
                    abs_send_time: Some(which as u8 & 15),
                    ..ExtensionIds::default()
                },
            },
            12 if which > 100 => Command::MoveTransport {
                transport,
                from: RoomId(3 - room),
                publications: vec![(publication, PublicationId(1 + which % 5))],
            },
            12 if which > 50 => Command::Share {
                publication,
                from: RoomId(3 - room),
                name: PublicationId(1 + which % 5),
            },
            12 if which > 30 => Command::Unshare {
                name: PublicationId(1 + which % 5),
            },
            _ => subscribe(2, self.next_id, publication),
        };
        let is_new_peer = matches!(command, Command::AddTransport { .. });
        self.command(room, command);
        if is_new_peer {
            self.connect(transport.0);
        }
    }

    fn command(&mut self, room: u64, command: Command) {
        let directive = Directive {
            room: RoomId(room),
            epoch: Epoch(1),
            command,
        };
        self.shard.handle_command(self.now, directive);
        self.forget_ended();
    }

    /// A stream that has ended takes its numbers along; its source is never used again.
    fn forget_ended(&mut self) {
        let peers = &self.shard.router.peers;
        self.sealed.retain(|(place, ssrc, _), _| {
            peers
                .get(*place)
                .is_some_and(|peer| peer.media.sent.contains_key(&media_source(*ssrc)))
        });
    }

    fn poll(&mut self) {
        self.check_numbers();
        while !matches!(self.shard.poll_output(self.now), Output::Timeout(_)) {}
        let router = &self.shard.router;
        assert!(router.dirty.is_empty() && router.touched.is_empty());
        assert!(router.hots.iter().all(|hot| hot.pending.is_empty()));
    }

    /// One number of a stream is one packet, or GCM gives its key away.
    fn check_numbers(&mut self) {
        let router = &self.shard.router;
        for (place, hot) in router.hots.iter().enumerate() {
            for (_, pending) in router.pending.iter(hot.pending) {
                let subscription = &router.rooms.subscriptions[pending.subscription].subscription;
                let (ssrc, seq) = subscription.sealed_as(&pending.outgoing);
                let payload = router.pool.bytes(&pending.packet).to_vec();
                let packet = (pending.outgoing, payload);
                let before = self.sealed.entry((place, ssrc, seq));
                assert_eq!(*before.or_insert_with(|| packet.clone()), packet);
            }
        }
    }
}

/// Retransmissions are numbered a thousand above the media that they are of.
fn media_source(ssrc: Ssrc) -> Ssrc {
    if ssrc.0 > 100_000 {
        Ssrc(ssrc.0 - 100_000)
    } else {
        ssrc
    }
}

fn add_transport(peer: u64) -> Command {
    let transport = TransportId(peer);
    let params = TransportParams {
        local_ice: IceCredentials::generate(transport, [1; 28]),
        remote_ice: IceCredentials::generate(transport, [2; 28]),
        remote_fingerprint: Fingerprint([0; 32]),
        extensions: ExtensionIds {
            mid: Some(4),
            rid: Some(10),
            repaired_rid: Some(11),
            audio_level: Some(1),
            transport_cc: Some(3),
            ..ExtensionIds::default()
        },
        sctp: None,
    };
    Command::AddTransport {
        transport,
        params: Box::new(params),
    }
}

fn mirror() -> Command {
    let Command::Publish { params, .. } = publish(9, FAR) else {
        unreachable!("that is what it makes");
    };
    Command::OpenRelay {
        publication: FAR,
        owner: WorkerId(1),
        publisher: TransportId(9),
        params,
    }
}

fn publish(peer: u64, publication: PublicationId) -> Command {
    let is_video = publication != SOUND;
    let rids: &[&str] = if is_video { &["q", "h"] } else { &[""] };
    let layer = |rid: &&str| LayerParams {
        rid: Rid::from(rid).ok().filter(|rid| !rid.is_empty()),
        ssrc: None,
        rtx_ssrc: None,
        width: 640,
        height: 360,
        bitrate_max: Bitrate(0),
    };
    Command::Publish {
        transport: TransportId(peer),
        publication,
        params: Box::new(PublicationParams {
            kind: if is_video {
                MediaKind::Video
            } else {
                MediaKind::Audio
            },
            mid: if is_video { mid("1") } else { mid("2") },
            codecs: codecs(is_video),
            layers: rids.iter().map(layer).collect(),
            spatial_layers: Vec::new(),
        }),
    }
}

fn subscribe(peer: u64, subscription: u64, publication: PublicationId) -> Command {
    // Every second one without a stream for retransmissions.
    let rtx_ssrc = (subscription.is_multiple_of(2)).then_some(Ssrc(100_500 + subscription as u32));
    Command::Subscribe {
        transport: TransportId(peer),
        subscription: SubscriptionId(subscription),
        publication,
        params: Box::new(SubscriptionParams {
            mid: mid("9"),
            ssrc: Ssrc(500 + subscription as u32),
            rtx_ssrc,
            codecs: codecs(publication != SOUND),
        }),
    }
}

fn mid(text: &str) -> Mid {
    Mid::from(text).unwrap_or_default()
}

fn codecs(is_video: bool) -> Vec<CodecParams> {
    let codec = |codec, payload_type, rtx: Option<u8>| CodecParams {
        codec,
        payload_type: PayloadType(payload_type),
        rtx_payload_type: rtx.map(PayloadType),
        clock_rate: 48_000,
        h264: None,
    };
    match is_video {
        true => vec![
            codec(Codec::Vp8, 96, Some(97)),
            codec(Codec::H264, 102, Some(103)),
        ],
        false => vec![codec(Codec::Opus, 111, None), codec(Codec::Red, 63, None)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reaches_what_lies_behind_a_key() {
        let mut play = Play::new();
        for n in 0..20 {
            // Keyframes of one size; every other number is lost.
            let media = [0, 5, 2 * (n % 8), 1, 0xaa];
            play.step(2, &mut Script { bytes: &media });
            play.poll();
            play.step(6, &mut Script { bytes: &[n, 0] });
            play.poll();
        }
        let stats = play.shard.stats();
        assert_eq!(stats.packets_in, 20);
        assert!(play.sealed.len() > 15, "packets were decided on");
        assert!(stats.packets_resent > 5, "and asked for again");
    }

    #[test]
    fn a_script_shares_a_publication_with_the_other_room() {
        let mut play = Play::new();
        // Shared as the third, somebody comes to the second room and subscribes to it.
        for bytes in [&[12, 57][..], &[7, 3], &[3, 11]] {
            play.step(7, &mut Script { bytes });
            play.poll();
        }
        for n in 0..4 {
            let media = [0, 5, 2 * n, 1, 0xaa];
            play.step(2, &mut Script { bytes: &media });
            play.poll();
        }
        let place = play.shard.transports[&TransportId(4)];
        let there = play.sealed.keys().filter(|(peer, ..)| *peer == place);
        assert_eq!(there.count(), 4, "packets were decided on");
    }

    #[test]
    fn frames_reach_a_mirror_and_an_owner() {
        let mut play = Play::new();
        play.command(1, mirror());
        play.command(1, subscribe(2, 3, FAR));
        play.poll();
        let mut frame = |bytes: &[u8]| {
            play.frame(&mut Script { bytes });
            play.poll();
        };
        // State, Open, then packets of the first and the second layer.
        frame(&[0, 2, 3]);
        frame(&[3, 0, 0]);
        for jump in 0..30 {
            frame(&[8, 2, jump, 1, 0xaa]);
            frame(&[8, 5, jump, 1, 0xaa]);
        }
        let stats = play.shard.stats();
        assert_eq!(stats.relays, 1);
        assert!(
            stats.relay_frames_useless < 5,
            "{}",
            stats.relay_frames_useless
        );
        assert!(play.sealed.len() >= 28, "packets were decided on");
    }
}
