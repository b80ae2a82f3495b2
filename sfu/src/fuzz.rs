//! One function for each parser of network bytes: bytes in, no panic, and whatever must hold of
//! everything that was accepted.
//!
//! Ordinary test runs put the committed corpus and 100,000 seeded inputs through each of them
//! (`tests/fuzz.rs`); under cargo-fuzz they run for longer. A new parser adds its function here and
//! to [`TARGETS`] in the same change.

use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::congestion::estimator::Estimator;
use crate::congestion::sent::SentRecord;
use crate::media::Mid;
use crate::publication::described::Descriptors;
use crate::rtp::codec::{PayloadInfo, av1, h264, opus, red, vp8, vp9};
use crate::rtp::dependency::{self, Descriptor, Structure};
use crate::rtp::packet::{Header, OutgoingExtensions, OutgoingHeader};
use crate::rtp::rtcp::twcc::Recorder;
use crate::rtp::rtcp::{Rtcp, parse_compound};
use crate::rtp::rtx;
use crate::stream::{PACKET_BYTES_MAX, frame};
use crate::transport::params::ExtensionIds;
use crate::transport::srtp::{Inbound, MasterKey, Outbound, Profile};
use crate::unit::{SeqNo, Ssrc};

pub use crate::shard::fuzz::{relay, shard, tap};
pub use crate::transport::fuzz::{dcep, dtls, sctp, stun};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// Every function of this module, by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("rtp_header", rtp_header),
    ("rtcp_compound", rtcp_compound),
    ("twcc", twcc),
    ("bandwidth", bandwidth),
    ("nack", nack),
    ("vp8", vp8_descriptor),
    ("vp9", vp9_descriptor),
    ("av1", av1_aggregation),
    ("described", described),
    ("h264", h264_units),
    ("opus", opus_packet),
    ("red", red_blocks),
    ("dependency", dependency_descriptor),
    ("srtp", srtp_inbound),
    ("stun", stun),
    ("dcep", dcep),
    ("dtls", dtls),
    ("sctp", sctp),
    ("shard", shard),
    ("relay", relay),
    ("tap", tap),
    ("frames", frames),
];

/// Packets in frames on a stream: whatever is found lies within, and more bytes change nothing of it.
pub fn frames(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(packet)) = frame::first(rest) {
        assert!(packet.len() <= PACKET_BYTES_MAX);
        let taken = frame::HEADER_BYTES + packet.len();
        assert_eq!(frame::first(&rest[..taken]), Ok(Some(packet)));
        assert_eq!(frame::first(&rest[..taken - 1]), Ok(None));
        rest = &rest[taken..];
    }
}

/// A subscriber that reports whatever it likes about what it was sent: the estimate stays within its
/// bounds, and no more padding leaves than a probe of a tenth above the upper one.
pub fn bandwidth(bytes: &[u8]) {
    let limits = Limits::default();
    let start = begin();
    let mut now = start;
    let mut sent = SentRecord::new(now);
    let mut estimator = Estimator::new(now, &limits);
    let mut rest = bytes;
    let mut padding = 0;
    while let Some((&[what, amount], tail)) = rest.split_first_chunk::<2>() {
        rest = tail;
        now += Duration::from_millis(u64::from(amount));
        let round_trip = Duration::from_millis(u64::from(amount) * 20);
        match what % 4 {
            0 => {
                sent.set_time(now);
                for _ in 0..amount {
                    sent.note(usize::from(what) * 5);
                }
            }
            1 => {
                let len = usize::from(amount).min(rest.len()) & !3;
                let (body, tail) = rest.split_at(len);
                rest = tail;
                let words = (len / 4) as u16;
                let mut packet = vec![0x8f, 205];
                packet.extend(words.to_be_bytes());
                packet.extend(body);
                if let Some(Ok(Rtcp::Twcc(report))) = parse_compound(&packet).next() {
                    estimator.report(now, &report, &mut sent, round_trip);
                }
            }
            2 => estimator.remb(now, u64::MAX >> (amount % 64), u64::from(what) << 12),
            _ => {
                estimator.tick(now, &sent, u64::MAX >> (amount % 64), round_trip);
            }
        }
        padding += estimator.padding_due(now);
        if let Some(budget) = estimator.budget(now) {
            let max = u64::from(limits.bandwidth_max_kbps) * 1_000;
            let min = u64::from(limits.bandwidth_min_kbps) * 1_000;
            assert!((min..=max).contains(&budget));
        }
    }
    let passed = (now - start).as_millis() as usize;
    assert!(padding <= (passed + 1) * limits.bandwidth_max_kbps as usize / 8);
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to make an instant; nothing depends on which"
)]
fn begin() -> Instant {
    Instant::now()
}

