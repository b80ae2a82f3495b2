//! One WebSocket's life: requests in, responses out, until either side has had enough.
//!
//! Two loops share the socket. One reads: it bounds how much a client may say, answers pings,
//! reads offers, and hands the rest to the room. One writes what the room has put into the outlet.
//! Neither waits for the other, so a client that does not read cannot keep us from noticing that it
//! left. What requests mean is the room's affair.

pub mod negotiate;
#[cfg(feature = "test-modes")]
pub mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::config::SignalingConfig;
use crate::metrics::{Count, Metrics};
use crate::registry::Seat;
use crate::room::leave;
use crate::room::outlet::{End, Item, Outlet};
use crate::room::requests::Request;
use crate::room::resume::Loss;
use crate::token::{Keyring, Verified};
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::signal_request::Message as Asked;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{DisconnectReason, Pong, SignalResponse};
use crate::wire::{Encoding, decode_request, encode_response};

/// A client is thought dead after so many times the silence after which it thinks us dead: on a slow
/// machine its messages may have been waiting for us all the time, and it is the one that suffers.
const PATIENCE: u32 = 3;
/// How often we ask the socket of a client that says nothing for a sign of life at least.
const SOCKET_PING_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// A socket that takes nothing for so long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// So long a client may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// A good token is handed out so often, so that a client can always come back.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// How long a token handed out so is good for.
const REFRESH_TTL: Duration = Duration::from_secs(600);
/// So long a client may settle before it pings: an engine that has come back pings only when its
/// media has, yet counts our silence all the time.
const SETTLING: Duration = Duration::from_secs(15);
/// Bursts of so many seconds' worth of messages are taken.
const BURST_S: f64 = 10.0;

/// One participant's session.
pub struct Session {
    /// The bounds.
    pub config: Arc<SignalingConfig>,
    /// Signs fresh tokens.
    pub keyring: Arc<Keyring>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Who it is, for refreshing the token.
    pub verified: Verified,
    /// Its place in the room.
    pub seat: Seat,
}

/// Why a session's reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The client is gone, or was told to go.
    Gone,
    /// The client's page is gone.
    PageGone,
    /// The client was silent for too long: it may be gone, and it may come back.
    Silent,
    /// The client does what no client does.
    Limited(&'static str),
}

impl Session {
    /// Speaks with a client until one side ends it.
    pub async fn run(self: Box<Self>, socket: WebSocket) {
        self.metrics.count(Count::Sessions);
        let (sink, stream) = socket.split();
        let writer = Writer {
            sink,
            // One interval may pass before it is noticed that a client has fallen silent; two
            // thirds of its time are over then, and the last one is for its answer.
            ping_interval: (patience(&self.config) / 3).min(SOCKET_PING_INTERVAL_MAX),
            was_heard: Arc::default(),
            outlet: self.seat.outlet.clone(),
            metrics: Arc::clone(&self.metrics),
            is_json: Arc::default(),
        };
        let mut reader = Reader {
            session: &self,
            is_json: Arc::clone(&writer.is_json),
            was_heard: Arc::clone(&writer.was_heard),
            settles_until: Some(Instant::now() + SETTLING),
            allowance: Allowance::new(self.config.limits.signal_messages_per_second_max),
        };
        let mut writing = tokio::spawn(writer.run());
        let over = tokio::select! {
            over = reader.run(stream) => over,
            _ = &mut writing => return,
        };
        if let Over::Limited(reason) = over {
            self.metrics.count(Count::SessionsLimited);
            let told = leave(DisconnectReason::UnknownReason, Action::Disconnect);
            self.seat.outlet.send(Message::Leave(told));
            self.seat.outlet.end(End::Limited(reason));
            self.seat.ask(Request::End).await;
        }
        // The room hears of it now, whatever the socket still takes.
        let Self { mut seat, .. } = *self;
        seat.outlet.end(End::Left);
        if over == Over::PageGone {
            seat.loss = Loss::PageGone;
        }
        drop(seat);
        // What the room still has to say is written unless the socket is broken, and then the
        // writer finds out soon enough.
        if timeout(CLOSE_TIMEOUT, &mut writing).await.is_err() {
            writing.abort();
        }
    }
}

