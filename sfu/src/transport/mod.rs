//! One peer's ICE, DTLS, SRTP and SCTP as one state machine.
//!
//! [`Transport`] is given the datagrams of one peer, sorted by their first byte, and the time; it
//! is then polled until it says `None`. It owns everything that is agreed with that peer below the
//! level of publications: paths, keys, channels. It deliberately does not know where a datagram
//! came from before ICE has validated the source: the shard asks [`Transport::is_validated`] and
//! drops what is not.
//!
//! Media does not go through the queue of [`Transport::poll`]: it is sealed straight into the
//! batch of the turn, by the shard, which takes the keys for it over ([`Transport::take_outbound`])
//! and keeps them with what else it needs for each packet.

mod dcep;
pub mod dtls;
pub(crate) mod fuzz;
pub mod ice;
mod packet_scan;
pub mod params;
mod sctp;
pub mod srtp;
mod stun;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use self::dtls::{Dtls, DtlsOutput, Identity, Keys};
use self::ice::{Consent, IceLite};
use self::params::{IceCredentials, SctpParams, TransportParams};
use self::sctp::{Sctp, SctpOutput};
use self::srtp::{Inbound, KeyingMaterial, Outbound, Profile};
use crate::config::Limits;
use crate::error::{CommandError, Reject};
use crate::id::TransportId;
use crate::rtp::packet::Header;
use crate::shard::command::DataChannel;
use crate::shard::event::DisconnectReason;
use crate::unit::{SeqNo, Ssrc};

/// One peer connection of one participant.
pub struct Transport {
    id: TransportId,
    limits: Limits,
    ice: IceLite,
    dtls: Dtls,
    inbound: Option<Inbound>,
    /// Until somebody takes it.
    outbound: Option<Outbound>,
    sctp: Option<Sctp>,
    /// When the peer must be connected.
    connect_by: Option<Instant>,
    is_closed: bool,
    lossy_dropped: u64,
    queue: VecDeque<Queued>,
}

/// What a transport has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportOutput {
    /// A datagram has been appended to the buffer.
    Transmit {
        /// Where it goes.
        to: SocketAddr,
        /// How many bytes of the buffer it has.
        len: usize,
    },
    /// The handshake is done: media may flow. Said once.
    Connected {
        /// How it is protected.
        profile: Profile,
    },
    /// A data channel is open in both directions.
    DataChannelOpen(DataChannel),
    /// A message arrived.
    Data(DataChannel, Bytes),
    /// It is over, for a reason that nobody commanded. Said once; only a goodbye may
    /// follow it.
    Closed(DisconnectReason),
}

enum Queued {
    Datagram(SocketAddr, Vec<u8>),
    Event(TransportOutput),
}

impl Transport {
    /// Waits for the peer's first connectivity check.
    pub fn new(
        now: Instant,
        id: TransportId,
        params: TransportParams,
        identity: &Identity,
        limits: &Limits,
    ) -> Self {
        let secret = identity.secret();
        Self {
            id,
            limits: limits.clone(),
            ice: IceLite::new(id, params.local_ice, params.remote_ice, secret, limits),
            dtls: Dtls::new(now, identity, params.remote_fingerprint),
            inbound: None,
            outbound: None,
            sctp: params.sctp.map(|sctp| Sctp::new(sctp, limits)),
            connect_by: Some(now + limits.connect_timeout),
            is_closed: false,
            lossy_dropped: 0,
            queue: VecDeque::new(),
        }
    }

    /// Replaces the ICE credentials of both sides. The old ones work until the new are used. A peer
    /// whose consent had lapsed comes back by it.
    pub fn restart_ice(&mut self, _now: Instant, local: IceCredentials, remote: IceCredentials) {
        self.ice.restart(local, remote);
    }

    /// The peer wants data channels too; nothing changes where it has them.
    pub fn add_sctp(&mut self, now: Instant, params: SctpParams) {
        if self.sctp.is_none() {
            let mut sctp = Sctp::new(params, &self.limits);
            if self.inbound.is_some() {
                sctp.start(now);
            }
            self.sctp = Some(sctp);
        }
    }

    /// Opens the data channels from our side; nothing happens where the peer wants none.
    pub fn open_data_channels(&mut self, now: Instant) {
        if let Some(sctp) = &mut self.sctp {
            sctp.open_all(now);
            // Nothing has been received, so nothing can be refused.
            let _no_reject = self.pump(now);
        }
    }

