//! Rooms from the outside, on a running media plane: made by joining, found again, ended, placed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sfu::config::SfuConfig;
use sfu::handle::Sfu;
use signaling::config::{Limits, SignalingConfig};
use signaling::egress::EgressBook;
use signaling::error::ApiError;
use signaling::metrics::Metrics;
use signaling::outbox;
use signaling::registry::{Ledger, Media, Registry, Seat};
use signaling::room::outlet::Item;
use signaling::room::participant::Connections;
use signaling::room::requests::Request;
use signaling::session::negotiate::hello;
use signaling::store::Store;
use signaling::token::{Grants, Verified};
use signaling::wire::proto;
use signaling::wire::proto::signal_request::Message as Asked;
use signaling::wire::proto::signal_response::Message;

const OFFER: &str = include_str!("fixtures/livekit/js-v1.p1.joinoffer.6.sdp");

fn registry(config: &SignalingConfig) -> Arc<Registry> {
    let media = SfuConfig {
        workers: 2,
        port_first: 0,
        ..SfuConfig::default()
    };
    let (sfu, events) = Sfu::start(&media).expect("two free ports");
    let media = Media {
        sfu,
        events,
        data_message_bytes_max: media.limits.data_message_bytes_max,
    };
    let metrics = Arc::new(Metrics::default());
    let store = Store::in_memory().expect("opens");
    let (outbox, _feed) = outbox::start(store, &config.webhook, &metrics).expect("a thread");
    let ledger = Ledger {
        desk: None,
        outbox,
        egresses: Arc::new(EgressBook::new([], 10)),
    };
    let started = Registry::start(media, ledger, config, &metrics);
    let (registry, _pump) = started.expect("a thread");
    registry
}

async fn join(registry: &Arc<Registry>, room: &str, identity: &str) -> Result<Seat, ApiError> {
    let grants = Grants {
        identity: identity.into(),
        ..Grants::default()
    };
    let request = proto::JoinRequest {
        publisher_offer: Some(proto::SessionDescription {
            sdp: OFFER.into(),
            id: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let verified = Verified {
        key: "clinic".to_owned(),
        issued_at: None,
        expires_at: SystemTime::now(),
        grants,
    };
    let hello =
        hello(verified, request, Connections::One, &Limits::default()).expect("a good offer");
    registry.join(room, hello).await
}

async fn leave(seat: Seat) {
    let goodbye = Asked::Leave(proto::LeaveRequest::default());
    let is_heard = seat.ask(Request::Signal(Box::new(goodbye))).await;
    assert!(is_heard, "the room is there");
}

async fn said(seat: &Seat) -> Message {
    let item = tokio::time::timeout(Duration::from_secs(5), seat.outlet.next()).await;
    match item.expect("the room speaks") {
        Item::Message(response) => response.message.expect("every response says something"),
        Item::End(end) => panic!("{end:?}"),
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_room_is_made_by_joining_and_ends_when_it_has_been_left() {
    let mut config = SignalingConfig::dev();
    config.rooms.departure_timeout = Duration::ZERO;
    let registry = registry(&config);
    let doctor = join(&registry, "consult", "wang").await.expect("a place");
    let nurse = join(&registry, "consult", "li").await.expect("a place");
    assert_eq!(registry.len(), 1);
    leave(doctor).await;
    leave(nurse).await;
    until(|| registry.is_empty()).await;
    registry.stop_media();
}

#[tokio::test]
async fn whoever_knocks_while_a_room_ends_gets_a_new_one() {
    let mut config = SignalingConfig::dev();
    config.rooms.departure_timeout = Duration::ZERO;
    let registry = registry(&config);
    // A room looks around four times a second; these joins fall before, into and after that.
    for round in 0..100 {
        let seat = join(&registry, "consult", "wang").await.expect("a place");
        assert!(matches!(said(&seat).await, Message::Join(_)));
        leave(seat).await;
        tokio::time::sleep(Duration::from_millis(round % 11)).await;
    }
    registry.stop_media();
}

#[tokio::test]
async fn bounds_and_the_wish_to_make_no_rooms_are_kept() {
    let mut config = SignalingConfig::dev();
    config.limits.rooms_max = 1;
    let full = registry(&config);
    let _seat = join(&full, "one", "wang").await.expect("a place");
    let refused = join(&full, "two", "li").await.err();
    assert_eq!(refused, Some(ApiError::Full("rooms_max")));
    full.stop_media();
    config.rooms.auto_create = false;
    let closed = registry(&config);
    let refused = join(&closed, "one", "wang").await.err();
    assert_eq!(refused, Some(ApiError::RoomNotFound));
    closed.stop_media();
}

#[tokio::test]
async fn rooms_that_open_together_are_on_different_workers() {
    let registry = registry(&SignalingConfig::dev());
    let mut ports = BTreeSet::new();
    for room in ["one", "two"] {
        let seat = join(&registry, room, "wang").await.expect("a place");
        assert!(matches!(said(&seat).await, Message::Join(_)));
        ports.insert(answered_port(&seat).await);
    }
    assert_eq!(ports.len(), 2);
    registry.stop_media();
}

#[tokio::test]
async fn one_room_is_spread_over_the_workers_where_that_is_wished() {
    for (share, expected) in [(0.0, 2), (2.0, 1)] {
        let mut config = SignalingConfig::dev();
        config.rooms.spill_busy_share = share;
        let registry = registry(&config);
        let mut ports = BTreeSet::new();
        let mut seats = Vec::new();
        for identity in ["wang", "li", "zhao", "chen"] {
            let seat = join(&registry, "consult", identity).await.expect("a place");
            ports.insert(answered_port(&seat).await);
            seats.push(seat);
        }
        assert_eq!(ports.len(), expected, "at a share of {share}");
        registry.stop_media();
    }
}

/// Where a client is told to send media, from the answer to its offer.
async fn answered_port(seat: &Seat) -> String {
    loop {
        if let Message::Answer(answer) = said(seat).await {
            let candidate = answer.sdp.lines().find(|l| l.starts_with("a=candidate:"));
            let words: Vec<&str> = candidate.expect("we listen").split(' ').collect();
            break words[5].to_owned();
        }
    }
}

#[tokio::test]
async fn a_server_that_goes_down_tells_everybody_and_takes_nobody_in() {
    let registry = registry(&SignalingConfig::dev());
    let seat = join(&registry, "consult", "wang").await.expect("a place");
    registry.shut_down().await;
    loop {
        if let Message::Leave(leave) = said(&seat).await {
            assert_eq!(leave.reason(), proto::DisconnectReason::ServerShutdown);
            assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
            break;
        }
    }
    let refused = join(&registry, "consult", "li").await.err();
    assert_eq!(refused, Some(ApiError::ShuttingDown));
    until(|| registry.is_empty()).await;
    registry.stop_media();
}
