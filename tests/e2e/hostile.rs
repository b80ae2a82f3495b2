//! A live call while ten thousand hostile datagrams a second arrive at its own worker.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use livekit_protocol::signal_response::Message as Response;
use serde_json::Value;
use tests::dtls;
use tests::flood::{self, FROM_ANYWHERE, FROM_VALIDATED, Random, Source};
use tests::metrics::Metrics;
use tests::patience::in_real_time;
use tests::process::{Process, wait_until};
use tests::server::{Build, Server};
use tests::signal::{self, Answered, Credentials, Session};
use tests::{stun, token, tree};

const HOSTILE_PER_SECOND: u64 = 10_000;
const FLOOD_DURATION: Duration = Duration::from_secs(10);
const AUDIO_LOSS_MAX: f64 = 0.005;
const MEMORY_GROWTH_MAX: u64 = 50 << 20;
/// Consent lapses after 15 s at the server; SDKs check every 2.5 s.
const CONSENT_INTERVAL: Duration = Duration::from_millis(2_500);
/// Sources that no check has validated.
const STRANGERS: usize = 8;
/// Participants who joined properly and then misbehave.
const INSIDERS: usize = 2;
/// The counters of the media plane are told once a second.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(10);

/// A live call between two SDK clients.
struct Call(Process);

impl Call {
    fn begin(server: &Server) -> Self {
        let mut command = Command::new("node");
        command
            .arg("call.mjs")
            .current_dir(tree::clients())
            .env("LIVEKIT_URL", server.websocket_url());
        let call = Process::spawn("call", &mut command);
        call.expect_line(Duration::from_secs(60), |line| {
            (line == "ready").then_some(())
        });
        Self(call)
    }

    /// What both participants have received so far.
    fn stats(&mut self) -> Value {
        let told = self
            .0
            .said()
            .lines()
            .filter(|line| line.starts_with("stats "))
            .count();
        self.0.tell("stats");
        let line = wait_until(Duration::from_secs(10), || {
            self.0
                .said()
                .lines()
                .filter_map(|line| line.strip_prefix("stats "))
                .nth(told)
                .map(str::to_owned)
        });
        let line = line.unwrap_or_else(|| panic!("no statistics:\n{}", self.0.said()));
        serde_json::from_str(&line).expect("statistics are JSON")
    }
}

/// Packets received and lost of the inbound streams of one kind.
fn inbound(stats: &Value, who: &str, kind: &str) -> (f64, f64) {
    let streams = stats[who]["inbound"].as_array().expect("a list of streams");
    let of_kind = streams.iter().filter(|stream| stream["kind"] == kind);
    of_kind.fold((0.0, 0.0), |(packets, lost), stream| {
        let number = |name: &str| stream[name].as_f64().expect("counts are numbers");
        (packets + number("packets"), lost + number("lost"))
    })
}

/// A participant who joined through the front door and passed a connectivity check.
struct Insider {
    session: Session<std::net::TcpStream>,
    local: Credentials,
    answered: Answered,
    source: Source,
    checked_at: Instant,
}

