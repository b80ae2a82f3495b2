//! One synthetic participant within a worker: its socket, transport, publications and streams.
//!
//! Joins the state machines: what comes from the socket goes to the transport, decrypted media to
//! trackers, requests to the publications; feedback goes back as a browser's would.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::audience::{Audience, Run, is_video};
use super::payload::Stamp;
use super::peer::{Incoming, Peer};
use super::rtcp::{self, Reception, Rtcp};
use super::sender::SendingTrack;

/// Between transport-wide feedback, as browsers choose on good networks.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// Between reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between requests for the same packet, and how often it is asked for.
const NACK_INTERVAL: Duration = Duration::from_millis(60);
const NACK_TRIES: u8 = 8;
/// Packets of one stream that are asked for at a time; more are beyond repair.
const MISSING_MAX: usize = 250;
/// Between requests for a keyframe of one stream.
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(1);

/// One SSRC as received.
#[derive(Debug)]
struct Stream {
    publication: u32,
    is_video: bool,
    first: u32,
    highest: u32,
    received: u32,
    reported: (u32, u32),
    last_report: Option<(u32, Instant)>,
    missing: BTreeMap<u32, (Instant, u8)>,
    keyframe_asked: Option<Instant>,
}

/// A participant.
pub(crate) struct Member {
    /// Connected to the server.
    pub(crate) socket: UdpSocket,
    /// Its transport.
    pub(crate) peer: Peer,
    /// What it publishes.
    pub(crate) tracks: Vec<SendingTrack>,
    /// When to look at it again.
    pub(crate) next_turn: Instant,
    /// Whether its owner has been told that it is connected.
    pub(crate) is_announced: bool,
    /// Whether its owner has been told that it failed.
    pub(crate) is_failed: bool,
    server: SocketAddr,
    /// Our own SSRC in feedback.
    ssrc: u32,
    transport_cc_id: u8,
    resend_type: u8,
    streams: HashMap<u32, Stream>,
    arrivals: Vec<(u64, u64)>,
    highest_transport: u64,
    feedback_count: u8,
    next_feedback: Instant,
    next_report: Instant,
    /// Media packets since this was taken, and their delays added up in microseconds.
    heard: (u64, u64),
    /// What it gets of others.
    pub(crate) audience: Audience,
}

impl Member {
    /// A participant whose transport has not started.
    pub(crate) fn new(
        now: Instant,
        socket: UdpSocket,
        server: SocketAddr,
        peer: Peer,
        transport_cc_id: u8,
        resend_type: u8,
    ) -> Self {
        Self {
            socket,
            peer,
            tracks: Vec::new(),
            next_turn: now,
            is_announced: false,
            is_failed: false,
            server,
            ssrc: 1,
            transport_cc_id,
            resend_type,
            streams: HashMap::new(),
            arrivals: Vec::new(),
            highest_transport: 1 << 16,
            feedback_count: 0,
            next_feedback: now,
            next_report: now,
            heard: (0, 0),
            audience: Audience::default(),
        }
    }

    /// Takes one datagram.
    pub(crate) fn handle(&mut self, now: Instant, run: &Run, datagram: &[u8]) {
        match self.peer.handle(now, self.server, datagram) {
            Incoming::Handled => {}
            Incoming::Rtp(packet) => self.handle_rtp(now, run, &packet),
            Incoming::Rtcp(packet) => self.handle_rtcp(now, &packet),
        }
    }

