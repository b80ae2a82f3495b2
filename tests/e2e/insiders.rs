//! Attacks by those who have a token and keys: media and SCTP that no client would send, and media
//! of somebody who may not send any. Steps of the test in `attacks.rs`.

use std::time::Duration;

use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{AddTrackRequest, TrackSource, TrackType};
use serde_json::json;
use tests::flood::{self, Random, Traffic};
use tests::insider::Insider;
use tests::metrics::Metrics;
use tests::process::wait_until;
use tests::server::Server;
use tests::{sctp, token};

use crate::attacks::{ping, scale};

/// What `media.limits.packets_per_second_max` is here.
const PACKETS_PER_SECOND_MAX: u64 = 3_000;
/// More than three times as many, and sixteen times where there is time.
const PACKETS_PER_SECOND: (u64, u64) = (10_000, 50_000);
/// The counters of the media plane are told once a second.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(60);
/// What is not to meet that bound is sent so many at a time, and a thousand in a second: a tenth of
/// a second's share is let through in a tenth of a second.
const AT_A_TIME: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);
/// What is still remembered when it comes again.
const REPLAYED: usize = 300;

/// Sound in the section that [`tests::signal::offer`] has for a microphone, extension 4 being its
/// name.
fn sound(number: u64) -> Vec<u8> {
    let mut packet = vec![0x90, 111];
    packet.extend((number as u16).to_be_bytes());
    packet.extend((number as u32).wrapping_mul(960).to_be_bytes());
    packet.extend([0, 0, 0x66, 0x66]);
    packet.extend([0xBE, 0xDE, 0, 1, 0x40, b'0', 0, 0]);
    packet.extend([0x78; 60]);
    packet
}

fn microphone() -> Request {
    Request::AddTrack(AddTrackRequest {
        cid: "cid-1".to_owned(),
        name: "microphone".to_owned(),
        r#type: TrackType::Audio as i32,
        source: TrackSource::Microphone as i32,
        ..Default::default()
    })
}

fn publisher(server: &Server, n: usize) -> Insider {
    let mut insider = Insider::join(server, n);
    insider.session.send(microphone());
    insider.session.expect("the track", |message| {
        matches!(message, Response::TrackPublished(_)).then_some(())
    });
    insider.shake_hands();
    insider
}

fn rejected(metrics: &Metrics, reason: &str) -> f64 {
    let reasons = metrics.by_label("consilium_media_rejected_total", "reason");
    reasons.get(reason).copied().unwrap_or(0.0)
}

/// Waits until so many more have been refused for this reason.
fn expect_rejected(server: &Server, before: &Metrics, reason: &str, wanted: u64) {
    let more = || rejected(&server.metrics(), reason) - rejected(before, reason);
    let told = wait_until(COUNTERS_TIMEOUT, || (more() >= wanted as f64).then_some(()));
    assert!(told.is_some(), "{} of {wanted} {reason}", more());
}

/// Somebody who is allowed to speak sends many times as many packets as anybody may.
pub(crate) fn more_packets_than_anybody_may_send(server: &Server) {
    let mut insider = publisher(server, 20);
    let per_second = match scale() {
        1 => PACKETS_PER_SECOND.0,
        _ => PACKETS_PER_SECOND.1,
    };
    let seconds = 2 * scale() as u64;
    let before = server.metrics();
    let drops = Server::kernel_drops(insider.answered.address.port());
    let mut number = 0;
    let sent = flood::paced(per_second, Duration::from_secs(seconds), || {
        number += 1;
        let packet = insider.protect(&sound(number));
        insider.source.send(&packet);
        insider.stay();
        insider.source.drain();
    });
    let dropped = Server::kernel_drops(insider.answered.address.port()) - drops;
    // What came in while the last was counted, and a little for the clocks of two processes.
    let allowed = PACKETS_PER_SECOND_MAX * (seconds + 2);
    if let Some(too_many) = sent.checked_sub(allowed + dropped) {
        expect_rejected(server, &before, "too_many_packets", too_many.max(1));
    }
    eprintln!("{sent} packets, {dropped} dropped by the kernel");
}

fn send_evenly(insider: &mut Insider, packets: &[Vec<u8>]) {
    for some in packets.chunks(AT_A_TIME) {
        for packet in some {
            insider.source.send(packet);
        }
        insider.stay();
        insider.source.drain();
        std::thread::sleep(PAUSE);
    }
}

