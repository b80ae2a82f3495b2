//! A DTLS client that shakes hands over a [`Source`], for a participant who joins as everybody does
//! and misbehaves with keys in hand.
//!
//! The handshake is the only thing in these tests that the server's own library does on the other
//! side too; browsers and SDKs bring theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use crate::flood::Source;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const REPLY_TIMEOUT: Duration = Duration::from_millis(100);

/// A client with a certificate of its own.
pub struct Client {
    certificate: DtlsCertificate,
}

impl Default for Client {
    fn default() -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .expect("a key needs nothing but randomness");
        Self { certificate }
    }
}

impl Client {
    /// What an offer says of the certificate.
    pub fn fingerprint(&self) -> String {
        self.certificate.fingerprint_str()
    }

    /// Shakes hands to the end; both sides have SRTP keys then.
    pub fn shake_hands(&self, source: &mut Source) -> Connection {
        let config = Config::builder().build().expect("the defaults are valid");
        let certificate = DtlsCertificate::clone(&self.certificate);
        let began = Instant::now();
        let mut dtls = Dtls::new_12(Arc::new(config), certificate, began);
        dtls.set_active(true);
        let mut outbound = None;
        while began.elapsed() < HANDSHAKE_TIMEOUT {
            dtls.handle_timeout(Instant::now())
                .expect("the handshake goes on");
            let is_connected = flush(&mut dtls, source, &mut outbound);
            if is_connected && let Some(outbound) = outbound.take() {
                return Connection { dtls, outbound };
            }
            if let Some(datagram) = source.receive(REPLY_TIMEOUT)
                && is_dtls(&datagram)
            {
                dtls.handle_packet(&datagram)
                    .expect("the server's handshake is valid");
            }
        }
        panic!("no handshake within {HANDSHAKE_TIMEOUT:?}");
    }
}

/// What a handshake leads to: whatever is sent with these keys is authentic, be it ever so wrong.
pub struct Connection {
    dtls: Dtls,
    outbound: Context,
}

impl Connection {
    /// Sends `data` inside DTLS, where SCTP should be.
    pub fn send(&mut self, source: &mut Source, data: &[u8]) {
        let taken = self.dtls.send_application_data(data);
        taken.expect("it fits into a record");
        flush(&mut self.dtls, source, &mut None);
    }

    /// `packet`, which has at least a header of RTP, as SRTP.
    pub fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let protected = self.outbound.encrypt_rtp(packet);
        protected.expect("the header is whole").to_vec()
    }
}

/// Sends what there is to send and keeps the keys; whether the handshake is done.
fn flush(dtls: &mut Dtls, source: &mut Source, keys: &mut Option<Context>) -> bool {
    let mut buffer = vec![0; 2_048];
    let mut is_connected = false;
    loop {
        match dtls.poll_output(&mut buffer) {
            Output::Packet(datagram) => source.send(datagram),
            Output::Connected => is_connected = true,
            Output::KeyingMaterial(material, profile) => {
                *keys = Some(of_client(&material, profile));
            }
            Output::Timeout(_) => return is_connected,
            _ => {}
        }
    }
}

/// The keys that the client of the handshake sends with (RFC 5764 section 4.2).
fn of_client(material: &[u8], profile: SrtpProfile) -> Context {
    let profile = match profile {
        SrtpProfile::AEAD_AES_256_GCM => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::AEAD_AES_128_GCM => ProtectionProfile::AeadAes128Gcm,
        _ => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let (key, salt) = (profile.key_len(), profile.salt_len());
    let salt = &material[2 * key..2 * key + salt];
    Context::new(&material[..key], salt, profile, None, None, &AwsLcRsCrypto)
        .expect("the keys have the lengths of their profile")
}

/// RFC 7983: what else comes over the same socket starts with other bytes.
fn is_dtls(datagram: &[u8]) -> bool {
    datagram
        .first()
        .is_some_and(|first| (20..64).contains(first))
}
