//! Sends webhooks: signed, in order for each room and receiver, until they are taken.
//!
//! A webhook is a POST of the event's JSON with the SHA-256 of its body in a token of the configured
//! API key, as LiveKit's receivers check it. One message of a lane (a room at a receiver) is on its
//! way at a time; while a receiver does not take it, the rest of that lane waits and no other does.
//! A message is sent at least once: a receiver that has taken one and not said so gets it again, with
//! the id by which it can tell. What is on the disk belongs to [`outbox`](crate::outbox).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use crate::config::WebhookConfig;
use crate::metrics::{Count, Metrics};
use crate::outbox::{Feed, Job};
use crate::store::Queued;
use crate::token::{Grants, Keyring};

/// What LiveKit's receivers expect.
const KIND: &str = "application/webhook+json";
/// The token is made for this one request; clocks may differ by minutes.
const TOKEN_TTL: Duration = Duration::from_secs(300);
/// The wait after the first refusal; it doubles with each.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait: who comes back after an outage hears of it within this.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// With these a receiver says that it is this message which it will never take, not that it is ill:
/// La Suite Meet answers an event that it does not know so. What comes after it must not wait.
const NEVER_TAKEN: [StatusCode; 2] = [
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNPROCESSABLE_ENTITY,
];
/// Messages on their way at once, of all lanes together.
const SENDING_MAX: usize = 32;

/// Runs until the outbox is gone. Messages that are not delivered then stay in the store.
pub(crate) async fn run(
    mut feed: Feed,
    config: WebhookConfig,
    keyring: Arc<Keyring>,
    metrics: Arc<Metrics>,
) {
    let Some(courier) = Courier::new(config, keyring, metrics, feed.jobs.clone()) else {
        return;
    };
    let courier = Arc::new(courier);
    let mut lanes = Lanes::default();
    lanes.add(std::mem::take(&mut feed.waiting));
    let mut sending = JoinSet::new();
    loop {
        while sending.len() < SENDING_MAX
            && let Some((lane, id)) = lanes.take(Instant::now())
        {
            let courier = Arc::clone(&courier);
            sending.spawn(async move {
                let is_taken = courier.deliver(&lane.0, id).await;
                (lane, is_taken)
            });
        }
        let wake = match sending.len() < SENDING_MAX {
            true => lanes.next_due(),
            false => None,
        };
        tokio::select! {
            fresh = feed.fresh.recv() => match fresh {
                Some(fresh) => lanes.add(fresh),
                None => return,
            },
            Some(done) = sending.join_next() => match done {
                Ok((lane, is_taken)) => lanes.done(&lane, is_taken, Instant::now()),
                Err(error) => tracing::error!(%error, "sending a webhook failed"),
            },
            () = time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
    }
}

/// A room at a receiver.
type LaneKey = (String, String);

/// What waits where.
#[derive(Debug, Default)]
struct Lanes(HashMap<LaneKey, Lane>);

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<i64>,
    is_sending: bool,
    refusals: u32,
    not_before: Option<Instant>,
}

impl Lanes {
    fn add(&mut self, fresh: Vec<Queued>) {
        for Queued { id, url, room } in fresh {
            let lane = self.0.entry((url, room)).or_default();
            lane.waiting.push_back(id);
        }
    }

    /// A message that may be sent now.
    fn take(&mut self, now: Instant) -> Option<(LaneKey, i64)> {
        let is_due = |lane: &Lane| {
            !lane.is_sending
                && !lane.waiting.is_empty()
                && lane.not_before.is_none_or(|time| time <= now)
        };
        let (key, lane) = self.0.iter_mut().find(|(_, lane)| is_due(lane))?;
        lane.is_sending = true;
        Some((key.clone(), *lane.waiting.front()?))
    }

    /// When something is due next, of what waits after a refusal.
    fn next_due(&self) -> Option<Instant> {
        let waiting = self
            .0
            .values()
            .filter(|lane| !lane.is_sending && !lane.waiting.is_empty());
        waiting.filter_map(|lane| lane.not_before).min()
    }

    /// What became of the message that was taken.
    fn done(&mut self, key: &LaneKey, is_taken: bool, now: Instant) {
        let Some(lane) = self.0.get_mut(key) else {
            return;
        };
        lane.is_sending = false;
        if is_taken {
            lane.waiting.pop_front();
            lane.refusals = 0;
            lane.not_before = None;
            if lane.waiting.is_empty() {
                self.0.remove(key);
            }
        } else {
            lane.not_before = Some(now + wait(lane.refusals));
            lane.refusals = lane.refusals.saturating_add(1);
        }
    }
}

