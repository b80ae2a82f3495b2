//! The DTLS side of a transport: a thin face over `dimpl`.
//!
//! We are always the server and speak version 1.2: `dimpl`'s 1.2 server chooses the SRTP profile
//! by its own order, AEAD_AES_256_GCM first, while its 1.3 server takes the client's first, which
//! for Chromium is the one that costs three times as much (docs/decisions/002-dtls-dimpl.md). The
//! peer's certificate must have the fingerprint that was signalled; nothing else about it counts.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use aws_lc_rs::{digest, rand};
use bytes::Bytes;
use dimpl::{Config, DtlsCertificate, Output, SrtpProfile};
use zeroize::Zeroizing;

use super::params::Fingerprint;
use super::srtp::Profile;
use crate::error::Reject;
use crate::shard::event::DisconnectReason;

/// The certificate that this process shows to every peer. Cheap to clone.
#[derive(Clone)]
#[expect(
    clippy::disallowed_types,
    reason = "dimpl takes its configuration so; nothing of it is on a packet's way"
)]
pub struct Identity {
    certificate: std::sync::Arc<DtlsCertificate>,
    config: std::sync::Arc<Config>,
    fingerprint: Fingerprint,
    secret: [u8; 32],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.fingerprint).finish()
    }
}

impl Identity {
    /// Makes a self-signed ECDSA P-256 certificate, to be done once per process.
    ///
    /// # Panics
    ///
    /// If the system has no randomness to give: nothing could be kept secret then.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub fn generate() -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .expect("a key needs nothing but randomness");
        let mut secret = [0; 32];
        rand::fill(&mut secret).expect("the system gives randomness");
        let config = Config::builder()
            .mtu(MTU)
            // Whoever is heard here has already passed a connectivity check: a cookie would only
            // cost a round trip (RFC 8842 section 5).
            .use_server_cookie(false)
            .flight_start_rto(FLIGHT_TIMEOUT)
            .flight_retries(FLIGHT_RETRIES)
            .build()
            .expect("a configuration of constants");
        Self {
            fingerprint: fingerprint_of(&certificate.certificate),
            certificate: std::sync::Arc::new(certificate),
            config: std::sync::Arc::new(config),
            secret,
        }
    }

    /// What the session description says of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Random bytes that no peer knows.
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// What a datagram may have without being cut on any path that carries WebRTC: 1,280 bytes of an
/// IPv6 link minus headers, with room for a tunnel.
const MTU: usize = 1_150;
/// The first retransmission: clinics on satellites have 600 ms, but most have 50, and one lost
/// flight must not cost a second of a join that should take one.
const FLIGHT_TIMEOUT: Duration = Duration::from_millis(250);
/// 0.25 + 0.5 + ... seconds: longer than `connect_timeout` waits.
const FLIGHT_RETRIES: usize = 7;
/// The largest record (RFC 6347 section 4.1) with its overhead.
const RECORD_MAX: usize = (1 << 14) + 256;

/// The first message of a handshake (RFC 5246 section 7.4).
const CLIENT_HELLO: u8 = 1;

/// Kind, version, epoch, number, length.
const RECORD_HEADER_LEN: usize = 13;

/// What comes out of a handshake and of a connection.
pub(super) enum DtlsOutput {
    /// To be sent to the peer.
    Packet(Vec<u8>),
    /// The handshake is done and the peer is who was announced.
    Connected(Keys),
    /// What the peer said, decrypted.
    Data(Bytes),
    /// It is over.
    Closed(DisconnectReason),
}

/// What SRTP starts from, in the order of RFC 5764 section 4.2.
pub(super) struct Keys {
    pub(super) profile: Profile,
    pub(super) material: Zeroizing<Vec<u8>>,
}

/// One DTLS connection, from our side.
pub(super) struct Dtls {
    inner: dimpl::Dtls,
    remote_fingerprint: Fingerprint,
    is_peer_proven: bool,
    is_closed: bool,
    keys: Option<Keys>,
    is_handshake_done: bool,
    timeout: Option<Instant>,
    buffer: Vec<u8>,
    outputs: VecDeque<DtlsOutput>,
}