/// The RTP header, its extensions in both forms, padding, and the retransmission format.
pub fn rtp_header(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else {
        return;
    };
    assert!(header.len >= 12 && header.len <= bytes.len());
    // The low nibble decides which ids mean what, so that both forms reach every reader.
    let first = 1 + bytes[0] % 8;
    let ids = ExtensionIds {
        mid: Some(first),
        rid: Some(first + 1),
        repaired_rid: Some(first + 2),
        audio_level: Some(first + 3),
        abs_send_time: Some(first + 4),
        transport_cc: Some(first + 5),
        video_orientation: Some(first + 6),
        dependency_descriptor: None,
    };
    let extensions = header.extensions(bytes, &ids);
    for name in [extensions.mid, extensions.rid, extensions.repaired_rid] {
        assert!(name.is_none_or(|name| !name.is_empty()));
    }
    assert!(extensions.abs_send_time.is_none_or(|time| time >> 24 == 0));
    let within: usize = header
        .elements(bytes)
        .map(|element| element.value.len() + 1)
        .sum();
    assert!(within <= header.len);
    if let Ok(payload) = header.payload(bytes) {
        assert!(payload.start == header.len && payload.start < payload.end);
        if let Ok((number, original)) = rtx::unwrap(&bytes[payload]) {
            assert!(!original.is_empty());
            assert_eq!(rtx::prefix(number), number.to_be_bytes());
        }
    }
}

/// A compound RTCP packet with everything in it walked to its end.
pub fn rtcp_compound(bytes: &[u8]) {
    let mut packets = 0;
    for packet in parse_compound(bytes).flatten() {
        packets += 1;
        match packet {
            Rtcp::SenderReport(report) => assert!(report.blocks().count() <= 31),
            Rtcp::ReceiverReport(report) => assert!(report.blocks().count() <= 31),
            Rtcp::Sdes(names) => assert!(names.names().count() <= 31),
            Rtcp::Bye(bye) => assert!(bye.sources().count() <= 31),
            Rtcp::Nack(nack) => assert!(nack.numbers().count() <= 17 * bytes.len() / 4),
            Rtcp::Pli(_) => {}
            Rtcp::Fir(fir) => assert!(fir.commands().count() <= bytes.len() / 8),
            Rtcp::Remb(remb) => assert!(remb.sources().count() <= 255),
            Rtcp::Twcc(feedback) => {
                let arrivals = feedback.arrivals().count();
                assert!(arrivals <= usize::from(feedback.count) && arrivals <= bytes.len());
            }
        }
    }
    assert!(packets <= bytes.len() / 4);
}

/// Transport-wide feedback: the bytes are the body of a packet whose header is right.
pub fn twcc(bytes: &[u8]) {
    with_header(0x8f, 205, bytes, |packet| {
        let Some(Ok(Rtcp::Twcc(feedback))) = parse_compound(packet).next() else {
            return;
        };
        // What is walked is what was announced: ascending within the announced numbers.
        let mut last = None;
        for arrival in feedback.arrivals() {
            let at = arrival.number.wrapping_sub(feedback.base);
            assert!(at < feedback.count);
            assert!(last.is_none_or(|last| last < at));
            last = Some(at);
        }
    });
    // The same bytes as arrivals: three bytes each, number and time.
    let mut recorder = Recorder::new();
    let mut out = Vec::new();
    for arrival in bytes.chunks_exact(3) {
        let number = u16::from_be_bytes([arrival[0], arrival[1]]);
        let at = std::time::Duration::from_millis(u64::from(arrival[2]) * 97);
        recorder.note(number, at);
    }
    while recorder.append_report(&mut out, Ssrc(1), Ssrc(2)) {}
    assert!(parse_compound(&out).all(|packet| matches!(packet, Ok(Rtcp::Twcc(_)))));
}