fn wait(refusals: u32) -> Duration {
    WAIT_MIN.saturating_mul(1 << refusals.min(16)).min(WAIT_MAX)
}

/// Takes one message to its receiver.
struct Courier {
    client: reqwest::Client,
    config: WebhookConfig,
    keyring: Arc<Keyring>,
    metrics: Arc<Metrics>,
    jobs: mpsc::Sender<Job>,
}

impl Courier {
    fn new(
        config: WebhookConfig,
        keyring: Arc<Keyring>,
        metrics: Arc<Metrics>,
        jobs: mpsc::Sender<Job>,
    ) -> Option<Self> {
        // Where messages about patients go is configured, and neither the environment nor the
        // receiver sends them elsewhere.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(config.timeout)
            .build();
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "webhooks cannot be sent");
                return None;
            }
        };
        Some(Self {
            client,
            config,
            keyring,
            metrics,
            jobs,
        })
    }

    /// Sends a message. Says whether it is done with.
    async fn deliver(&self, url: &str, id: i64) -> bool {
        let (reply, body) = oneshot::channel();
        if self.jobs.send(Job::Body(id, reply)).await.is_err() {
            return false;
        }
        let Ok(Some((body, queued_at))) = body.await else {
            return true;
        };
        let is_known = self.config.urls.iter().any(|one| one == url);
        let is_done = if !is_known || self.is_too_old(queued_at) {
            self.metrics.count(Count::WebhooksLost);
            true
        } else {
            self.post(url, body).await
        };
        if is_done {
            // The store outlives the sender.
            let _ = self.jobs.send(Job::Forget(id)).await;
        }
        is_done
    }

    fn is_too_old(&self, queued_at: i64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs() as i64;
        now.saturating_sub(queued_at) > self.config.keep.as_secs() as i64
    }

    async fn post(&self, url: &str, body: Vec<u8>) -> bool {
        let Some(token) = sign(&self.keyring, &self.config.api_key, &body) else {
            return false;
        };
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, KIND)
            .header(AUTHORIZATION, token)
            .body(body);
        let answer = request.send().await.map(|response| response.status());
        let is_taken = matches!(&answer, Ok(status) if status.is_success());
        let is_in_vain = matches!(&answer, Ok(status) if NEVER_TAKEN.contains(status));
        self.metrics.count(match is_taken {
            true => Count::WebhooksDelivered,
            false => Count::WebhooksRefused,
        });
        if is_in_vain {
            self.metrics.count(Count::WebhooksLost);
        }
        is_taken || is_in_vain
    }
}

