//! A live call while ten thousand hostile datagrams a second arrive at its own worker.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::call::Call;
use tests::flood::{self, FROM_ANYWHERE, FROM_VALIDATED, Random, Source};
use tests::insider::Insider;
use tests::metrics::Metrics;
use tests::patience::in_real_time;
use tests::process::wait_until;
use tests::server::{Build, Server};
use tests::token;

const HOSTILE_PER_SECOND: u64 = 10_000;
/// `CONSILIUM_FLOOD_SECONDS` takes longer.
const FLOOD_DURATION: Duration = Duration::from_secs(5);
const MEMORY_GROWTH_MAX: u64 = 50 << 20;
/// Sources that no check has validated.
const STRANGERS: usize = 8;
/// Participants who joined properly and then misbehave.
const INSIDERS: usize = 2;
/// The counters of the media plane are told once a second.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(10);

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
    let mut call = Call::begin(&server, &[]);
    let mut insiders: Vec<_> = (0..INSIDERS).map(|n| Insider::join(&server, n)).collect();
    // The first has keys, the others stop before the handshake.
    insiders[0].shake_hands();
    let victim = insiders[0].answered.clone();
    let mut strangers: Vec<_> = (0..STRANGERS)
        .map(|_| Source::towards(victim.address))
        .collect();

    let calm = call.calm();
    let memory = server.resident_bytes();
    let rejected_before = rejected(&server.metrics());
    let drops_before = Server::kernel_drops(victim.address.port());

    let mut random = Random::new(0x5EED);
    let mut n = 0;
    let duration = std::env::var("CONSILIUM_FLOOD_SECONDS").map_or(FLOOD_DURATION, |seconds| {
        Duration::from_secs(seconds.parse().expect("a number of seconds"))
    });
    let mut hostile = 0;
    call.assert_unharmed_by(&calm, "flood", || {
        hostile = flood::paced(HOSTILE_PER_SECOND, duration, || {
            n += 1;
            // Every fifth comes from inside.
            if n % 5 == 0 {
                let insider = &mut insiders[n / 5 % INSIDERS];
                let kind = FROM_VALIDATED[n / 5 / INSIDERS % FROM_VALIDATED.len()];
                insider
                    .source
                    .send(&kind.datagram(&mut random, &victim.remote));
                insider.stay();
                insider.source.drain();
            } else {
                let stranger = &mut strangers[n % STRANGERS];
                let kind = FROM_ANYWHERE[random.below(FROM_ANYWHERE.len())];
                stranger.send(&kind.datagram(&mut random, &victim.remote));
                stranger.drain();
            }
        });
    });
    let wanted = HOSTILE_PER_SECOND as f64 * duration.as_secs_f64();
    assert!(
        hostile as f64 > 0.98 * wanted,
        "only {hostile} datagrams could be sent"
    );

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