/// A request for packets: the bytes are the body of a packet whose header is right.
pub fn nack(bytes: &[u8]) {
    with_header(0x81, 205, bytes, |packet| {
        if let Some(Ok(Rtcp::Nack(nack))) = parse_compound(packet).next() {
            let entries = (packet.len() - 12) / 4;
            assert!((entries..=17 * entries).contains(&nack.numbers().count()));
        }
    });
}

/// The VP9 payload descriptor: what it says lies within the packet, and more data changes nothing.
pub fn vp9_descriptor(bytes: &[u8]) {
    let Ok(descriptor) = vp9::Descriptor::parse(bytes) else {
        return;
    };
    assert!(descriptor.len < bytes.len());
    assert!(descriptor.spatial < 8 && descriptor.temporal < 8);
    assert!(descriptor.picture_id.is_none_or(|id| id < 1 << 15));
    let with_data = &bytes[..=descriptor.len];
    assert_eq!(vp9::Descriptor::parse(with_data), Ok(descriptor));
    assert!(vp9::Descriptor::parse(&bytes[..descriptor.len]).is_err());
}

/// The VP8 descriptor, read and renumbered.
pub fn vp8_descriptor(bytes: &[u8]) {
    let info = PayloadInfo::read(crate::media::Codec::Vp8, bytes);
    let Ok(descriptor) = vp8::Descriptor::parse(bytes) else {
        assert!(info.is_err());
        return;
    };
    assert!(descriptor.len <= vp8::DESCRIPTOR_MAX && descriptor.len < bytes.len());
    let numbers = vp8::Numbers {
        picture_id: 0x55,
        tl0_index: 0xaa,
        key_index: 0x0f,
    };
    let mut copy = bytes.to_vec();
    descriptor.renumber(numbers, &mut copy);
    let again = vp8::Descriptor::parse(&copy).expect("renumbering keeps the form");
    assert_eq!(again.len, descriptor.len);
    assert_eq!(again.picture_id.is_some(), descriptor.picture_id.is_some());
    assert_eq!(copy[again.len..], bytes[descriptor.len..]);
}

/// The units of an H.264 payload.
pub fn h264_units(bytes: &[u8]) {
    let units = h264::Units::parse(bytes);
    let info = PayloadInfo::read(crate::media::Codec::H264, bytes);
    assert_eq!(
        units.map(|units| units.has_sps),
        info.map(|info| info.is_keyframe)
    );
}

/// How long an Opus packet lasts.
pub fn opus_packet(bytes: &[u8]) {
    if let Ok(duration) = opus::duration(bytes) {
        assert!(duration.is_multiple_of(120) && (120..=5_760).contains(&duration));
    }
}

/// The blocks of redundant audio.
pub fn red_blocks(bytes: &[u8]) {
    let Ok(blocks) = red::blocks(bytes) else {
        assert!(red::primary(bytes).is_err());
        return;
    };
    let media: usize = blocks.map(|block| block.payload.len()).sum();
    assert!(media < bytes.len());
    let primary = red::primary(bytes).expect("the same bytes");
    assert!(bytes.ends_with(primary.payload));
}

/// The aggregation header of AV1: one byte decides, whatever is behind it.
pub fn av1_aggregation(bytes: &[u8]) {
    let Ok(read) = av1::Aggregation::parse(bytes) else {
        return;
    };
    assert!(!(read.is_new_sequence && read.continues));
    assert!(read.units.is_none_or(|units| (1..=3).contains(&units)));
    assert_eq!(av1::Aggregation::parse(&bytes[..2]), Ok(read));
    assert!(av1::Aggregation::parse(&bytes[..1]).is_err());
}

