//! One participant of a churn: joins, does what it is told, and says what became of it.
//!
//! It loses its WebSocket and takes its seat back, chooses layers, mutes, subscribes, talks, and ends
//! in any of the ways in which participants end. It decides nothing by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::client::audience::Spans;
use crate::client::worker::{Command, MemberEvent, MemberId};
use crate::signal::light::Light;
use crate::signal::livekit::{PING_INTERVAL, Server, Session};
use crate::signal::subscriber::{Subscriber, receiving as receiving_member};
use crate::signal::{JoinSpec, Media, Signals};

/// How long a server may take to give a seat back on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long whoever is frozen keeps its WebSocket open without reading: longer than the server waits.
const FROZEN: Duration = Duration::from_secs(25);

/// What a participant is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Say goodbye and go.
    Leave,
    /// Go without a word.
    Vanish,
    /// Stop, but keep the WebSocket open.
    Freeze,
    /// Lose the WebSocket and come back after so long; without a sign to the server if it is silent.
    Cut { after: Duration, is_silent: bool },
    /// Choose another layer of one of the others' cameras.
    Layers(u64),
    /// Mute an own track, or take that back.
    Mute(bool),
    /// Give up one of the others' tracks; if there is one that was given up, take it again.
    Choose(u64),
    /// Send a reliable message.
    Say,
    /// Want everything again, in full, and be heard.
    Settle,
}

/// What a participant says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// It has a seat, of this name.
    Seated(String),
    /// Media flow, and all its tracks are accepted.
    Ready,
    /// It has its seat back, so long after it asked.
    Back(Duration),
    /// It is gone; why, if nobody had told it to.
    Gone(Option<String>),
}

/// How many transports a participant has: who receives over a connection of its own has another one
/// if it publishes.
pub(super) fn transports(spec: &JoinSpec) -> usize {
    1 + usize::from(spec.has_two && !spec.tracks.is_empty())
}

async fn receiving(subscriber: &mut Option<Subscriber<'_>>) -> MemberEvent {
    match subscriber {
        Some(subscriber) => subscriber.event().await,
        None => std::future::pending().await,
    }
}

/// How a participant ends.
enum End {
    Told,
    Frozen,
}

/// Lives one participant's life.
pub(super) async fn live(
    signals: &Signals,
    server: &Server,
    spec: JoinSpec,
    identity: String,
    orders: UnboundedReceiver<Order>,
    words: UnboundedSender<(MemberId, Word)>,
) {
    let id = spec.id;
    let say = |word| {
        // The run may have ended before.
        let _ = words.send((id, word));
    };
    let life = async {
        let media = Light::open(signals, &spec, server.host())?;
        let join = Session::join(signals, server, &spec, identity, media);
        let session = tokio::time::timeout(PATIENCE, join).await;
        let session = session.context("no answer to the join")??;
        let mut seat = Seat {
            signals,
            spec: &spec,
            session,
            connected: 0,
            is_ready: false,
            asked: None,
            said: 0,
        };
        let end = seat.live(orders, &say).await?;
        anyhow::Ok((end, seat.session.stream))
    };
    let life = life.await;
    drop(signals.finish(id, Spans::new()));
    drop(signals.finish(receiving_member(id), Spans::new()));
    match life {
        Ok((End::Told, _)) => say(Word::Gone(None)),
        Ok((End::Frozen, _stream)) => {
            say(Word::Gone(None));
            tokio::time::sleep(FROZEN).await;
        }
        Err(error) => say(Word::Gone(Some(format!("{error:#}")))),
    }
}

struct Seat<'a> {
    signals: &'a Signals,
    spec: &'a JoinSpec,
    session: Session<'a, Light<'a>>,
    /// Its connections of which media flow.
    connected: usize,
    is_ready: bool,
    /// When it asked for its seat back, until it has it.
    asked: Option<Instant>,
    said: u32,
}

