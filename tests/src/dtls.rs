//! A DTLS client that shakes hands over a [`Source`], for a participant who joins as everybody does
//! and misbehaves with keys in hand.
//!
//! The handshake is the only thing in these tests that the server's own library does on the other
//! side too; browsers and SDKs bring theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output};

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
    pub fn shake_hands(&self, source: &mut Source) {
        let config = Config::builder().build().expect("the defaults are valid");
        let certificate = DtlsCertificate::clone(&self.certificate);
        let began = Instant::now();
        let mut dtls = Dtls::new_12(Arc::new(config), certificate, began);
        dtls.set_active(true);
        while began.elapsed() < HANDSHAKE_TIMEOUT {
            dtls.handle_timeout(Instant::now())
                .expect("the handshake goes on");
            if flush(&mut dtls, source) {
                return;
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

/// Sends what there is to send; whether the handshake is done.
fn flush(dtls: &mut Dtls, source: &mut Source) -> bool {
    let mut buffer = vec![0; 2_048];
    let mut is_connected = false;
    loop {
        match dtls.poll_output(&mut buffer) {
            Output::Packet(datagram) => source.send(datagram),
            Output::Connected => is_connected = true,
            Output::Timeout(_) => return is_connected,
            _ => {}
        }
    }
}

/// RFC 7983: what else comes over the same socket starts with other bytes.
fn is_dtls(datagram: &[u8]) -> bool {
    datagram
        .first()
        .is_some_and(|first| (20..64).contains(first))
}
