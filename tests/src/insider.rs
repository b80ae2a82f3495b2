//! A participant who joined through the front door, passed a connectivity check and then does what
//! no client would.
//!
//! Its signalling, its transport and its keys are in the test's own hands.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use livekit_protocol::signal_response::Message as Response;

use crate::dtls;
use crate::flood::{Random, Source};
use crate::process::wait_until;
use crate::server::Server;
use crate::signal::{self, Answered, Credentials, Session};
use crate::{sctp, stun, token};

/// Consent lapses after 15 s at the server; SDKs check every 2.5 s.
const CONSENT_INTERVAL: Duration = Duration::from_millis(2_500);
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The participant with its transport.
pub struct Insider {
    /// Its signalling.
    pub session: Session<TcpStream>,
    /// What the server answered.
    pub answered: Answered,
    /// Where its datagrams go from and to.
    pub source: Source,
    local: Credentials,
    dtls: dtls::Client,
    connection: Option<dtls::Connection>,
    checked_at: Instant,
}

impl Insider {
    /// Joins a room of its own and passes a check. There are no keys yet.
    pub fn join(server: &Server, n: usize) -> Self {
        let token = token::join(&format!("insider-{n}"), &format!("hostile-{n}"));
        Self::join_with(server, n, &token)
    }

    /// The same with this token.
    pub fn join_with(server: &Server, n: usize, token: &str) -> Self {
        let local = Credentials {
            ufrag: format!("evil{n}"),
            password: "p".repeat(24),
        };
        let dtls = dtls::Client::default();
        let offer = signal::offer(&local, &dtls.fingerprint(), "cid-1");
        let target = signal::target(token, &signal::join_request(Some(offer)));
        let mut session = Session::open(server.address(), &target);
        let answered = session.expect("an answer", |message| match message {
            Response::Answer(answer) => Some(Answered::parse(&answer.sdp)),
            _ => None,
        });
        let source = Source::towards(answered.address);
        let mut insider = Self {
            session,
            answered,
            source,
            local,
            dtls,
            connection: None,
            checked_at: Instant::now(),
        };
        assert!(insider.is_granted(), "the check of a proper participant");
        insider
    }

    /// Shakes hands to the end; from then on it has keys.
    pub fn shake_hands(&mut self) {
        self.connection = Some(self.dtls.shake_hands(&mut self.source));
    }

    /// A packet of RTP with good keys.
    pub fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let connection = self.connection.as_mut().expect("hands were shaken");
        connection.protect(packet)
    }

    /// Sends a packet of SCTP with these chunks inside DTLS.
    pub fn send_sctp(&mut self, tag: u32, chunks: &[u8]) {
        let connection = self.connection.as_mut().expect("hands were shaken");
        connection.send(&mut self.source, &sctp::packet(tag, chunks));
    }

    /// Whether the server still grants its checks.
    pub fn is_granted(&mut self) -> bool {
        let granted = wait_until(CHECK_TIMEOUT, || {
            self.check();
            let until = Instant::now() + Duration::from_millis(500);
            while let Some(reply) = self.source.receive(Duration::from_millis(100)) {
                if stun::kind(&reply) == Some(stun::BINDING_SUCCESS) {
                    return Some(());
                }
                if Instant::now() > until {
                    break;
                }
            }
            None
        });
        granted.is_some()
    }

    /// Asks for consent again when it is time.
    pub fn stay(&mut self) {
        if self.checked_at.elapsed() > CONSENT_INTERVAL {
            self.check();
        }
    }

    fn check(&mut self) {
        let remote = &self.answered.remote;
        let transaction = Random::new(self.source.sent.datagrams + 1).bytes(12);
        let transaction = transaction.try_into().expect("twelve bytes were made");
        let request = stun::binding_request(&self.local, remote, &remote.password, transaction);
        self.source.send(&request);
        self.checked_at = Instant::now();
    }
}