impl Seat<'_> {
    async fn live(
        &mut self,
        mut orders: UnboundedReceiver<Order>,
        say: &impl Fn(Word),
    ) -> Result<End> {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        loop {
            tokio::select! {
                message = self.session.stream.next() => match message {
                    Some(Ok(message)) => self.session.handle(message).await?,
                    Some(Err(error)) => return Err(error).context("the WebSocket failed"),
                    None => bail!("the server closed the WebSocket"),
                },
                event = self.session.media.event() => self.note(&event)?,
                event = receiving(&mut self.session.subscriber) => self.note(&event)?,
                order = orders.recv() => match order {
                    None | Some(Order::Vanish) => return Ok(End::Told),
                    Some(Order::Freeze) => return Ok(End::Frozen),
                    Some(Order::Leave) => {
                        self.session.leave().await?;
                        return Ok(End::Told);
                    }
                    Some(order) => self.obey(order).await?,
                },
                _ = ping.tick() => self.session.ping().await?,
            }
            self.tell(say)?;
        }
    }

    fn note(&mut self, event: &MemberEvent) -> Result<()> {
        match event {
            MemberEvent::Connected(_) => self.connected += 1,
            MemberEvent::Failed(reason) => bail!(*reason),
        }
        Ok(())
    }

    fn tell(&mut self, say: &impl Fn(Word)) -> Result<()> {
        let is_accepted = self.session.own.len() == self.spec.tracks.len();
        let is_connected = self.connected == transports(self.spec);
        if !self.is_ready && is_connected && is_accepted {
            self.is_ready = true;
            say(Word::Seated(self.session.sid.clone()));
            say(Word::Ready);
        }
        match self.asked {
            Some(asked) if self.session.is_back => {
                self.asked = None;
                say(Word::Back(asked.elapsed()));
            }
            Some(asked) if asked.elapsed() > PATIENCE => bail!("no seat after a broken connection"),
            _ => {}
        }
        Ok(())
    }

    async fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Cut { after, is_silent } => self.cut(after, is_silent).await,
            Order::Layers(chosen) => self.choose_layer(chosen).await,
            Order::Mute(muted) => self.mute(muted).await,
            Order::Choose(chosen) => match self.session.declined.take() {
                Some(sid) => self.subscribe(sid, true).await,
                None => self.decline(chosen).await,
            },
            Order::Say => {
                self.say();
                Ok(())
            }
            Order::Settle => self.settle().await,
            Order::Leave | Order::Vanish | Order::Freeze => Ok(()),
        }
    }

    /// The old WebSocket is gone at once, or stays open and unread until the new one is there.
    async fn cut(&mut self, after: Duration, is_silent: bool) -> Result<()> {
        if !is_silent {
            self.session.break_off();
        }
        tokio::time::sleep(after).await;
        if self.session.subscriber.is_none() || !self.spec.tracks.is_empty() {
            self.session.media.restart();
        }
        self.asked = Some(Instant::now());
        let _old = self.session.come_back().await?;
        Ok(())
    }

    async fn choose_layer(&mut self, chosen: u64) -> Result<()> {
        let Some(sid) = self.pick(chosen, true) else {
            return Ok(());
        };
        let quality = (chosen >> 32) % 4;
        let settings = proto::UpdateTrackSettings {
            track_sids: vec![sid],
            disabled: quality == 3,
            quality: (quality % 3) as i32,
            ..Default::default()
        };
        self.session.send(Request::TrackSetting(settings)).await
    }

    async fn mute(&mut self, muted: bool) -> Result<()> {
        let own = self.session.own.first();
        let Some(sid) = own.and_then(|own| Some(own.track.as_ref()?.sid.clone())) else {
            return Ok(());
        };
        let request = proto::MuteTrackRequest { sid, muted };
        self.session.send(Request::Mute(request)).await
    }

    /// Takes back whatever would keep media from it or from others.
    async fn settle(&mut self) -> Result<()> {
        self.mute(false).await?;
        let tracks = self.session.others.values().flatten();
        let settings = proto::UpdateTrackSettings {
            track_sids: tracks.map(|(_, sid)| sid.clone()).collect(),
            quality: proto::VideoQuality::High as i32,
            ..Default::default()
        };
        self.session.send(Request::TrackSetting(settings)).await?;
        match self.session.declined.take() {
            Some(sid) => self.subscribe(sid, true).await,
            None => Ok(()),
        }
    }

    async fn decline(&mut self, chosen: u64) -> Result<()> {
        let Some(sid) = self.pick(chosen, chosen & 1 == 0) else {
            return Ok(());
        };
        self.session.declined = Some(sid.clone());
        self.subscribe(sid, false).await
    }

    async fn subscribe(&mut self, sid: String, subscribe: bool) -> Result<()> {
        let request = proto::UpdateSubscription {
            track_sids: vec![sid],
            subscribe,
            ..Default::default()
        };
        self.session.send(Request::Subscription(request)).await
    }

    fn say(&mut self) {
        self.said += 1;
        let packet = proto::DataPacket {
            sequence: self.said,
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: b"how do you do".to_vec(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let (id, message) = (self.spec.id, packet.encode_to_vec());
        self.signals.worker(id).send(Command::Say { id, message });
    }

    /// One of the others' tracks.
    fn pick(&self, chosen: u64, is_video: bool) -> Option<String> {
        let tracks = self.session.others.values().flatten();
        let tracks: Vec<&String> = tracks
            .filter(|(kind, _)| *kind == is_video)
            .map(|(_, sid)| sid)
            .collect();
        let index = (chosen >> 8) as usize % tracks.len().max(1);
        tracks.get(index).map(|sid| (*sid).clone())
    }
}
