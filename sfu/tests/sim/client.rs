//! One participant: a whole peer stack, what it sends and what it receives.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu::congestion::feedback::ArrivalFeedback;
use sfu::id::{RoomId, TransportId};
use sfu::rtp::packet::Header;
use sfu::rtp::rtcp::feedback::{append_nack, append_pli};
use sfu::rtp::rtcp::report::{
    ReportBlock, SenderInfo, append_receiver_report, append_sender_report,
};
use sfu::rtp::rtcp::{Rtcp, parse_compound};
use sfu::unit::{NtpTime, Ssrc};

use super::link::{Faults, Link, Narrow};
use super::peer::{PeerEvent, Sctp, SimPeer};
use super::sink::Sink;
use super::source::Source;

const TICK: Duration = Duration::from_millis(20);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the server asked of a client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) packets: usize,
    pub(crate) keyframes: usize,
    pub(crate) arrival_reports: usize,
    pub(crate) receiver_reports: usize,
    pub(crate) goodbyes: usize,
}

/// One participant.
pub(crate) struct SimClient {
    pub(crate) peer: SimPeer,
    pub(crate) room: RoomId,
    pub(crate) shard: usize,
    pub(crate) link: Link,
    pub(crate) up: Faults,
    pub(crate) down: Faults,
    /// What everything that it is sent must pass.
    pub(crate) narrow: Option<Narrow>,
    /// It reports when numbered packets arrive, as browsers do.
    pub(crate) arrivals: Option<ArrivalFeedback>,
    /// Packets that were nothing but padding.
    pub(crate) padding: usize,
    pub(crate) sources: Vec<Source>,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) connected_at: Option<Instant>,
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    pub(crate) strangers: usize,
    pub(crate) asked: Asked,
    pub(crate) is_closed: bool,
    /// The client's wall clock is off by this.
    pub(crate) clock_skew: u64,
    /// The last datagrams that it sent, for those who replay them.
    pub(crate) recent: VecDeque<Vec<u8>>,
    /// Every packet of media as it was before SRTP, for those who compare.
    pub(crate) sent: Option<Vec<Vec<u8>>>,
    transport_cc: u16,
    next_tick: Instant,
    next_report: Instant,
}

impl SimClient {
    /// Its first picture is a keyframe and is there within a second: of joining where nothing is
    /// lost, else of the end of the handshake, because one lost datagram of a handshake is sent
    /// again after a second and no earlier (RFC 6347 section 4.2.4.1).
    pub(crate) fn assert_soon_sees(&self, joined: Instant, loss_percent: u64) {
        let first = self.sinks[0].shown.first().expect("a picture");
        assert!(first.truth.is_keyframe);
        let connected = self.connected_at.expect("who sees is connected");
        let since = if loss_percent == 0 { joined } else { connected };
        let wait = first.at - since;
        assert!(wait < Duration::from_secs(1), "seen after {wait:?}");
    }

    pub(crate) fn new(
        now: Instant,
        room: RoomId,
        shard: usize,
        number: u64,
        address: SocketAddr,
        link: Link,
    ) -> Self {
        let mut peer = SimPeer::new(now, TransportId(number), address, Sctp::Active);
        for label in ["_reliable", "_lossy"] {
            peer.open_channel(now, label);
        }
        Self {
            peer,
            room,
            shard,
            link,
            up: Faults::default(),
            down: Faults::default(),
            narrow: None,
            arrivals: None,
            padding: 0,
            sources: Vec::new(),
            sinks: Vec::new(),
            connected_at: None,
            messages: Vec::new(),
            strangers: 0,
            asked: Asked::default(),
            is_closed: false,
            clock_skew: number << 40,
            recent: VecDeque::new(),
            sent: None,
            transport_cc: 65_500,
            next_tick: now,
            next_report: now + REPORT_INTERVAL,
        }
    }