    /// How many media packets came since the last call, and their delays added up in microseconds.
    pub(crate) fn take_heard(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.heard)
    }

    /// Everything that is due: handshake timers, feedback, reports.
    pub(crate) fn handle_timeout(&mut self, now: Instant, run: &Run) {
        self.peer.handle_timeout(now);
        if !self.peer.is_connected() {
            return;
        }
        let mut packet = Vec::new();
        let is_report_due = now >= self.next_report;
        if is_report_due {
            self.next_report = now + REPORT_INTERVAL;
            self.report(now, &mut packet);
        }
        self.ask_for_missing(now, run, &mut packet);
        if now >= self.next_feedback {
            self.next_feedback = now + FEEDBACK_INTERVAL;
            self.feed_back(&mut packet);
        }
        if !packet.is_empty() {
            self.peer.send_rtcp(&packet);
        }
    }

    fn handle_rtp(&mut self, now: Instant, run: &Run, packet: &[u8]) {
        let Some(rtp) = Rtp::parse(packet, self.transport_cc_id) else {
            return;
        };
        if let Some(sequence) = rtp.transport_sequence {
            self.note_transport(sequence, now.duration_since(run.epoch));
        }
        let is_resent = self.resend_type > 0 && rtp.payload_type == self.resend_type;
        let Some(stamp) = Stamp::read(rtp.payload, run.number) else {
            // Padding and probes have no stamp but take a number.
            if let Some(stream) = self.streams.get_mut(&rtp.ssrc) {
                stream.receive(now, rtp.sequence);
            }
            return;
        };
        let publication = self.audience.handle(now, run, &stamp);
        let nanos = now.duration_since(run.epoch).as_nanos() as u64;
        self.heard.0 += 1;
        self.heard.1 += nanos.saturating_sub(stamp.sent) / 1_000;
        if is_resent {
            let original = rtp.payload.first_chunk().map(|b| u16::from_be_bytes(*b));
            self.resolve(publication, original);
        } else {
            let stream = self.streams.entry(rtp.ssrc);
            let new = || Stream::new(publication, is_video(publication), rtp.sequence);
            stream.or_insert_with(new).receive(now, rtp.sequence);
        }
    }

    /// A packet that was asked for has come in the other stream.
    fn resolve(&mut self, publication: u32, original: Option<u16>) {
        let Some(original) = original else { return };
        for stream in self
            .streams
            .values_mut()
            .filter(|s| s.publication == publication)
        {
            stream
                .missing
                .retain(|&sequence, _| sequence as u16 != original);
        }
    }

    fn note_transport(&mut self, sequence: u16, since: Duration) {
        let extended = extend(self.highest_transport, sequence);
        self.highest_transport = self.highest_transport.max(extended);
        self.arrivals.push((extended, since.as_micros() as u64));
    }

    fn handle_rtcp(&mut self, now: Instant, packet: &[u8]) {
        for item in rtcp::read(packet) {
            match item {
                Rtcp::SenderReport { ssrc, ntp_middle } => {
                    if let Some(stream) = self.streams.get_mut(&ssrc) {
                        stream.last_report = Some((ntp_middle, now));
                    }
                }
                Rtcp::KeyframeRequest { media } => {
                    self.tracks
                        .iter_mut()
                        .for_each(|track| track.on_keyframe_request(media));
                }
                Rtcp::Nack { media, sequences } => self.resend(media, &sequences),
            }
        }
    }

    fn resend(&mut self, media: u32, sequences: &[u16]) {
        let (peer, socket) = (&mut self.peer, &self.socket);
        for track in &mut self.tracks {
            track.on_nack(media, sequences, |packet| {
                if let Some(sealed) = peer.protect_rtp(packet) {
                    // A full socket loses the packet; it will be asked for again.
                    let _ = socket.send(&sealed);
                }
            });
        }
    }

    fn report(&mut self, now: Instant, packet: &mut Vec<u8>) {
        let ntp = ntp_now();
        self.tracks
            .iter()
            .for_each(|track| track.report(ntp, packet));
        let receptions: Vec<Reception> = self
            .streams
            .iter_mut()
            .map(|(&ssrc, stream)| stream.report(ssrc, now))
            .collect();
        rtcp::receiver_report(packet, self.ssrc, &receptions);
    }

    fn ask_for_missing(&mut self, now: Instant, run: &Run, packet: &mut Vec<u8>) {
        for (&ssrc, stream) in self
            .streams
            .iter_mut()
            .filter(|(_, stream)| stream.is_video)
        {
            let sequences = stream.due(now);
            if !sequences.is_empty() {
                rtcp::nack(packet, self.ssrc, ssrc, &sequences);
            }
            let is_stuck = self.audience.wants_keyframe(stream.publication, now, run);
            let may_ask = stream
                .keyframe_asked
                .is_none_or(|at| now > at + KEYFRAME_INTERVAL);
            if is_stuck && may_ask {
                stream.keyframe_asked = Some(now);
                rtcp::keyframe_request(packet, self.ssrc, ssrc);
            }
        }
    }

    fn feed_back(&mut self, packet: &mut Vec<u8>) {
        if self.arrivals.is_empty() {
            return;
        }
        self.arrivals.sort_unstable();
        self.arrivals.dedup_by_key(|arrival| arrival.0);
        let media = self.streams.keys().next().copied().unwrap_or(0);
        let count = self.feedback_count;
        self.feedback_count = count.wrapping_add(1);
        rtcp::transport_feedback(packet, self.ssrc, media, count, &self.arrivals);
        self.arrivals.clear();
    }
}

impl Stream {
    fn new(publication: u32, is_video: bool, sequence: u16) -> Self {
        let first = 0x1_0000 + u32::from(sequence);
        Self {
            publication,
            is_video,
            first,
            highest: first - 1,
            received: 0,
            reported: (0, 0),
            last_report: None,
            missing: BTreeMap::new(),
            keyframe_asked: None,
        }
    }

    fn receive(&mut self, now: Instant, sequence: u16) {
        let extended = extend(u64::from(self.highest), sequence) as u32;
        self.received += 1;
        if extended <= self.highest {
            self.missing.remove(&extended);
            return;
        }
        let gap = self.highest + 1..extended;
        if self.is_video && gap.len() + self.missing.len() <= MISSING_MAX {
            self.missing.extend(gap.map(|lost| (lost, (now, 0))));
        }
        self.highest = extended;
    }