impl Dtls {
    #[expect(clippy::disallowed_types, reason = "dimpl takes its configuration so")]
    pub(super) fn new(now: Instant, identity: &Identity, remote_fingerprint: Fingerprint) -> Self {
        let config = std::sync::Arc::clone(&identity.config);
        let certificate = DtlsCertificate::clone(&identity.certificate);
        Self {
            inner: dimpl::Dtls::new_12(config, certificate, now),
            remote_fingerprint,
            is_peer_proven: false,
            is_closed: false,
            keys: None,
            is_handshake_done: false,
            timeout: None,
            buffer: vec![0; MTU],
            outputs: VecDeque::new(),
        }
    }

    /// Takes a datagram from a validated source.
    pub(super) fn handle_packet(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Reject> {
        if self.is_closed || !is_made_of_records(datagram) {
            return Err(Reject::Dtls);
        }
        let said = self.outputs.len();
        let result = self
            .inner
            .handle_timeout(now)
            .and_then(|()| self.inner.handle_packet(datagram));
        self.drain();
        if result.is_err() {
            self.fail();
            return Err(Reject::Dtls);
        }
        // What merely does not fit is dropped inside and has no error. During a handshake a piece
        // may be kept in silence; afterwards what is genuine brings data, an answer or the end.
        let is_silent = self.outputs.len() == said;
        match self.is_handshake_done && is_silent {
            true => Err(Reject::Dtls),
            false => Ok(()),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed || self.timeout.is_none_or(|due| now < due) && self.timeout.is_some() {
            return;
        }
        let result = self.inner.handle_timeout(now);
        self.drain();
        if result.is_err() {
            self.fail();
        }
    }

    /// When a flight must be sent again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.is_closed { None } else { self.timeout }
    }

    /// Encrypts one message for the peer.
    pub(super) fn send(&mut self, data: &[u8]) {
        if !self.is_closed {
            // An error means that the connection is over, which the next input will say too.
            if self.inner.send_application_data(data).is_err() {
                self.fail();
            }
            self.drain();
        }
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        if !self.is_closed && self.inner.close().is_ok() {
            self.drain();
        }
        self.is_closed = true;
    }

    pub(super) fn poll(&mut self) -> Option<DtlsOutput> {
        self.outputs.pop_front()
    }

    fn drain(&mut self) {
        while !self.is_closed {
            match self.inner.poll_output(&mut self.buffer) {
                Output::Packet(packet) => {
                    self.outputs.push_back(DtlsOutput::Packet(packet.to_vec()));
                }
                Output::ApplicationData(data) => {
                    let data = Bytes::copy_from_slice(data);
                    self.outputs.push_back(DtlsOutput::Data(data));
                }
                Output::BufferTooSmall { needed } if needed <= RECORD_MAX => {
                    self.buffer.resize(needed, 0);
                }
                Output::BufferTooSmall { .. } => self.fail(),
                Output::PeerCert(der) => {
                    self.is_peer_proven = fingerprint_of(der) == self.remote_fingerprint;
                    if !self.is_peer_proven {
                        self.fail();
                    }
                }
                Output::KeyingMaterial(material, profile) => {
                    self.keys = keys(&material, profile);
                    self.connect();
                }
                Output::Connected => {
                    self.is_handshake_done = true;
                    self.connect();
                }
                Output::CloseNotify => self.end(DisconnectReason::ClosedByPeer),
                Output::Timeout(at) => {
                    self.timeout = Some(at);
                    return;
                }
                _ => {}
            }
        }
    }

    /// Connected is said once, when handshake, certificate and keys are all there.
    fn connect(&mut self) {
        if self.is_handshake_done
            && let Some(keys) = self.keys.take()
        {
            if self.is_peer_proven {
                self.outputs.push_back(DtlsOutput::Connected(keys));
            } else {
                self.fail();
            }
        }
    }

    fn fail(&mut self) {
        self.end(DisconnectReason::HandshakeFailed);
    }

    fn end(&mut self, reason: DisconnectReason) {
        if !self.is_closed {
            self.is_closed = true;
            self.outputs.push_back(DtlsOutput::Closed(reason));
        }
    }
}

/// Whether the lengths of all records are true, their versions are DTLS (RFC 6347 section 4.1) and
/// those in the clear say something that a handshake says.
fn is_made_of_records(mut datagram: &[u8]) -> bool {
    loop {
        let Some((header, rest)) = datagram.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return false;
        };
        let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
        if header[1] != 0xfe || rest.len() < len {
            return false;
        }
        let (body, rest) = rest.split_at(len);
        let is_clear = header[3..5] == [0, 0];
        if is_clear && !is_clear_record(header[0], body) {
            return false;
        }
        datagram = rest;
        if datagram.is_empty() {
            return true;
        }
    }
}

