//! The outbox: one thread that owns the [`Store`], so that neither rooms nor senders wait for a disk.
//!
//! Rooms put webhook events and egresses in with [`Outbox::put`], which never waits; the thread
//! writes all that has come in one transaction and then tells the sender ([`crate::webhook`]) what
//! is new. A message leaves the store when its receiver has taken it. Nothing here speaks HTTP.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;
use tokio::sync::{mpsc, oneshot};

use crate::config::WebhookConfig;
use crate::egress;
use crate::metrics::{Count, Metrics};
use crate::sid;
use crate::store::{KeptEgress, Outgoing, Queued, Store};
use crate::wire::proto::{EgressInfo, WebhookEvent};

/// Notices of rooms that wait for the disk. At a hundred a second a disk may stand still for two
/// minutes.
const WAITING_MAX: usize = 16_384;
/// So many are written in one transaction.
const BATCH_MAX: usize = 256;

/// Something that others shall hear of.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The room's name: notices of one room arrive in order.
    pub room: String,
    /// What happened; without an id, it gets one here.
    pub event: WebhookEvent,
}

/// What the thread is asked for.
pub enum Job {
    /// Others shall hear of it.
    Put(Box<Notice>),
    /// The body of a message, and when it was queued.
    Body(i64, oneshot::Sender<Option<(Vec<u8>, i64)>>),
    /// A message has arrived, or is too old.
    Forget(i64),
    /// Everything before this is on the disk.
    Flush(oneshot::Sender<()>),
}

/// The way in.
#[derive(Clone)]
pub struct Outbox {
    jobs: mpsc::Sender<Job>,
    metrics: Arc<Metrics>,
}

/// What the sender of webhooks works with.
pub struct Feed {
    /// Asks the thread.
    pub jobs: mpsc::Sender<Job>,
    /// What is newly on the disk.
    pub fresh: mpsc::UnboundedReceiver<Vec<Queued>>,
    /// What was on the disk at the start.
    pub waiting: Vec<Queued>,
}

struct Clerk {
    store: Store,
    urls: Vec<String>,
    queued_max: usize,
    queued: usize,
    fresh: mpsc::UnboundedSender<Vec<Queued>>,
    metrics: Arc<Metrics>,
}

/// Starts the thread, which ends when nobody has the way in any more. What was put in is on the disk
/// after [`Outbox::flush`].
pub fn start(
    store: Store,
    config: &WebhookConfig,
    metrics: &Arc<Metrics>,
) -> io::Result<(Outbox, Feed)> {
    let waiting = store.queued().map_err(io::Error::other)?;
    let (jobs, todo) = mpsc::channel(WAITING_MAX);
    let (fresh, news) = mpsc::unbounded_channel();
    let clerk = Clerk {
        store,
        urls: config.urls.clone(),
        queued_max: config.queued_max,
        queued: waiting.len(),
        fresh,
        metrics: Arc::clone(metrics),
    };
    let thread = thread::Builder::new().name("outbox".to_owned());
    thread.spawn(move || clerk.run(todo))?;
    let outbox = Outbox {
        jobs: jobs.clone(),
        metrics: Arc::clone(metrics),
    };
    let feed = Feed {
        jobs,
        fresh: news,
        waiting,
    };
    Ok((outbox, feed))
}

impl Outbox {
    /// Others shall hear of it. Never waits: a disk that stands still for minutes costs messages,
    /// which are counted, and no consult.
    pub fn put(&self, notice: Notice) {
        if self.jobs.try_send(Job::Put(Box::new(notice))).is_err() {
            self.metrics.count(Count::WebhooksLost);
        }
    }

    /// Waits until all that was put in is on the disk.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // The thread ends only after all jobs.
            let _ = flushed.await;
        }
    }
}

impl Clerk {
    fn run(mut self, mut todo: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while let Some(job) = todo.blocking_recv() {
            batch.push(job);
            while batch.len() < BATCH_MAX {
                let Ok(job) = todo.try_recv() else { break };
                batch.push(job);
            }
            self.work(batch.drain(..));
        }
    }