/// The token that proves who sends a body.
fn sign(keyring: &Keyring, key: &str, body: &[u8]) -> Option<String> {
    let grants = Grants {
        sha256: STANDARD.encode(digest::digest(&digest::SHA256, body)),
        ..Grants::default()
    };
    keyring.mint(key, &grants, TOKEN_TTL).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;

    use super::*;
    use crate::config::{Limits, Secret};
    use crate::outbox::{self, Notice, Outbox};
    use crate::store::Store;
    use crate::wire::proto::{ParticipantInfo, WebhookEvent};

    const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

    fn queued(id: i64, room: &str) -> Queued {
        Queued {
            id,
            url: "u".into(),
            room: room.into(),
        }
    }

    #[test]
    fn a_lane_keeps_its_order_and_waits_longer_after_each_refusal() {
        let mut lanes = Lanes::default();
        lanes.add(vec![queued(1, "a"), queued(2, "a"), queued(3, "b")]);
        let begin = Instant::now();
        let mut first = [lanes.take(begin), lanes.take(begin)].map(|one| one.expect("due").1);
        first.sort_unstable();
        assert_eq!(first, [1, 3]);
        assert_eq!(lanes.take(begin), None, "one of a lane at a time");
        let lane = ("u".to_owned(), "a".to_owned());
        let mut now = begin;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            lanes.done(&lane, false, now);
            let due = lanes.next_due().expect("it waits");
            assert_eq!(due - now, Duration::from_secs(seconds));
            assert_eq!(lanes.take(due - Duration::from_millis(1)), None);
            now = due;
            assert_eq!(lanes.take(now).expect("due").1, 1);
        }
        lanes.done(&lane, true, now);
        assert_eq!(lanes.take(now).expect("due").1, 2);
        lanes.done(&lane, true, now);
        lanes.done(&("u".into(), "b".into()), true, now);
        assert!(lanes.0.is_empty(), "lanes of rooms that are over go");
    }

    #[derive(Clone, Default)]
    struct Receiver {
        is_down: Arc<AtomicBool>,
        /// This event it does not know.
        unknown: &'static str,
        taken: Arc<Mutex<Vec<(String, Bytes)>>>,
    }

    async fn receive(
        State(receiver): State<Receiver>,
        headers: HeaderMap,
        body: Bytes,
    ) -> StatusCode {
        if receiver.is_down.load(Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        assert_eq!(headers[CONTENT_TYPE], KIND);
        let event: WebhookEvent = serde_json::from_slice(&body).expect("proto-JSON");
        if event.event == receiver.unknown {
            return StatusCode::UNPROCESSABLE_ENTITY;
        }
        let token = headers[AUTHORIZATION].to_str().expect("text").to_owned();
        receiver.taken.lock().expect("whole").push((token, body));
        StatusCode::OK
    }

    async fn listen(receiver: Receiver) -> String {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = tcp.local_addr().expect("bound");
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(receiver);
        tokio::spawn(async move { axum::serve(tcp, router).await });
        format!("http://{address}/hook")
    }

    struct Sending {
        outbox: Outbox,
        keyring: Arc<Keyring>,
        metrics: Arc<Metrics>,
    }

    async fn send_to(receiver: &Receiver) -> Sending {
        let config = WebhookConfig {
            urls: vec![listen(receiver.clone()).await],
            api_key: "clinic".into(),
            ..WebhookConfig::default()
        };
        let secret = Secret::new(SECRET);
        let keyring = Keyring::new([(&config.api_key, &secret)], &Limits::default());
        let keyring = Arc::new(keyring);
        let metrics: Arc<Metrics> = Arc::default();
        let store = Store::in_memory().expect("opens");
        let (outbox, feed) = outbox::start(store, &config, &metrics).expect("starts");
        tokio::spawn(run(
            feed,
            config,
            Arc::clone(&keyring),
            Arc::clone(&metrics),
        ));
        Sending {
            outbox,
            keyring,
            metrics,
        }
    }

    fn put(outbox: &Outbox, events: &[&str]) {
        for event in events {
            outbox.put(Notice {
                room: "r".into(),
                event: WebhookEvent {
                    event: (*event).to_owned(),
                    ..WebhookEvent::default()
                },
            });
        }
    }

    #[tokio::test]
    async fn what_a_receiver_will_never_take_holds_nothing_up() {
        let receiver = Receiver {
            unknown: "participant_connection_aborted",
            ..Receiver::default()
        };
        let sending = send_to(&receiver).await;
        put(
            &sending.outbox,
            &["participant_connection_aborted", "room_finished"],
        );
        while receiver.taken.lock().expect("whole").is_empty() {
            time::sleep(Duration::from_millis(10)).await;
        }
        let (_, body) = receiver.taken.lock().expect("whole")[0].clone();
        let event: WebhookEvent = serde_json::from_slice(&body).expect("proto-JSON");
        assert_eq!(event.event, "room_finished");
        let told = sending.metrics.render(0, None);
        assert!(told.contains("webhooks_lost_total 1"), "{told}");
    }

    /// What becomes due by `now` is taken to receivers of which one may be down. Returns how often
    /// that one refused.
    async fn deliver_due(
        lanes: &mut Lanes,
        feed: &mut Feed,
        now: Instant,
        down: Option<&str>,
        taken: &mut Vec<(LaneKey, WebhookEvent)>,
    ) -> usize {
        while let Ok(fresh) = feed.fresh.try_recv() {
            lanes.add(fresh);
        }
        let mut refused = 0;
        while let Some((lane, id)) = lanes.take(now) {
            let is_taken = down != Some(&*lane.0);
            if is_taken {
                let (reply, body) = oneshot::channel();
                let asked = feed.jobs.send(Job::Body(id, reply)).await;
                assert!(asked.is_ok());
                let (body, _) = body.await.expect("answered").expect("it is kept");
                let event = serde_json::from_slice(&body).expect("proto-JSON");
                taken.push((lane.clone(), event));
                assert!(feed.jobs.send(Job::Forget(id)).await.is_ok());
            } else {
                refused += 1;
            }
            lanes.done(&lane, is_taken, now);
        }
        refused
    }

    #[tokio::test]
    async fn ten_minutes_without_a_receiver_lose_nothing_and_hold_up_nobody_else() {
        const ROOMS: [&str; 3] = ["mdt", "ward", "icu"];
        const DOWN: &str = "https://down.example/";
        const WELL: &str = "https://well.example/";
        let config = WebhookConfig {
            urls: vec![DOWN.into(), WELL.into()],
            ..WebhookConfig::default()
        };
        let metrics: Arc<Metrics> = Arc::default();
        let store = Store::in_memory().expect("opens");
        let (outbox, mut feed) = outbox::start(store, &config, &metrics).expect("starts");
        let (mut lanes, mut taken, mut refused) = (Lanes::default(), Vec::new(), 0);
        let begin = Instant::now();
        for second in 0..600_u32 {
            for room in ROOMS {
                // A room never waits for it: this is no future.
                outbox.put(Notice {
                    room: room.to_owned(),
                    event: WebhookEvent {
                        event: "participant_joined".to_owned(),
                        participant: Some(ParticipantInfo {
                            version: second,
                            ..ParticipantInfo::default()
                        }),
                        ..WebhookEvent::default()
                    },
                });
            }
            outbox.flush().await;
            let now = begin + Duration::from_secs(second.into());
            refused += deliver_due(&mut lanes, &mut feed, now, Some(DOWN), &mut taken).await;
            assert!(taken.iter().all(|((url, _), _)| url == WELL));
            let due = (second as usize + 1) * ROOMS.len();
            assert_eq!(taken.len(), due, "the other receiver hears at once");
        }
        // One of each room, after 1, 2, 4, 8, 16, 32 and then every 60 seconds.
        assert_eq!(refused, 15 * ROOMS.len());

        let now = begin + Duration::from_secs(600) + WAIT_MAX;
        deliver_due(&mut lanes, &mut feed, now, None, &mut taken).await;
        for url in [DOWN, WELL] {
            let of_url = taken.iter().filter(|((to, _), _)| to == url);
            let ids: std::collections::BTreeSet<_> = of_url.map(|(_, event)| &event.id).collect();
            assert_eq!(ids.len(), 600 * ROOMS.len(), "each event once");
            for room in ROOMS {
                let lane = (url.to_owned(), room.to_owned());
                let of_lane = taken.iter().filter(|(to, _)| *to == lane);
                let number = |event: &WebhookEvent| Some(event.participant.as_ref()?.version);
                let order: Vec<_> = of_lane.filter_map(|(_, event)| number(event)).collect();
                assert_eq!(order, (0..600).collect::<Vec<_>>(), "{room}");
            }
        }
        assert!(lanes.0.is_empty());
        let told = metrics.render(0, None);
        assert!(told.contains("webhooks_lost_total 0\n"), "{told}");
    }

    #[tokio::test]
    async fn a_receiver_that_was_down_gets_all_of_it_in_order_and_signed() {
        let receiver = Receiver::default();
        receiver.is_down.store(true, Ordering::Relaxed);
        let Sending {
            outbox,
            keyring,
            metrics,
        } = send_to(&receiver).await;
        let events = ["room_started", "participant_joined", "track_published"];
        put(&outbox, &events);
        while !metrics.render(0, None).contains("webhooks_refused_total 1") {
            time::sleep(Duration::from_millis(10)).await;
        }
        receiver.is_down.store(false, Ordering::Relaxed);
        while receiver.taken.lock().expect("whole").len() < events.len() {
            time::sleep(Duration::from_millis(10)).await;
        }
        let taken = receiver.taken.lock().expect("whole").clone();
        for ((token, body), name) in taken.iter().zip(events) {
            let event: WebhookEvent = serde_json::from_slice(body).expect("proto-JSON");
            assert_eq!(event.event, name);
            let signed = keyring.verify(token).expect("our own key").grants.sha256;
            let hash = digest::digest(&digest::SHA256, body);
            assert_eq!(signed, STANDARD.encode(hash));
        }
    }
}
