//! One synthetic participant's transport: ICE, DTLS, SRTP and data channels as one state machine.
//!
//! Sans-IO: datagrams and time go in, datagrams and decrypted media come out. It checks one remote
//! address, controls ICE unless the other side insists on that, and works with lite and full
//! agents. All of its parts come from published crates, none from this project's media server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::channels::Channels;
use super::sdp::Remote;

/// Between connectivity checks before the first answer, doubled up to the second.
const CHECK_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(1_600));
/// Between consent checks (RFC 7675 says about 5 s).
const CONSENT_INTERVAL: Duration = Duration::from_secs(4);
/// A transport that has not heard from the other side for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The type preference of a host candidate (RFC 8445 section 5.1.2).
const PRIORITY: u32 = 2_130_706_431;

/// The certificate that all synthetic participants share: making one costs more than a handshake.
pub(crate) struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
    /// As in the attribute of a description.
    pub(crate) fingerprint: String,
}

impl Identity {
    /// Makes a certificate.
    pub(crate) fn generate() -> Result<Self> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()?;
        let config = Config::builder()
            .flight_start_rto(Duration::from_millis(400))
            .build()?;
        let fingerprint = certificate.fingerprint_str();
        Ok(Self {
            certificate,
            config: Arc::new(config),
            fingerprint,
        })
    }
}

/// What came in.
pub(crate) enum Incoming {
    /// Nothing to look at from outside.
    Handled,
    /// A decrypted RTP packet, header included.
    Rtp(BytesMut),
    /// A decrypted compound RTCP packet.
    Rtcp(BytesMut),
}

/// Credentials of one side.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    /// User name fragment.
    pub(crate) ufrag: String,
    /// Password.
    pub(crate) password: String,
}

/// The state machine.
pub(crate) struct Peer {
    ice: Ice,
    dtls: Dtls,
    is_dtls_client: bool,
    fingerprint: String,
    srtp: Option<Srtp>,
    channels: Option<Channels>,
    wants_channels: bool,
    failure: Option<&'static str>,
    out: VecDeque<Vec<u8>>,
    scratch: Vec<u8>,
}

struct Ice {
    local: Credentials,
    remote: Credentials,
    interval: Duration,
    next_check: Instant,
    last_heard: Instant,
    is_connected: bool,
    is_controlling: bool,
}

struct Srtp {
    inbound: Context,
    outbound: Context,
    profile: SrtpProfile,
}

impl Peer {
    /// A transport towards what `remote` describes. `is_dtls_client` as the descriptions agreed.
    pub(crate) fn new(
        now: Instant,
        identity: &Identity,
        local: Credentials,
        remote: &Remote,
        is_dtls_client: bool,
        wants_channels: bool,
    ) -> Self {
        let mut dtls = Dtls::new_12(identity.config.clone(), identity.certificate.clone(), now);
        dtls.set_active(is_dtls_client);
        let other = Credentials {
            ufrag: remote.ufrag.clone(),
            password: remote.password.clone(),
        };
        Self {
            ice: Ice {
                local,
                remote: other,
                interval: CHECK_INTERVAL.0,
                next_check: now,
                last_heard: now,
                is_connected: false,
                is_controlling: true,
            },
            dtls,
            is_dtls_client,
            fingerprint: remote.fingerprint.clone(),
            srtp: None,
            channels: None,
            wants_channels,
            failure: None,
            out: VecDeque::new(),
            scratch: vec![0; 4_096],
        }
    }

    /// Whether media can flow.
    pub(crate) fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// Whether media can flow and the data channels, if wanted, are open.
    pub(crate) fn is_complete(&self) -> bool {
        let channels = self.channels.as_ref().is_some_and(Channels::are_open);
        self.is_connected() && (channels || !self.wants_channels)
    }

    /// The agreed protection.
    pub(crate) fn profile(&self) -> Option<SrtpProfile> {
        self.srtp.as_ref().map(|srtp| srtp.profile)
    }