/// Whether a hello offers DTLS 1.2 or what came after it (RFC 6347 section 4.2.1: versions count
/// down). The handshake would not go on with an older one, but would have begun, and whoever comes
/// with the right one could not any more.
fn is_of_dtls_1_2(hello: &[u8]) -> bool {
    matches!(hello, [0xfe, ..=0xfd, ..])
}

/// Whether a record without encryption is a change of cipher, an alert or a fragment of a handshake
/// message (RFC 5246 sections 7.1 and 7.2, RFC 6347 section 4.2.2).
fn is_clear_record(kind: u8, body: &[u8]) -> bool {
    match (kind, body) {
        (20, [1]) | (21, [1 | 2, _]) => true,
        (
            22,
            [
                kind,
                l0,
                l1,
                l2,
                _,
                _,
                o0,
                o1,
                o2,
                f0,
                f1,
                f2,
                fragment @ ..,
            ],
        ) => {
            let number = |a: &u8, b: &u8, c: &u8| u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let (offset, len) = (number(o0, o1, o2), number(f0, f1, f2));
            let is_old = *kind == CLIENT_HELLO && offset == 0 && !is_of_dtls_1_2(fragment);
            offset + len <= number(l0, l1, l2) && len <= fragment.len() && !is_old
        }
        _ => false,
    }
}

fn fingerprint_of(der: &[u8]) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    Fingerprint(fingerprint)
}

fn keys(material: &[u8], profile: SrtpProfile) -> Option<Keys> {
    let profile = match profile {
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
        _ => return None,
    };
    Some(Keys {
        profile,
        material: Zeroizing::new(material.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identity_is_another() {
        let (one, other) = (Identity::generate(), Identity::generate());
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_ne!(one.secret(), other.secret());
        assert_eq!(one.clone().fingerprint(), one.fingerprint());
        let shown = format!("{one:?}");
        assert!(!shown.contains(&format!("{:?}", one.secret())));
    }

    #[test]
    fn records_are_told_from_nonsense() {
        let record = [23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 7, 7];
        assert!(is_made_of_records(&record));
        assert!(is_made_of_records(&[record, record].concat()));
        for len in 0..record.len() {
            assert!(!is_made_of_records(&record[..len]), "length {len}");
            let two = [&record, &record[..len]].concat();
            assert_eq!(is_made_of_records(&two), len == 0, "length {len}");
        }
        let mut tls = record;
        tls[1] = 3;
        assert!(!is_made_of_records(&tls));
    }

    #[test]
    fn what_is_said_in_the_clear_belongs_to_a_handshake() {
        let clear = |kind: u8, body: &[u8]| {
            let header = [
                kind,
                0xfe,
                0xfd,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                body.len() as u8,
            ];
            is_made_of_records(&[&header, body].concat())
        };
        assert!(clear(20, &[1]) && clear(21, &[2, 40]));
        let finished = [20, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 2, 7, 7];
        assert!(clear(22, &finished));
        let mut beyond = finished;
        beyond[8] = 1; // a fragment that starts at byte 1 and has two of two
        assert!(!clear(22, &beyond) && !clear(22, &finished[..13]));
        assert!(!clear(23, &[7]) && !clear(20, &[2]) && !clear(21, &[3, 0]));
    }
}