/// Media with good keys, then the same again, with one bit changed, and cut short.
pub(crate) fn media_that_was_sent_before(server: &Server) {
    let mut insider = publisher(server, 21);
    let mut random = Random::new(4);
    let before = server.metrics();
    let refused = |metrics: &Metrics| metrics.sum("consilium_media_rejected_total");
    let (mut number, mut sent) = (0, 0);
    for _ in 0..scale() {
        let once: Vec<_> = (0..REPLAYED)
            .map(|_| {
                number += 1;
                insider.protect(&sound(number))
            })
            .collect();
        let mut changed = once.clone();
        for packet in &mut changed {
            let at = 12 + random.below(packet.len() - 12);
            packet[at] ^= 1 << random.below(8);
        }
        let short = once
            .iter()
            .map(|packet| packet[..packet.len() - 1].to_vec());
        let short: Vec<_> = short.collect();
        for packets in [&once, &once, &changed, &short] {
            send_evenly(&mut insider, packets);
        }
        sent += REPLAYED as u64;
    }
    // Only what was taken once is known when it comes again.
    expect_rejected(server, &before, "srtp_replay", sent);
    let told = wait_until(COUNTERS_TIMEOUT, || {
        let more = refused(&server.metrics()) - refused(&before);
        (more >= 3.0 * sent as f64).then_some(())
    });
    assert!(told.is_some(), "what is changed or short is taken");
}

/// SCTP that lies, and beginnings of associations of all streams there are.
pub(crate) fn sctp_that_lies(server: &Server) {
    let mut insider = Insider::join(server, 22);
    insider.shake_hands();
    let before = server.metrics();
    for round in 0..500 * scale() as u32 {
        insider.send_sctp(0, &sctp::init(round + 1, u16::MAX));
        for lie in sctp::LIES {
            insider.send_sctp(round, lie);
        }
        insider.source.drain();
        insider.stay();
    }
    expect_rejected(server, &before, "sctp", 1);
    let Traffic { bytes: sent, .. } = insider.source.sent;
    let Traffic {
        bytes: received, ..
    } = insider.source.received;
    assert!(received < sent, "{received} bytes answered to {sent}");
    assert!(insider.session.try_send(ping(1)).is_ok(), "it has its seat");
}

/// Somebody in the call's own room who may not publish sends media all the same. That nobody is
/// sent anything else is what the call is asked.
pub(crate) fn an_observer_who_speaks(server: &Server) {
    let grants = json!({ "canPublish": false });
    let token = token::join_with("observer", "call", &grants);
    let mut insider = Insider::join_with(server, 23, &token);
    insider.session.send(microphone());
    let reason = insider
        .session
        .expect("a refusal", |message| match message {
            Response::RequestResponse(response) => Some(response.reason()),
            _ => None,
        });
    assert_eq!(reason, Reason::NotAllowed);
    insider.shake_hands();
    let before = server.metrics();
    let sent = 300 * scale() as u64;
    let packets: Vec<_> = (0..sent)
        .map(|number| insider.protect(&sound(number)))
        .collect();
    send_evenly(&mut insider, &packets);
    expect_rejected(server, &before, "unknown_source", sent);
}

/// Somebody in the call's own room who may not receive is sent nothing of it; who may, is.
pub(crate) fn a_listener_who_may_not_listen(server: &Server) {
    let heard = |n: usize, grants: serde_json::Value| {
        let token = token::join_with(&format!("listener-{n}"), "call", &grants);
        let mut insider = Insider::join_with(server, n, &token);
        insider.shake_hands();
        let mut packets = 0;
        let enough = wait_until(Duration::from_secs(2), || {
            insider.stay();
            let datagram = insider.source.receive(Duration::from_millis(100))?;
            // RFC 7983: RTP and RTCP.
            packets += u32::from((128..192).contains(&datagram[0]));
            (packets > 20).then_some(())
        });
        (packets, enough.is_some())
    };
    let (packets, is_served) = heard(24, json!({}));
    assert!(is_served, "who may listen heard {packets} packets");
    let (packets, _) = heard(25, json!({ "canSubscribe": false }));
    assert_eq!(packets, 0, "who may not listen");
}