struct Reader<'a> {
    session: &'a Session,
    is_json: Arc<AtomicBool>,
    was_heard: Arc<AtomicBool>,
    /// Until when the client is told that we live although it does not ask; `None` once it has.
    settles_until: Option<Instant>,
    allowance: Allowance,
}

impl Reader<'_> {
    async fn run(&mut self, mut stream: SplitStream<WebSocket>) -> Over {
        let config = &self.session.config;
        // A live client answers our socket pings even if it has nothing to say.
        let patience = patience(config);
        let mut refresh = interval(REFRESH_INTERVAL);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.reset(); // the first tick would come at once
        let mut sign = interval(config.rooms.ping_interval);
        sign.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sign.reset();
        let silence = sleep(patience);
        tokio::pin!(silence);
        loop {
            let frame = tokio::select! {
                frame = stream.next() => frame,
                () = &mut silence => return Over::Silent,
                _ = refresh.tick() => {
                    self.refresh_token();
                    continue;
                }
                _ = sign.tick(), if self.settles_until.is_some() => {
                    self.show_life();
                    continue;
                }
            };
            silence
                .as_mut()
                .reset(tokio::time::Instant::now() + patience);
            let frame = match frame {
                // What browsers say when a page is left or reloaded (WHATWG HTML, "unloading"), but
                // some proxies too when they are restarted.
                Some(Ok(Frame::Close(Some(CloseFrame { code, .. }))))
                    if code == close_code::AWAY =>
                {
                    return Over::PageGone;
                }
                None | Some(Err(_) | Ok(Frame::Close(_))) => return Over::Gone,
                Some(Ok(frame)) => frame,
            };
            self.was_heard.store(true, Ordering::Relaxed);
            if !self.allowance.take(Instant::now()) {
                return Over::Limited("too many messages");
            }
            if let Err(over) = self.handle(&frame, config).await {
                return over;
            }
        }
    }

    /// Does what a frame asks for, or says why the session does not go on.
    async fn handle(&mut self, frame: &Frame, config: &SignalingConfig) -> Result<(), Over> {
        let metrics = &self.session.metrics;
        let request = match decode_request(frame) {
            Ok(Some((request, encoding))) => {
                self.is_json
                    .store(encoding == Encoding::Json, Ordering::Relaxed);
                metrics.count(Count::MessagesIn);
                request
            }
            Ok(None) => return Ok(()),
            Err(_) => {
                metrics.count(Count::MessagesMalformed);
                return Err(Over::Limited("a message that cannot be read"));
            }
        };
        let outlet = &self.session.seat.outlet;
        let request = match request.message {
            // A kind of request that is newer than we are.
            None => return Ok(()),
            Some(Asked::Ping(_)) => {
                self.settles_until = None;
                outlet.send(Message::Pong(unix_millis()));
                return Ok(());
            }
            Some(Asked::PingReq(ping)) => {
                self.settles_until = None;
                outlet.send(Message::PongResp(Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: unix_millis(),
                }));
                return Ok(());
            }
            Some(Asked::Offer(offer)) => negotiate::read(&offer, &config.limits),
            Some(Asked::Answer(answer)) => negotiate::read_answer(&answer, &config.limits),
            Some(asked) => Request::Signal(Box::new(asked)),
        };
        let is_heard = self.session.seat.ask(request).await;
        is_heard.then_some(()).ok_or(Over::Gone)
    }

    /// Answers a ping that the client cannot send yet.
    fn show_life(&mut self) {
        let now = Instant::now();
        self.settles_until = self.settles_until.filter(|&until| now < until);
        if self.settles_until.is_some() {
            self.session.seat.outlet.send(Message::Pong(unix_millis()));
        }
    }

    fn refresh_token(&self) {
        let Verified { key, grants, .. } = &self.session.verified;
        // Who has gone over to another room comes back to that one.
        let gone_to = self.session.seat.outlet.whereabouts().grants();
        let grants = gone_to.as_ref().unwrap_or(grants);
        match self.session.keyring.mint(key, grants, REFRESH_TTL) {
            Ok(token) => self.session.seat.outlet.send(Message::RefreshToken(token)),
            Err(error) => tracing::error!(%error, "cannot refresh a token"),
        }
    }
}