    /// The data channels that are open in both directions.
    pub fn open_channels(&self) -> impl Iterator<Item = DataChannel> {
        self.sctp.iter().flat_map(Sctp::open_channels)
    }

    /// Says goodbye. What [`Transport::poll`] still gives must be sent.
    pub fn close(&mut self, now: Instant) {
        if !self.is_closed {
            self.dtls.close();
            // As above: only the goodbye is left to be queued.
            let _no_reject = self.pump(now);
            self.is_closed = true;
        }
    }

    /// Takes a STUN message from anywhere. Its sender may become validated and selected by it.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Reject> {
        if self.is_closed {
            return Err(Reject::StunUnknownUser);
        }
        let reply = self.ice.handle(now, from, datagram)?;
        for datagram in [reply.answer, reply.question] {
            if !datagram.is_empty() {
                self.queue.push_back(Queued::Datagram(from, datagram));
            }
        }
        Ok(())
    }

    /// Asks the peer for a sign of life where everything goes to.
    pub fn ask(&mut self, now: Instant) {
        if let Some((to, question)) = self.ice.ask_selected(now) {
            self.queue_question(to, question);
        }
    }

    /// A path is no more: nothing can come from it or go to it.
    pub fn handle_path_end(&mut self, now: Instant, address: SocketAddr) {
        let is_connected = self.is_connected();
        if let Some((to, question)) = self.ice.forget(now, address, is_connected) {
            self.queue_question(to, question);
        }
    }

    fn queue_question(&mut self, to: SocketAddr, question: Vec<u8>) {
        if !question.is_empty() && !self.is_closed {
            self.queue.push_back(Queued::Datagram(to, question));
        }
    }

    /// Whether anything but STUN may come from `from`.
    pub fn is_validated(&self, from: SocketAddr) -> bool {
        self.ice.is_validated(from)
    }

    /// Where everything goes, once a check has come.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.ice.selected()
    }

    /// Whether media may flow.
    pub fn is_connected(&self) -> bool {
        self.inbound.is_some() && !self.is_closed
    }

    /// Takes a DTLS datagram from a validated source.
    pub fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Reject> {
        if self.is_closed {
            return Err(Reject::Dtls);
        }
        let result = self.dtls.handle_packet(now, datagram);
        result.and(self.pump(now))
    }

    /// Authenticates an RTP packet and decrypts its payload to where it will stay: see
    /// [`Inbound::unprotect_rtp_into`].
    pub fn unprotect_rtp_into(
        &mut self,
        header: &Header,
        datagram: &[u8],
        payload: &mut [u8],
    ) -> Result<(SeqNo, usize), Reject> {
        let inbound = self.inbound.as_mut().ok_or(Reject::NoKeys)?;
        inbound.unprotect_rtp_into(header, datagram, payload)
    }

    /// Authenticates and decrypts an RTCP packet where it lies: see [`Inbound::unprotect_rtcp`].
    pub fn unprotect_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, Reject> {
        let inbound = self.inbound.as_mut().ok_or(Reject::NoKeys)?;
        inbound.unprotect_rtcp(datagram)
    }

    /// Makes room for another source: `ssrc` is sent no more.
    pub fn forget_source(&mut self, ssrc: Ssrc) {
        if let Some(inbound) = &mut self.inbound {
            inbound.forget(ssrc);
        }
    }

    /// What the peer is sent with: for whoever seals media, once, after
    /// [`TransportOutput::Connected`].
    pub fn take_outbound(&mut self) -> Option<Outbound> {
        self.outbound.take()
    }

    /// Queues a message. What cannot be queued is refused for `Reliable`, and dropped and counted
    /// for `Lossy`.
    pub fn send_data(
        &mut self,
        now: Instant,
        channel: DataChannel,
        payload: &[u8],
    ) -> Result<(), CommandError> {
        let sctp = self.sctp.as_mut().filter(|_| !self.is_closed);
        if sctp.is_some_and(|sctp| sctp.send(now, channel, payload)) {
            // As in `open_data_channels`.
            let _no_reject = self.pump(now);
            return Ok(());
        }
        match channel {
            DataChannel::Reliable => Err(CommandError::NotSent(self.id)),
            DataChannel::Lossy => {
                self.lossy_dropped += 1;
                Ok(())
            }
        }
    }

    /// How many lossy messages were dropped since the last time this was asked.
    pub fn take_lossy_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.lossy_dropped)
    }

    /// The next thing to do; a datagram to send is appended to `out`.
    pub fn poll(&mut self, out: &mut Vec<u8>) -> Option<TransportOutput> {
        match self.queue.pop_front()? {
            Queued::Event(event) => Some(event),
            Queued::Datagram(to, datagram) => {
                out.extend_from_slice(&datagram);
                Some(TransportOutput::Transmit {
                    to,
                    len: datagram.len(),
                })
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed {
            return;
        }
        match self.ice.handle_timeout(now) {
            // Who has no keys yet can go on with nothing.
            Consent::Lapsed if self.is_connected() => {}
            Consent::Given => {}
            Consent::Lapsed | Consent::Lost => return self.end(DisconnectReason::ConsentLost),
        }
        self.dtls.handle_timeout(now);
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        // Nothing has been received, so nothing can be refused.
        let _no_reject = self.pump(now);
        if !self.is_closed && self.connect_by.is_some_and(|by| now >= by) {
            self.end(match self.ice.selected() {
                None => DisconnectReason::NeverConnected,
                Some(_) => DisconnectReason::HandshakeFailed,
            });
        }
    }

    /// The worker itself has stood still until `now`: the peer's silence says nothing about it.
    pub fn excuse_silence(&mut self, now: Instant) {
        self.ice.excuse_silence(now);
    }

    /// When the peer last showed by a check that it is there.
    pub fn checked_at(&self) -> Option<Instant> {
        self.ice.checked_at()
    }

    /// When [`Transport::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        let sctp = self.sctp.as_ref().and_then(Sctp::next_timeout);
        [
            self.connect_by,
            self.ice.next_timeout(),
            self.dtls.next_timeout(),
            sctp,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Carries what DTLS and SCTP have for each other until neither has anything.
    fn pump(&mut self, now: Instant) -> Result<(), Reject> {
        let mut result = Ok(());
        loop {
            if let Some(output) = self.dtls.poll() {
                result = result.and(self.handle_dtls_output(now, output));
            } else if let Some(output) = self.sctp.as_mut().and_then(Sctp::poll) {
                self.handle_sctp_output(output);
            } else {
                return result;
            }
        }
    }

    fn handle_dtls_output(&mut self, now: Instant, output: DtlsOutput) -> Result<(), Reject> {
        match output {
            DtlsOutput::Packet(packet) => {
                if let Some(to) = self.ice.selected() {
                    self.queue.push_back(Queued::Datagram(to, packet));
                }
            }
            DtlsOutput::Connected(keys) => self.connect(now, &keys),
            DtlsOutput::Data(data) => {
                let sctp = self.sctp.as_mut().ok_or(Reject::Sctp)?;
                return sctp.handle_packet(now, &data);
            }
            DtlsOutput::Closed(reason) => self.end(reason),
        }
        Ok(())
    }

    fn connect(&mut self, now: Instant, keys: &Keys) {
        let profile = keys.profile;
        let material = KeyingMaterial::split(profile, &keys.material)
            .expect("the export has the length of its profile");
        // We are the DTLS server.
        let sources_max = self.limits.ssrcs_per_transport_max;
        let inbound = Inbound::new(profile, &material.client, sources_max);
        let outbound = Outbound::new(profile, &material.server);
        self.inbound = Some(inbound);
        self.outbound = Some(outbound);
        self.connect_by = None;
        if let Some(sctp) = &mut self.sctp {
            sctp.start(now);
        }
        self.tell(TransportOutput::Connected { profile });
    }

    fn handle_sctp_output(&mut self, output: SctpOutput) {
        match output {
            SctpOutput::Packet(packet) => self.dtls.send(&packet),
            SctpOutput::Open(channel) => self.tell(TransportOutput::DataChannelOpen(channel)),
            SctpOutput::Data(channel, data) => self.tell(TransportOutput::Data(channel, data)),
            SctpOutput::Closed(reason) => {
                // There is no media without a control channel; the peer is told.
                self.dtls.close();
                self.end(reason);
            }
        }
    }

    fn tell(&mut self, event: TransportOutput) {
        if !self.is_closed {
            self.queue.push_back(Queued::Event(event));
        }
    }

    fn end(&mut self, reason: DisconnectReason) {
        self.tell(TransportOutput::Closed(reason));
        self.is_closed = true;
    }
}