    /// Numbers to ask for now.
    fn due(&mut self, now: Instant) -> Vec<u16> {
        self.missing.retain(|_, (_, tries)| *tries < NACK_TRIES);
        let mut due = Vec::new();
        for (&sequence, (at, tries)) in &mut self.missing {
            if now >= *at {
                *at = now + NACK_INTERVAL;
                *tries += 1;
                due.push(sequence as u16);
            }
        }
        due
    }

    fn report(&mut self, ssrc: u32, now: Instant) -> Reception {
        let expected = self.highest + 1 - self.first;
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, self.received);
        let newly_expected = (expected - expected_before).max(1);
        let newly_received = self.received - received_before;
        let newly_lost = newly_expected.saturating_sub(newly_received);
        let last_report = self.last_report.map_or((0, 0), |(clock, at)| {
            (
                clock,
                (now.duration_since(at).as_secs_f64() * 65_536.0) as u32,
            )
        });
        Reception {
            ssrc,
            fraction_lost: (newly_lost * 256 / newly_expected).min(255) as u8,
            total_lost: expected.saturating_sub(self.received),
            highest: self.highest - 0x1_0000,
            jitter: 0,
            last_report,
        }
    }
}

/// The full number nearest to `reference` that ends in `sequence`.
fn extend(reference: u64, sequence: u16) -> u64 {
    let difference = sequence.wrapping_sub(reference as u16) as i16;
    reference.saturating_add_signed(i64::from(difference))
}

fn ntp_now() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    // 1900 to 1970.
    let seconds = since.as_secs() + 2_208_988_800;
    (seconds << 32) | (u64::from(since.subsec_nanos()) * (1 << 32) / 1_000_000_000)
}

/// What is read of a decrypted RTP packet.
struct Rtp<'a> {
    payload_type: u8,
    sequence: u16,
    ssrc: u32,
    transport_sequence: Option<u16>,
    payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    fn parse(packet: &'a [u8], transport_cc_id: u8) -> Option<Self> {
        let fixed: &[u8; 12] = packet.first_chunk()?;
        let mut at = 12 + usize::from(fixed[0] & 15) * 4;
        let mut transport_sequence = None;
        if fixed[0] & 0x10 != 0 {
            let profile = u16::from_be_bytes(*packet.get(at..)?.first_chunk()?);
            let words = u16::from_be_bytes(*packet.get(at + 2..)?.first_chunk()?);
            let block = packet.get(at + 4..at + 4 + usize::from(words) * 4)?;
            if profile == 0xbede && transport_cc_id > 0 {
                transport_sequence = find_extension(block, transport_cc_id);
            }
            at += 4 + block.len();
        }
        let mut end = packet.len();
        if fixed[0] & 0x20 != 0 {
            end = end.checked_sub(usize::from(*packet.last()?))?;
        }
        Some(Self {
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            transport_sequence,
            payload: packet.get(at..end)?,
        })
    }
}

fn find_extension(mut block: &[u8], id: u8) -> Option<u16> {
    while let Some((&head, rest)) = block.split_first() {
        let len = usize::from(head & 15) + 1;
        match head >> 4 {
            0 => block = rest,
            15 => return None,
            found if found == id => return rest.first_chunk().map(|b| u16::from_be_bytes(*b)),
            _ => block = rest.get(len..)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_extensions_and_padding_reads_to_its_payload() {
        let head = [0xb0, 0xe0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0xbe, 0xde, 0, 2];
        let block = [0x40, b'1', 0x31, 0xab, 0xcd, 0, 0, 0];
        let packet = [&head[..], &block, b"media", &[0, 0, 3]].concat();
        let rtp = Rtp::parse(&packet, 3).expect("well formed");
        assert_eq!((rtp.payload_type, rtp.sequence, rtp.ssrc), (96, 7, 9));
        assert_eq!(rtp.transport_sequence, Some(0xabcd));
        assert_eq!(rtp.payload, b"media");
        for len in 0..packet.len() {
            let _ = Rtp::parse(&packet[..len], 3);
        }
    }

    #[test]
    fn missing_packets_are_asked_for_until_they_come() {
        let now = Instant::now();
        let mut stream = Stream::new(1, true, 65_534);
        for sequence in [65_534, 65_535, 2, 3] {
            stream.receive(now, sequence);
        }
        assert_eq!(stream.due(now), [0, 1]);
        assert_eq!(stream.due(now), [] as [u16; 0], "not at once again");
        stream.receive(now, 0);
        assert_eq!(stream.due(now + NACK_INTERVAL), [1]);
        let report = stream.report(5, now);
        assert_eq!((report.total_lost, report.highest), (1, 0x1_0003));
        let later = |n: u32| now + NACK_INTERVAL * (n + 2);
        assert_eq!(
            (0..20).map(|n| stream.due(later(n)).len()).sum::<usize>(),
            6,
            "gives up"
        );
    }
}