    /// Why it is over, if it is.
    pub(crate) fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    /// The next datagram to send.
    pub(crate) fn poll(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// Takes one datagram that came from `from`.
    pub(crate) fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Incoming {
        match datagram.first() {
            Some(0..=3) => self.handle_stun(now, from, datagram),
            Some(20..=63) => self.handle_dtls(now, datagram),
            Some(128..=191) => return self.unprotect(datagram),
            _ => {}
        }
        Incoming::Handled
    }

    /// Lets time pass; call it every few milliseconds during the handshake.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if now >= self.ice.next_check {
            self.check(now);
        }
        if now > self.ice.last_heard + PATIENCE {
            self.failure
                .get_or_insert("the server does not answer connectivity checks");
        }
        if self.ice.is_connected {
            if self.dtls.handle_timeout(now).is_err() {
                self.failure.get_or_insert("DTLS gave up");
            }
            if let Some(channels) = &mut self.channels {
                channels.handle_timeout(now);
            }
            self.drain(now);
        }
    }

    /// Restarts ICE with fresh credentials of both sides; DTLS and what is above it go on.
    pub(crate) fn restart(&mut self, now: Instant, local: Credentials, remote: Credentials) {
        (self.ice.local, self.ice.remote) = (local, remote);
        (self.ice.next_check, self.ice.last_heard) = (now, now);
    }

    /// Sends a reliable message over the data channel, if that is open.
    pub(crate) fn say(&mut self, now: Instant, message: &[u8]) {
        if let Some(channels) = &mut self.channels {
            channels.say(now, message);
            self.drain(now);
        }
    }

    /// Encrypts an RTP packet; `None` before the handshake is over.
    pub(crate) fn protect_rtp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.srtp.as_mut()?.outbound.encrypt_rtp(packet).ok()
    }

    /// Encrypts and queues a compound RTCP packet.
    pub(crate) fn send_rtcp(&mut self, packet: &[u8]) {
        let Some(srtp) = &mut self.srtp else { return };
        if let Ok(packet) = srtp.outbound.encrypt_rtcp(packet) {
            self.out.push_back(packet.to_vec());
        }
    }

    fn unprotect(&mut self, datagram: &[u8]) -> Incoming {
        let Some(srtp) = &mut self.srtp else {
            return Incoming::Handled;
        };
        // RFC 5761 section 4: the range of RTCP packet types.
        let is_rtcp = datagram
            .get(1)
            .is_some_and(|kind| (192..=223).contains(kind));
        if is_rtcp {
            srtp.inbound
                .decrypt_rtcp(datagram)
                .map_or(Incoming::Handled, Incoming::Rtcp)
        } else {
            srtp.inbound
                .decrypt_rtp(datagram)
                .map_or(Incoming::Handled, Incoming::Rtp)
        }
    }

    fn check(&mut self, now: Instant) {
        let user = format!("{}:{}", self.ice.remote.ufrag, self.ice.local.ufrag);
        let (id, controls) = (TransId::new(), self.ice.is_controlling);
        let request = StunMessage::binding_request(&user, id, controls, 1, PRIORITY, controls);
        let password = self.ice.remote.password.clone();
        self.send_stun(&request, &password);
        if self.ice.is_connected {
            self.ice.interval = CONSENT_INTERVAL;
        } else {
            self.ice.interval = (self.ice.interval * 2).min(CHECK_INTERVAL.1);
        }
        self.ice.next_check = now + self.ice.interval;
    }

    fn handle_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Ok(message) = StunMessage::parse(datagram) else {
            return;
        };
        if message.is_successful_binding_response() {
            if !message.verify(self.ice.remote.password.as_bytes(), hmac) {
                return;
            }
            self.ice.last_heard = now;
            if !self.ice.is_connected {
                self.ice.is_connected = true;
                self.ice.next_check = now + CONSENT_INTERVAL;
                self.handle_timeout(now);
            }
        } else if message.is_failed_binding_response() {
            // RFC 8445 section 7.2.5.1: a role conflict is repaired by the side that is told.
            if message.error_code().is_some_and(|(code, _)| code == 487) {
                self.ice.is_controlling = !self.ice.is_controlling;
                self.ice.next_check = now;
            }
        } else if message.is_binding_request()
            && message.verify(self.ice.local.password.as_bytes(), hmac)
        {
            // A full agent checks as well and waits for our answer.
            let reply = StunMessage::binding_reply(message.trans_id(), from);
            let password = self.ice.local.password.clone();
            self.send_stun(&reply, &password);
        }
    }

    fn send_stun(&mut self, message: &StunMessage<'_>, password: &str) {
        let mut buffer = vec![0; 512];
        if let Ok(len) = message.to_bytes(Some(password.as_bytes()), &mut buffer, hmac) {
            buffer.truncate(len);
            self.out.push_back(buffer);
        }
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) {
        let result = self
            .dtls
            .handle_timeout(now)
            .and_then(|()| self.dtls.handle_packet(datagram));
        if result.is_err() {
            self.failure.get_or_insert("the DTLS handshake failed");
            return;
        }
        self.drain(now);
    }

    /// Moves what DTLS and the data channels have to say to where it belongs.
    fn drain(&mut self, now: Instant) {
        loop {
            self.poll_dtls(now);
            let Some(channels) = &mut self.channels else {
                return;
            };
            let Some(packet) = channels.poll() else {
                return;
            };
            if self.dtls.send_application_data(&packet).is_err() {
                self.failure.get_or_insert("DTLS takes no more data");
                return;
            }
        }
    }

    fn poll_dtls(&mut self, now: Instant) {
        loop {
            match self.dtls.poll_output(&mut self.scratch) {
                Output::Packet(packet) => self.out.push_back(packet.to_vec()),
                Output::BufferTooSmall { needed } => self.scratch.resize(needed, 0),
                Output::PeerCert(der) => {
                    let sha256 = dimpl::certificate::calculate_fingerprint(der);
                    let text = dimpl::certificate::format_fingerprint(&sha256);
                    let wanted = self.fingerprint.split_once(' ').map_or("", |(_, hex)| hex);
                    if !wanted.eq_ignore_ascii_case(&text) {
                        self.failure
                            .get_or_insert("the certificate is not the announced one");
                    }
                }
                Output::KeyingMaterial(material, profile) => {
                    self.srtp = keys(&material, profile, self.is_dtls_client).ok();
                    if self.srtp.is_none() {
                        self.failure.get_or_insert("no usable SRTP keys");
                    }
                }
                Output::Connected if self.wants_channels && self.channels.is_none() => {
                    self.channels = Some(Channels::start(now, self.is_dtls_client));
                }
                Output::ApplicationData(data) => {
                    if let Some(channels) = &mut self.channels {
                        channels.handle(now, data);
                    }
                }
                Output::CloseNotify => {
                    self.failure
                        .get_or_insert("the server closed the transport");
                }
                Output::Timeout(_) => return,
                _ => {}
            }
        }
    }
}