    pub(crate) fn remember(&mut self, datagram: &[u8]) {
        self.recent.push_back(datagram.to_vec());
        if self.recent.len() > 50 {
            self.recent.pop_front();
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let media = self.connected_at.map(|_| {
            let captures = self.sources.iter().map(|source| source.next);
            captures.fold(self.next_tick, Instant::min)
        });
        [self.peer.next_timeout(), media]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn handle_timeout(&mut self, start: Instant, now: Instant) {
        self.peer.handle_timeout(now);
        self.drain(now);
        if self.connected_at.is_none() {
            return;
        }
        for source in &mut self.sources {
            if source.next <= now {
                for packet in source.capture(start, now, &mut self.transport_cc) {
                    self.peer.send_rtp(&packet);
                    if let Some(sent) = &mut self.sent {
                        sent.push(packet);
                    }
                }
            }
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.ask(now);
        }
        if self.next_report <= now {
            self.next_report = now + REPORT_INTERVAL;
            self.report(start, now);
        }
    }

    /// Takes what the peer stack has noticed.
    pub(crate) fn drain(&mut self, now: Instant) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::Connected(_) => {
                    self.connected_at = Some(now);
                    self.next_tick = now;
                    self.next_report = now + REPORT_INTERVAL;
                    for source in &mut self.sources {
                        source.next = now;
                    }
                }
                PeerEvent::Rtp(packet) => self.receive(now, &packet),
                PeerEvent::Rtcp(compound) => self.receive_rtcp(now, &compound),
                PeerEvent::Data(label, message) => self.messages.push((label, message)),
                PeerEvent::Closed => self.is_closed = true,
                PeerEvent::ChannelOpen(_) | PeerEvent::ChannelClosed(_) => {}
            }
        }
    }

    fn receive(&mut self, now: Instant, packet: &[u8]) {
        let header = Header::parse(packet).expect("the server sends good RTP");
        let number = header.extensions(packet, &super::extensions()).transport_cc;
        if let (Some(arrivals), Some(number)) = (&mut self.arrivals, number) {
            arrivals.note(now, number, header.ssrc);
        }
        let is_repair = self.sinks.iter().any(|sink| sink.rtx_ssrc == header.ssrc.0);
        if is_repair && header.payload(packet).is_err() {
            self.padding += 1;
            return;
        }
        let sink = self
            .sinks
            .iter_mut()
            .find(|s| [s.ssrc, s.rtx_ssrc].contains(&header.ssrc.0));
        match sink {
            Some(sink) => sink.receive(now, &header, packet),
            None => self.strangers += 1,
        }
    }

    fn receive_rtcp(&mut self, now: Instant, compound: &[u8]) {
        for packet in parse_compound(compound) {
            match packet.expect("the server sends good RTCP") {
                Rtcp::Nack(nack) => {
                    for number in nack.numbers() {
                        self.asked.packets += 1;
                        let repair = self
                            .sources
                            .iter_mut()
                            .find_map(|source| source.repair(nack.media.0, number));
                        if let Some(packet) = repair {
                            self.peer.send_rtp(&packet);
                        }
                    }
                }
                Rtcp::Pli(pli) => {
                    self.asked.keyframes += 1;
                    let encodings = self.sources.iter_mut().flat_map(|s| &mut s.encodings);
                    for encoding in encodings.filter(|e| e.ssrc == pli.media.0) {
                        encoding.ask_keyframe();
                    }
                }
                Rtcp::Twcc(_) => self.asked.arrival_reports += 1,
                Rtcp::ReceiverReport(report) => {
                    self.asked.receiver_reports += report.blocks().count();
                }
                Rtcp::SenderReport(report) => {
                    let sink = self.sinks.iter_mut().find(|s| s.ssrc == report.ssrc.0);
                    match sink {
                        Some(sink) => sink.reports.push((now, report.ntp.0, report.rtp)),
                        None => self.strangers += 1,
                    }
                }
                Rtcp::Bye(bye) => self.asked.goodbyes += bye.sources().count(),
                _ => {}
            }
        }
    }

    fn ask(&mut self, now: Instant) {
        if let Some(arrivals) = &mut self.arrivals {
            let mut compound = Vec::new();
            arrivals.append(now, &mut compound, Ssrc(1));
            if !compound.is_empty() {
                self.peer.send_rtcp(&compound);
            }
        }
        for sink in &mut self.sinks {
            let (lost, wants_keyframe) = sink.requests(now);
            let mut compound = Vec::new();
            append_nack(&mut compound, Ssrc(1), Ssrc(sink.ssrc), lost);
            if wants_keyframe {
                append_pli(&mut compound, Ssrc(1), Ssrc(sink.ssrc));
            }
            if !compound.is_empty() {
                self.peer.send_rtcp(&compound);
            }
        }
    }

    fn report(&mut self, start: Instant, now: Instant) {
        let since = now - start;
        let ntp = NtpTime(self.clock_skew + (1 << 40)).after(since);
        let mut compound = Vec::new();
        for source in &self.sources {
            let rate = if source.is_audio { 48_000 } else { 90_000 };
            for encoding in source.encodings.iter().filter(|e| e.packets_sent > 0) {
                let info = SenderInfo {
                    ssrc: Ssrc(encoding.ssrc),
                    ntp,
                    rtp: encoding.timestamp(since, rate),
                    packets: encoding.packets_sent,
                    octets: 0,
                };
                append_sender_report(&mut compound, &info, &[]);
            }
        }
        for sink in &self.sinks {
            let (highest, lost) = sink.reception();
            let Some((at, ntp, _)) = sink.reports.last() else {
                continue;
            };
            let block = ReportBlock {
                ssrc: Ssrc(sink.ssrc),
                fraction_lost: 0,
                lost,
                highest,
                jitter: 0,
                last_report: NtpTime(*ntp).middle(),
                delay: ((now - *at).as_micros() * 65_536 / 1_000_000) as u32,
            };
            append_receiver_report(&mut compound, Ssrc(1), &[block]);
        }
        if !compound.is_empty() {
            self.peer.send_rtcp(&compound);
        }
    }
}