impl Insider {
    fn join(server: &Server, n: usize) -> Self {
        let local = Credentials {
            ufrag: format!("evil{n}"),
            password: "p".repeat(24),
        };
        let dtls = dtls::Client::default();
        let offer = signal::offer(&local, &dtls.fingerprint(), "cid-1");
        let token = token::join(&format!("insider-{n}"), &format!("hostile-{n}"));
        let target = signal::target(&token, &signal::join_request(Some(offer)));
        let mut session = Session::open(server.address(), &target);
        let answered = session.expect("an answer", |message| match message {
            Response::Answer(answer) => Some(Answered::parse(&answer.sdp)),
            _ => None,
        });
        let source = Source::towards(answered.address);
        let mut insider = Self {
            session,
            local,
            answered,
            source,
            checked_at: Instant::now(),
        };
        let granted = wait_until(Duration::from_secs(10), || {
            insider.check();
            let reply = insider.source.receive(Duration::from_millis(500))?;
            (stun::kind(&reply) == Some(stun::BINDING_SUCCESS)).then_some(())
        });
        assert!(
            granted.is_some(),
            "the check of a proper participant is not granted"
        );
        // The first has keys, the others stop before the handshake.
        if n == 0 {
            dtls.shake_hands(&mut insider.source);
        }
        insider
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

fn rejected(metrics: &Metrics) -> BTreeMap<String, f64> {
    metrics.by_label("consilium_media_rejected_total", "reason")
}

#[test]
fn ten_thousand_hostile_datagrams_a_second_do_not_disturb_a_call() {
    in_real_time(flood_a_call);
}

fn flood_a_call() {
    // One worker: everything hostile meets the call itself.
    let server = Server::with_workers(Build::Release, 1, "[rooms]\nping_timeout = 60\n");
    let mut call = Call::begin(&server);
    let mut insiders: Vec<_> = (0..INSIDERS).map(|n| Insider::join(&server, n)).collect();
    let victim = insiders[0].answered.clone();
    let mut strangers: Vec<_> = (0..STRANGERS)
        .map(|_| Source::towards(victim.address))
        .collect();

    let before = call.stats();
    let memory = server.resident_bytes();
    let rejected_before = rejected(&server.metrics());
    let drops_before = Server::kernel_drops(victim.address.port());

    let mut random = Random::new(0x5EED);
    let mut n = 0;
    let hostile = flood::paced(HOSTILE_PER_SECOND, FLOOD_DURATION, || {
        n += 1;
        // Every fifth comes from inside.
        if n % 5 == 0 {
            let insider = &mut insiders[n / 5 % INSIDERS];
            let kind = FROM_VALIDATED[n / 5 / INSIDERS % FROM_VALIDATED.len()];
            insider
                .source
                .send(&kind.datagram(&mut random, &victim.remote));
            if insider.checked_at.elapsed() > CONSENT_INTERVAL {
                insider.check();
            }
            insider.source.drain();
        } else {
            let stranger = &mut strangers[n % STRANGERS];
            let kind = FROM_ANYWHERE[random.below(FROM_ANYWHERE.len())];
            stranger.send(&kind.datagram(&mut random, &victim.remote));
            stranger.drain();
        }
    });
    let wanted = HOSTILE_PER_SECOND as f64 * FLOOD_DURATION.as_secs_f64();
    assert!(
        hostile as f64 > 0.98 * wanted,
        "only {hostile} datagrams could be sent"
    );

    let after = call.stats();
    let grown = server.resident_bytes().saturating_sub(memory);
    let dropped_by_kernel = Server::kernel_drops(victim.address.port()) - drops_before;

    // Every hostile datagram has a reason, or the kernel says that the socket was full.
    let explained = wait_until(COUNTERS_TIMEOUT, || {
        let now = rejected(&server.metrics());
        let by_reason: BTreeMap<String, f64> = now
            .into_iter()
            .map(|(reason, count)| {
                (
                    reason.clone(),
                    count - rejected_before.get(&reason).unwrap_or(&0.0),
                )
            })
            .filter(|(_, count)| *count > 0.0)
            .collect();
        let sum: f64 = by_reason.values().sum();
        (sum + dropped_by_kernel as f64 >= hostile as f64).then_some(by_reason)
    });
    let by_reason = explained.unwrap_or_else(|| {
        let now = rejected(&server.metrics());
        panic!("{hostile} sent, {dropped_by_kernel} dropped by the kernel, counted: {now:#?}")
    });
    for reason in [
        "unknown_protocol",
        "stun_malformed",
        "stun_unknown_user",
        "stun_integrity",
        "source_unvalidated",
        "rtp_malformed",
        "no_keys",
        "srtp_authentication",
        "dtls",
    ] {
        assert!(
            by_reason.contains_key(reason),
            "{reason} is missing in {by_reason:#?}"
        );
    }

    for who in ["li", "wang"] {
        let (packets, lost) = inbound(&after, who, "audio");
        let (packets_before, lost_before) = inbound(&before, who, "audio");
        let (packets, lost) = (packets - packets_before, lost - lost_before);
        eprintln!("{who}: {packets} audio packets, {lost} lost");
        assert!(
            packets > 40.0 * FLOOD_DURATION.as_secs_f64(),
            "{who} hears nothing: {after:#}"
        );
        assert!(
            lost / (packets + lost) <= AUDIO_LOSS_MAX,
            "{who} lost {lost} of {packets}"
        );
        let frames = |stats: &Value| stats[who]["sees"]["frames"].as_f64().expect("a number");
        let seen = frames(&after) - frames(&before);
        eprintln!("{who}: {seen} pictures");
        assert!(
            seen >= 8.0 * FLOOD_DURATION.as_secs_f64(),
            "{who} saw {seen} pictures: {after:#}"
        );
    }
    assert!(grown < MEMORY_GROWTH_MAX, "memory grew by {grown} bytes");

    let sources = strangers
        .iter_mut()
        .chain(insiders.iter_mut().map(|insider| &mut insider.source));
    let (mut asked, mut answered) = (0, 0);
    for source in sources {
        source.drain();
        asked += source.sent.bytes;
        answered += source.received.bytes;
        assert!(
            source.received.bytes <= source.sent.bytes,
            "a source got {:?} for {:?}",
            source.received,
            source.sent
        );
    }
    eprintln!(
        "{hostile} hostile datagrams, {dropped_by_kernel} dropped by the kernel, reasons \
         {by_reason:?}, memory +{grown} bytes, {answered} bytes answered to {asked}"
    );
    assert!(
        insiders
            .iter_mut()
            .all(|insider| insider.session.try_send(ping()).is_ok())
    );
}

fn ping() -> livekit_protocol::signal_request::Message {
    livekit_protocol::signal_request::Message::Ping(token::now() as i64)
}