/// What a layer makes of its dependency descriptors, and the header of an outgoing packet with each
/// of them: any reader finds the same value, and everything else as it was.
pub fn described(bytes: &[u8]) {
    let Some((&[id, which], mut rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let (id, name) = (
        id.max(1),
        ["", "0", "0123456789abcdef"][usize::from(which % 3)],
    );
    let extensions = OutgoingExtensions {
        mid: Mid::from(name).ok().map(|name| (4, name)),
        video_orientation: (which & 4 != 0).then_some(13),
        ..OutgoingExtensions::default()
    };
    let mut header = OutgoingHeader::new(Ssrc(7), &extensions);
    header.set_video_orientation(Some(1));
    let mut descriptors = Descriptors::default();
    while let Some((&len, behind)) = rest.split_first() {
        let (value, behind) = behind.split_at(behind.len().min(len.into()));
        rest = behind;
        if let Some(read) = descriptors.read(value) {
            assert!(usize::from(read.mark.layer()) < dependency::SPATIAL_MAX);
            assert!(!read.starts_keyframe || read.mark.starts_frame());
        }
        let written = header.described(id, value);
        let written = written.bytes();
        assert_eq!(written.len(), header.described_len(id, value.len()));
        let parsed = Header::parse(written).expect("what we write can be read");
        assert_eq!(parsed.len, written.len());
        let elements = parsed.elements(written);
        let last = elements.last().map(|element| (element.id, element.value));
        assert_eq!(last, Some((id, value)));
        let ours = Header::parse(header.bytes()).expect("valid");
        let ours: Vec<_> = ours.elements(header.bytes()).collect();
        let kept: Vec<_> = parsed.elements(written).take(ours.len()).collect();
        assert_eq!(ours, kept);
    }
}

/// Dependency descriptors one after the other, each behind a byte that says how long it is: a
/// structure holds for those after it.
pub fn dependency_descriptor(bytes: &[u8]) {
    let mut known: Option<Structure> = None;
    let mut rest = bytes;
    while let Some((&len, behind)) = rest.split_first() {
        let (value, behind) = behind.split_at(behind.len().min(len.into()));
        rest = behind;
        let Ok(read) = Descriptor::parse(value, known.as_ref()) else {
            continue;
        };
        assert!(usize::from(read.spatial) < dependency::SPATIAL_MAX);
        assert!(read.temporal < dependency::TEMPORAL_MAX);
        if let Some(structure) = read.structure {
            assert!((1..=dependency::TARGETS_MAX).contains(&structure.targets.into()));
            assert!(read.spatial < structure.spatial_layers());
            assert!(read.temporal < structure.temporal_layers());
            known = Some(*structure);
        }
        let holds = known.as_ref().expect("nothing is read without a structure");
        assert_eq!(read.indications.len(), usize::from(holds.targets));
        let unknown = |active: u32| active >> (holds.targets - 1) >> 1;
        assert!(
            read.active_targets
                .is_none_or(|active| unknown(active) == 0)
        );
    }
}

/// SRTP and SRTCP of a profile that the length chooses: nothing that was not sealed opens, and what
/// was still does.
pub fn srtp_inbound(bytes: &[u8]) {
    let profile = [
        Profile::Aes128CmSha1_80,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ][bytes.len() % 3];
    let key = [7; 32];
    let (key, salt) = (&key[..profile.key_len()], &key[..profile.salt_len()]);
    let master = MasterKey::new(profile, key, salt).expect("the profile's lengths");
    let mut inbound = Inbound::new(profile, &master, 2);
    if let Ok(header) = Header::parse(bytes) {
        let mut datagram = bytes.to_vec();
        assert!(inbound.unprotect_rtp(&header, &mut datagram).is_err());
        let mut payload = [0; 64];
        let result = inbound.unprotect_rtp_into(&header, bytes, &mut payload);
        assert!(result.is_err());
    }
    assert!(inbound.unprotect_rtcp(&mut bytes.to_vec()).is_err());

    // The bytes as a payload survive the way through.
    let header = [0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    let mut sealed = Vec::new();
    let mut outbound = Outbound::new(profile, &master);
    assert!(outbound.protect_rtp(SeqNo::first(1), &header, bytes, &mut sealed));
    let parsed = Header::parse(&sealed).expect("ours");
    let (_, len) = inbound
        .unprotect_rtp(&parsed, &mut sealed)
        .expect("what we sealed opens");
    assert_eq!(sealed[12..len], *bytes);
}

/// Calls `check` with a packet of `bytes`, cut to whole words, behind a right header.
fn with_header(first: u8, packet_type: u8, bytes: &[u8], check: impl FnOnce(&[u8])) {
    let words = (bytes.len() / 4).min(400);
    let mut packet = vec![first, packet_type, (words >> 8) as u8, words as u8];
    packet.extend_from_slice(&bytes[..4 * words]);
    check(&packet);
}