fn hmac(key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
    DefaultSha1HmacProvider.sha1_hmac(key, payloads)
}

/// Splits exported keying material as RFC 5764 section 4.2 says.
fn keys(material: &[u8], profile: SrtpProfile, is_dtls_client: bool) -> Result<Srtp> {
    let protection = match profile {
        SrtpProfile::AEAD_AES_256_GCM => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::AEAD_AES_128_GCM => ProtectionProfile::AeadAes128Gcm,
        _ => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let (key, salt) = (protection.key_len(), protection.salt_len());
    let part = |from: usize, len: usize| material.get(from..from + len).context("short keys");
    let context = |is_client: bool| -> Result<Context> {
        let (which, crypto) = (usize::from(!is_client), AwsLcRsCrypto);
        let key_bytes = part(which * key, key)?;
        let salt_bytes = part(2 * key + which * salt, salt)?;
        // Repetitions are counted by the receiver of the media, not hidden here.
        Ok(Context::new(
            key_bytes, salt_bytes, protection, None, None, &crypto,
        )?)
    };
    let (inbound, outbound) = (context(!is_dtls_client)?, context(is_dtls_client)?);
    Ok(Srtp {
        inbound,
        outbound,
        profile,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(ufrag: &str) -> Credentials {
        Credentials {
            ufrag: ufrag.into(),
            password: format!("{ufrag}-password-0123456789"),
        }
    }

    fn remote(credentials: &Credentials, fingerprint: &str) -> Remote {
        Remote {
            ufrag: credentials.ufrag.clone(),
            password: credentials.password.clone(),
            fingerprint: format!("sha-256 {fingerprint}"),
            setup: "active".into(),
            candidates: Vec::new(),
            sections: Vec::new(),
        }
    }

    fn pair(fingerprint: Option<&str>) -> (Peer, Peer) {
        let identity = Identity::generate().expect("certificate");
        let (now, a, b) = (Instant::now(), side("aaaa"), side("bbbb"));
        let fingerprint = fingerprint.unwrap_or(&identity.fingerprint);
        let (of_a, of_b) = (remote(&a, fingerprint), remote(&b, fingerprint));
        let client = Peer::new(now, &identity, a, &of_b, true, false);
        let server = Peer::new(now, &identity, b, &of_a, false, false);
        (client, server)
    }

    /// Carries datagrams between two peers for a few virtual seconds.
    fn run(a: &mut Peer, b: &mut Peer) {
        let (start, from) = (Instant::now(), "127.0.0.1:9".parse().expect("address"));
        for step in 0..100 {
            let now = start + Duration::from_millis(step * 20);
            a.handle_timeout(now);
            b.handle_timeout(now);
            for _ in 0..4 {
                while let Some(datagram) = a.poll() {
                    b.handle(now, from, &datagram);
                }
                while let Some(datagram) = b.poll() {
                    a.handle(now, from, &datagram);
                }
            }
        }
    }

    #[test]
    fn two_peers_connect_and_understand_each_others_media() {
        let (mut a, mut b) = pair(None);
        run(&mut a, &mut b);
        assert!(
            a.is_connected() && b.is_connected(),
            "{:?} {:?}",
            a.failure(),
            b.failure()
        );
        assert_eq!(a.profile(), Some(SrtpProfile::AEAD_AES_256_GCM));
        let packet = [&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5][..], &[9; 100]].concat();
        let sealed = a.protect_rtp(&packet).expect("connected");
        let from = "127.0.0.1:9".parse().expect("address");
        match b.handle(Instant::now(), from, &sealed) {
            Incoming::Rtp(plain) => assert_eq!(plain[..], packet[..]),
            _ => panic!("the packet is lost"),
        }
    }

    #[test]
    fn a_wrong_certificate_is_noticed() {
        let (mut a, mut b) = pair(Some(&"AB:".repeat(32)[..95]));
        run(&mut a, &mut b);
        assert_eq!(
            a.failure(),
            Some("the certificate is not the announced one")
        );
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let (mut a, _) = pair(None);
        a.handle_timeout(Instant::now() + PATIENCE + Duration::from_secs(1));
        assert!(a.failure().is_some());
    }
}