    fn work(&mut self, batch: impl Iterator<Item = Job>) {
        let (mut messages, mut egresses) = (Vec::new(), Vec::new());
        let (mut gone, mut flushed) = (Vec::new(), Vec::new());
        for job in batch {
            match job {
                Job::Put(notice) => self.stamp(*notice, &mut messages, &mut egresses),
                Job::Body(id, reply) => {
                    let body = self.store.message(id).unwrap_or_else(|error| {
                        tracing::error!(%error, "a webhook cannot be read");
                        None
                    });
                    let _ = reply.send(body); // or the sender has stopped
                }
                Job::Forget(id) => gone.push(id),
                Job::Flush(done) => flushed.push(done),
            }
        }
        self.keep(&messages, &egresses);
        if !gone.is_empty() {
            self.queued = self.queued.saturating_sub(gone.len());
            if let Err(error) = self.store.forget(&gone) {
                tracing::error!(%error, "delivered webhooks stay in the store");
            }
        }
        for done in flushed {
            let _ = done.send(()); // or nobody waits any more
        }
    }

    fn keep(&mut self, messages: &[Outgoing], egresses: &[KeptEgress]) {
        if messages.is_empty() && egresses.is_empty() {
            return;
        }
        match self.store.keep(messages, egresses) {
            Ok(fresh) => {
                self.queued += fresh.len();
                let _ = self.fresh.send(fresh); // or the sender has stopped
            }
            Err(error) => {
                tracing::error!(%error, lost = messages.len(), "webhooks cannot be kept");
                for _ in messages {
                    self.metrics.count(Count::WebhooksLost);
                }
            }
        }
    }

    /// Gives an event its id and its time, and makes a message of it for each receiver.
    fn stamp(&self, notice: Notice, out: &mut Vec<Outgoing>, egresses: &mut Vec<KeptEgress>) {
        let Notice { room, mut event } = notice;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs() as i64;
        event.id = sid::event_id();
        event.created_at = now;
        if let Some(info) = &event.egress_info {
            egresses.push(kept(&room, info, now));
        }
        if self.urls.is_empty() {
            return;
        }
        if self.queued + out.len() + self.urls.len() > self.queued_max {
            self.metrics.count(Count::WebhooksLost);
            return;
        }
        let body = serde_json::to_vec(&event).expect("every protobuf message has a JSON form");
        out.extend(self.urls.iter().map(|url| Outgoing {
            url: url.clone(),
            room: room.clone(),
            body: body.clone(),
            queued_at: now,
        }));
    }
}

fn kept(room: &str, info: &EgressInfo, now: i64) -> KeptEgress {
    KeptEgress {
        id: info.egress_id.clone(),
        room: room.to_owned(),
        info: info.encode_to_vec(),
        is_over: egress::is_over(info),
        updated_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(room: &str, event: &str) -> Notice {
        Notice {
            room: room.into(),
            event: WebhookEvent {
                event: event.into(),
                ..WebhookEvent::default()
            },
        }
    }

    fn config(queued_max: usize) -> WebhookConfig {
        WebhookConfig {
            urls: vec!["http://127.0.0.1:1/".into(), "http://127.0.0.1:2/".into()],
            queued_max,
            ..WebhookConfig::default()
        }
    }

    #[tokio::test]
    async fn every_receiver_gets_the_same_event_with_one_id() {
        let store = Store::in_memory().expect("opens");
        let metrics = Arc::default();
        let (outbox, mut feed) = start(store, &config(100), &metrics).expect("starts");
        outbox.put(notice("r", "room_started"));
        let fresh = feed.fresh.recv().await.expect("it is kept");
        assert_eq!(fresh.len(), 2);
        let mut bodies = Vec::new();
        for one in &fresh {
            let (reply, body) = oneshot::channel();
            let sent = feed.jobs.send(Job::Body(one.id, reply)).await;
            assert!(sent.is_ok());
            bodies.push(body.await.expect("answered").expect("there").0);
        }
        assert_eq!(bodies[0], bodies[1]);
        let event: WebhookEvent = serde_json::from_slice(&bodies[0]).expect("proto-JSON");
        assert_eq!(event.event, "room_started");
        assert!(event.id.starts_with("EV_") && event.created_at > 0);
    }

    #[tokio::test]
    async fn beyond_the_bound_new_events_are_lost_and_counted() {
        let store = Store::in_memory().expect("opens");
        let metrics: Arc<Metrics> = Arc::default();
        let (outbox, mut feed) = start(store, &config(5), &metrics).expect("starts");
        for _ in 0..4 {
            outbox.put(notice("r", "participant_joined"));
        }
        outbox.flush().await;
        let mut kept = 0;
        while let Ok(fresh) = feed.fresh.try_recv() {
            kept += fresh.len();
        }
        assert_eq!(kept, 4);
        let lost = "consilium_webhooks_lost_total 2\n";
        assert!(metrics.render(0, None).contains(lost));
    }
}