struct Writer {
    sink: SplitSink<WebSocket, Frame>,
    ping_interval: Duration,
    outlet: Outlet,
    metrics: Arc<Metrics>,
    is_json: Arc<AtomicBool>,
    /// The client has said something since the last time this was looked at.
    was_heard: Arc<AtomicBool>,
}

impl Writer {
    async fn run(mut self) {
        let mut ping = interval(self.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset(); // the first tick would come at once
        loop {
            let frame = tokio::select! {
                item = self.outlet.next() => match item {
                    Item::Message(response) => self.frame(&response),
                    Item::End(end) => return self.close(end).await,
                },
                // Who pings by the protocol need not be asked: for two hundred listeners that
                // would be more work than some of their sound.
                _ = ping.tick() => match self.was_heard.swap(false, Ordering::Relaxed) {
                    true => continue,
                    false => Frame::Ping(Default::default()),
                },
            };
            if !self.write(frame).await {
                return;
            }
        }
    }

    fn frame(&self, response: &SignalResponse) -> Frame {
        self.metrics.count(Count::MessagesOut);
        let encoding = match self.is_json.load(Ordering::Relaxed) {
            true => Encoding::Json,
            false => Encoding::Binary,
        };
        encode_response(response, encoding)
    }

    async fn write(&mut self, frame: Frame) -> bool {
        // A peer that does not read is let go of as soon as its queue is full, not when one write
        // has taken too long: until then nobody in the room knows that it is gone.
        let sent = tokio::select! {
            sent = timeout(WRITE_TIMEOUT, self.sink.send(frame)) => sent.ok(),
            () = self.outlet.overflow() => None,
        };
        if sent.is_none() {
            self.metrics.count(Count::SessionsLimited);
        }
        matches!(sent, Some(Ok(())))
    }

    async fn close(mut self, end: End) {
        let (code, reason) = match end {
            End::Left | End::Replaced => (close_code::NORMAL, ""),
            End::Limited(reason) => (close_code::POLICY, reason),
            End::Overflow => {
                self.metrics.count(Count::SessionsLimited);
                (close_code::POLICY, "messages were not read")
            }
        };
        let reason = reason.into();
        let goodbye = Frame::Close(Some(CloseFrame { code, reason }));
        // A client that is gone needs no goodbye.
        let _ = timeout(CLOSE_TIMEOUT, self.sink.send(goodbye)).await;
        let _ = timeout(CLOSE_TIMEOUT, self.sink.close()).await;
    }
}

/// How many messages a client may still send.
struct Allowance {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: per_second * BURST_S,
            at: Instant::now(),
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let fresh = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + fresh).min(self.per_second * BURST_S) - 1.0;
        self.at = now;
        self.left >= 0.0
    }
}

/// How long a client may be silent.
fn patience(config: &SignalingConfig) -> Duration {
    config.rooms.ping_timeout * PATIENCE
}

fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as i64
}

/// Tells a client that the session it asks for is not here, so that it joins anew.
pub async fn send_away(socket: WebSocket, limits: &crate::config::Limits) {
    let outlet = Outlet::new(limits.outgoing_queue_bytes_max);
    outlet.send(Message::Leave(leave(
        DisconnectReason::StateMismatch,
        Action::Reconnect,
    )));
    outlet.end(End::Left);
    let (mut sink, _) = socket.split();
    while let Some(Item::Message(response)) = outlet.try_next() {
        let frame = encode_response(&response, Encoding::Binary);
        // Whoever does not wait for the answer does not need it.
        let _ = timeout(WRITE_TIMEOUT, sink.send(frame)).await;
    }
    // Nor the goodbye.
    let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_a_flood_is_not() {
        let start = Instant::now();
        let mut allowance = Allowance::new(10);
        assert!((0..100).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        let mut allowance = Allowance::new(10);
        for i in 0..1_000 {
            assert!(allowance.take(start + Duration::from_millis(100 * i)));
        }
    }
}
