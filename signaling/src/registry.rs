//! Which rooms there are: name to inbox, and the way of the media plane's events to them.
//!
//! A room is made when its first participant comes and takes itself out when it is over. Both maps
//! only find things; what a room does is its own affair. One thread carries the media plane's events
//! over to the rooms' inboxes and never waits for a room.

mod forwarding;
mod relocation;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use sfu::handle::{Events, Sfu};
use sfu::id::{RoomId, WorkerId};
use sfu::shard::command::{Command, DataChannel, Directive};
use sfu::shard::event::{Event, EventKind};
use sfu::stream::StreamEnd;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::SignalingConfig;
use crate::egress::{Ask, EgressBook, EgressRefusal};
use crate::error::ApiError;
use crate::metrics::{Count, Metrics};
use crate::outbox::{Notice, Outbox};
use crate::placement::{Placement, place};
use crate::revocation::Revocations;
use crate::room::actor::{Actor, Asked, EgressAnswer, Input, JoinRefusal};
use crate::room::calls::{CallAnswer, CallRefusal};
use crate::room::moderation::{Moderation, ModerationRefusal, Ruling};
use crate::room::outlet::Outlet;
use crate::room::participant::{Hello, ParticipantKey};
use crate::room::requests::Request;
use crate::room::resume::{Loss, Return};
use crate::room::scribe::{Desk, Scribe};
use crate::room::settings::SettingsWish;
use crate::room::{Room, Setup};
use crate::sid;
use crate::tcp::Port;
use crate::wire::proto::{self, EgressInfo, PerformRpcRequest, RoomEndReason, WebhookEvent};

/// A room that ends while somebody knocks is made anew; that this happens so often to one caller
/// means that something else is wrong.
const JOIN_ATTEMPTS_MAX: usize = 5;

/// A running media plane, as the binary hands it over.
pub struct Media {
    /// Commands go down here.
    pub sfu: Sfu,
    /// Events come up here.
    pub events: Events,
    /// Bytes that one data channel message may have; clients are told.
    pub data_message_bytes_max: usize,
}

/// All rooms of this server.
pub struct Registry {
    sfu: Arc<Sfu>,
    port: Arc<Port>,
    setup: Arc<Setup>,
    metrics: Arc<Metrics>,
    rooms: DashMap<String, Handle>,
    inboxes: DashMap<RoomId, mpsc::Sender<Input>>,
    /// Rooms on each worker.
    load: Vec<AtomicUsize>,
    desk: Option<Desk>,
    outbox: Outbox,
    egresses: Arc<EgressBook>,
    revocations: Revocations,
    is_closing: AtomicBool,
}

/// What rooms leave behind: recordings, events for others, and who asked for recordings.
pub struct Ledger {
    /// Where recordings are begun, if there is an archive.
    pub desk: Option<Desk>,
    /// Where events go.
    pub outbox: Outbox,
    /// Where egresses are written down.
    pub egresses: Arc<EgressBook>,
}

#[derive(Clone)]
struct Handle {
    id: RoomId,
    inbox: mpsc::Sender<Input>,
}

/// A participant's place in its room. Dropping it without a goodbye says that the socket broke.
pub struct Seat {
    key: ParticipantKey,
    inbox: mpsc::Sender<Input>,
    /// What is to be written to its socket.
    pub outlet: Outlet,
    /// How the socket broke, if it did.
    pub loss: Loss,
}

impl Registry {
    /// No rooms yet; events of the media plane are carried to those that come, by a thread that ends
    /// with the media plane.
    pub fn start(
        media: Media,
        ledger: Ledger,
        config: &SignalingConfig,
        metrics: &Arc<Metrics>,
    ) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let Media { sfu, events, .. } = media;
        let workers = 0..sfu.workers();
        let addresses = |worker: usize| sfu.addresses(WorkerId(worker as u16));
        let candidates: Vec<_> = workers.clone().map(addresses).collect();
        let port = Arc::new(Port::new(config, candidates.clone()));
        let setup = Setup {
            port: Arc::clone(&port),
            rooms: config.rooms.clone(),
            recording: config.recording,
            limits: config.limits.clone(),
            candidates,
            fingerprint: sfu.fingerprint(),
            message_size_max: media.data_message_bytes_max,
        };
        let registry = Arc::new(Self {
            setup: Arc::new(setup),
            load: workers.map(|_| AtomicUsize::new(0)).collect(),
            sfu: Arc::new(sfu),
            port,
            metrics: Arc::clone(metrics),
            rooms: DashMap::new(),
            inboxes: DashMap::new(),
            desk: ledger.desk,
            outbox: ledger.outbox,
            egresses: ledger.egresses,
            revocations: Revocations::default(),
            is_closing: AtomicBool::new(false),
        });
        let carrier = Arc::clone(&registry);
        let carry = move || {
            while let Some((worker, event)) = events.recv() {
                carrier.carry(worker, event);
            }
        };
        let pump = thread::Builder::new().name("media-events".to_owned());
        Ok((registry, pump.spawn(carry)?))
    }

    /// Lets somebody into a room, which is made if need be and allowed.
    pub async fn join(self: &Arc<Self>, name: &str, hello: Hello) -> Result<Seat, ApiError> {
        let outlet = hello.outlet.clone();
        let mut hello = Box::new(hello);
        for _ in 0..JOIN_ATTEMPTS_MAX {
            let handle = self.find_or_open(name)?;
            let (reply, joined) = oneshot::channel();
            let sent = handle.inbox.send(Input::Join(hello, reply)).await;
            let joined = match sent {
                Ok(()) => joined.await.map_err(|_| ApiError::Internal)?,
                Err(mpsc::error::SendError(Input::Join(hello, _))) => {
                    Err(JoinRefusal::RoomEnded(hello))
                }
                Err(_) => return Err(ApiError::Internal),
            };
            match joined {
                Ok(key) => return Ok(Seat::new(key, handle.inbox, outlet)),
                Err(JoinRefusal::Refused(error)) => return Err(error),
                Err(JoinRefusal::RoomEnded(back)) => {
                    self.forget(name, handle.id);
                    hello = back;
                }
            }
        }
        Err(ApiError::Internal)
    }

    /// Gives somebody his seat back whose connection broke. `None` if there is no such seat, or it is
    /// somebody else's.
    pub async fn resume(&self, name: &str, back: Return) -> Option<Seat> {
        let inbox = self.inbox(name)?;
        let outlet = back.outlet.clone();
        let (reply, resumed) = oneshot::channel();
        let asked = Input::Resume(Box::new(back), reply);
        inbox.send(asked).await.ok()?;
        let key = resumed.await.ok()??;
        Some(Seat::new(key, inbox, outlet))
    }

    /// Makes a room, or changes the one that is there.
    pub async fn create(
        self: &Arc<Self>,
        name: &str,
        wish: SettingsWish,
    ) -> Result<proto::Room, ApiError> {
        for _ in 0..JOIN_ATTEMPTS_MAX {
            let handle = self.find_or_make(name)?;
            let asked = Moderation::Arrange(wish.clone());
            match moderate(&handle.inbox, asked).await {
                Ok(Ruling::Room(room)) => return Ok(*room),
                Ok(_) => return Err(ApiError::Internal),
                Err(ModerationRefusal::Closing) => self.forget(name, handle.id),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(ApiError::Internal)
    }

    /// The rooms of these names that are there; all if none is named.
    pub async fn list(&self, names: &[String]) -> Vec<proto::Room> {
        let is_wanted = |name: &String| names.is_empty() || names.contains(name);
        let rooms = self.rooms.iter().filter(|room| is_wanted(room.key()));
        let inboxes: Vec<_> = rooms.map(|room| room.inbox.clone()).collect();
        let asked = inboxes
            .iter()
            .map(|inbox| moderate(inbox, Moderation::Describe));
        let answers = futures_util::future::join_all(asked).await;
        let rooms = answers.into_iter().filter_map(|answer| match answer {
            Ok(Ruling::Room(room)) => Some(*room),
            // One that has ended meanwhile is no longer listed.
            _ => None,
        });
        rooms.collect()
    }

    /// Ends a room.
    pub async fn delete(&self, name: &str) -> Result<(), ModerationRefusal> {
        let inbox = self.inbox(name).ok_or(ModerationRefusal::NoRoom)?;
        let (reply, done) = oneshot::channel();
        // A room that ends by itself meanwhile has ended, too.
        let _ = inbox.send(Input::Delete(reply)).await;
        let _ = done.await;
        Ok(())
    }

    /// Takes somebody out of a room, and his tokens with him.
    pub async fn remove(&self, name: &str, identity: &str) -> Result<(), ModerationRefusal> {
        // Before he is told: his client may be back at once.
        let before = self.revocations.revoke(SystemTime::now(), name, identity);
        let removed = self.moderate(name, Moderation::Remove(identity.to_owned()));
        match removed.await {
            Ok(Ruling::Removed { tokens_until }) => {
                self.revocations.settle(name, identity, tokens_until);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(refusal) => {
                self.revocations.undo(name, identity, before);
                Err(refusal)
            }
        }
    }

    /// Takes everybody out, of all rooms, who came with a token of one of these API keys.
    pub async fn dismiss(&self, keys: BTreeSet<String>) {
        let keys = Arc::new(keys);
        let inboxes = self.inboxes.iter().map(|entry| entry.value().clone());
        let inboxes: Vec<_> = inboxes.collect();
        // A room that does not keep up must not make the others wait.
        let told = inboxes
            .iter()
            .map(|inbox| inbox.send(Input::Dismiss(Arc::clone(&keys))));
        // A room that is over needs no telling.
        let _ = futures_util::future::join_all(told).await;
    }

    /// What rooms and connections share of the port.
    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    /// Opens a stream to a worker for a peer that is seen at `seen_at`, with a bell that says when
    /// something is to be read from it. `None`: the worker takes no more.
    pub fn open_stream(
        &self,
        worker: WorkerId,
        seen_at: SocketAddr,
    ) -> Option<(StreamEnd, Arc<Notify>)> {
        let bell = Arc::<Notify>::default();
        let end = self.open_stream_with(worker, seen_at, Arc::clone(&bell))?;
        Some((end, bell))
    }

    /// The same with a bell that is there.
    pub fn open_stream_with(
        &self,
        worker: WorkerId,
        seen_at: SocketAddr,
        bell: Arc<Notify>,
    ) -> Option<StreamEnd> {
        let ring = Box::new(move || bell.notify_one());
        self.sfu.open_stream(worker, seen_at, ring).ok()
    }

    /// Tokens that are no longer good.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Has something done in a room that is there.
    pub async fn moderate(
        &self,
        name: &str,
        asked: Moderation,
    ) -> Result<Ruling, ModerationRefusal> {
        let inbox = self.inbox(name).ok_or(ModerationRefusal::NoRoom)?;
        moderate(&inbox, asked).await
    }

    /// Calls a participant of a room that is there, and waits for what he answers.
    pub async fn call(&self, asked: PerformRpcRequest) -> CallAnswer {
        let inbox = self.inbox(&asked.room).ok_or(CallRefusal::NoRoom)?;
        let (reply, answer) = oneshot::channel();
        let sent = inbox.send(Input::Call(Box::new(asked), reply)).await;
        sent.map_err(|_| CallRefusal::Closing)?;
        answer.await.map_err(|_| CallRefusal::Closing)?
    }

    fn inbox(&self, name: &str) -> Option<mpsc::Sender<Input>> {
        self.rooms.get(name).map(|handle| handle.inbox.clone())
    }

    /// Whether somebody who joins finds this room, or makes it.
    pub fn may_open(&self, name: &str) -> Result<(), ApiError> {
        match self.setup.rooms.auto_create || self.rooms.contains_key(name) {
            true => Ok(()),
            false => Err(ApiError::RoomNotFound),
        }
    }

    fn find_or_open(self: &Arc<Self>, name: &str) -> Result<Handle, ApiError> {
        let found = self.rooms.get(name).map(|handle| handle.clone());
        match found {
            _ if self.is_closing.load(Ordering::Acquire) => Err(ApiError::ShuttingDown),
            Some(handle) => Ok(handle),
            None if self.setup.rooms.auto_create => self.find_or_make(name),
            None => Err(ApiError::RoomNotFound),
        }
    }

    fn find_or_make(self: &Arc<Self>, name: &str) -> Result<Handle, ApiError> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(ApiError::ShuttingDown);
        }
        if let Some(handle) = self.rooms.get(name) {
            return Ok(handle.clone());
        }
        if self.rooms.len() >= self.setup.limits.rooms_max {
            return Err(ApiError::Full("rooms_max"));
        }
        match self.rooms.entry(name.to_owned()) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                let handle = self.open(name);
                entry.insert(handle.clone());
                Ok(handle)
            }
        }
    }

    fn open(self: &Arc<Self>, name: &str) -> Handle {
        let load: Vec<usize> = self
            .load
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .collect();
        let busy: Vec<f32> = (0..load.len())
            .map(|worker| self.sfu.busy(WorkerId(worker as u16)))
            .collect();
        let placement = place(&busy, &load);
        let worker = usize::from(placement.worker.0);
        let setup = Arc::clone(&self.setup);
        let id = RoomId(sid::next_number());
        let (inbox, receiver) = mpsc::channel(setup.limits.room_inbox_max);
        self.load[worker].fetch_add(1, Ordering::Relaxed);
        self.inboxes.insert(id, inbox.clone());
        let mut room = Room::new(Instant::now(), id, name.to_owned(), placement.worker, setup);
        room.resume_egresses(self.egresses.resume(name));
        let (scribe, said) = Scribe::new(self.desk.clone());
        let actor = Actor {
            room,
            placement,
            sfu: Arc::clone(&self.sfu),
            metrics: Arc::clone(&self.metrics),
            inbox: receiver,
            backlog: VecDeque::new(),
            scribe,
            said,
            outbox: self.outbox.clone(),
            egresses: Arc::clone(&self.egresses),
            asked: Asked::default(),
            end: RoomEndReason::RoomEndIdleTimeout,
        };
        let registry = Arc::clone(self);
        let name = name.to_owned();
        tokio::spawn(async move { registry.keep(&name, id, placement, actor).await });
        Handle { id, inbox }
    }

    /// Stays with a room until it is over. A bug that ends it early ends it in the media plane too,
    /// and no other room.
    async fn keep(&self, name: &str, id: RoomId, placement: Placement, actor: Actor) {
        if tokio::spawn(actor.run()).await.is_err() {
            tracing::error!(room = %id, "a room failed");
            // Where it was is lost with it; a worker that never had it refuses.
            for worker in 0..self.load.len() as u16 {
                let directive = Directive {
                    room: id,
                    epoch: placement.epoch,
                    command: Command::CloseRoom,
                };
                if self.sfu.send(WorkerId(worker), directive).is_err() {
                    tracing::error!(room = %id, "a room stays behind in the media plane");
                }
            }
        }
        self.forget(name, id);
        self.inboxes.remove(&id);
        self.load[usize::from(placement.worker.0)].fetch_sub(1, Ordering::Relaxed);
    }

    fn forget(&self, name: &str, id: RoomId) {
        self.rooms.remove_if(name, |_, handle| handle.id == id);
    }

    /// The book of requests to record.
    pub fn egresses(&self) -> &EgressBook {
        &self.egresses
    }

    /// Has a room recorded that is there.
    pub async fn start_egress(&self, ask: Ask) -> EgressAnswer {
        let room = ask.room.clone();
        self.ask(&room, |reply| Input::StartEgress(Box::new(ask), reply))
            .await
    }

    /// Ends a request to record.
    pub async fn stop_egress(&self, room: &str, id: String) -> EgressAnswer {
        self.ask(room, |reply| Input::StopEgress(id, reply)).await
    }

    async fn ask(
        &self,
        room: &str,
        input: impl FnOnce(oneshot::Sender<EgressAnswer>) -> Input,
    ) -> EgressAnswer {
        let inbox = self.inbox(room).ok_or(EgressRefusal::NoRoom)?;
        let (reply, answer) = oneshot::channel();
        let is_sent = inbox.send(input(reply)).await.is_ok();
        match answer.await {
            Ok(answer) if is_sent => answer,
            _ => Err(EgressRefusal::Closing),
        }
    }

    /// Rooms that a killed process recorded and that have not come back will not.
    pub fn give_up_egresses(&self) {
        let over: Vec<EgressInfo> = self.egresses.give_up();
        for info in over {
            let event = WebhookEvent {
                event: "egress_ended".to_owned(),
                egress_info: Some(info.clone()),
                ..WebhookEvent::default()
            };
            let room = info.room_name;
            self.outbox.put(Notice { room, event });
        }
    }

    /// Brings one event where it belongs.
    fn carry(&self, worker: WorkerId, event: Event) {
        match event.kind {
            EventKind::Stats { snapshot } => self.metrics.keep(worker, *snapshot),
            kind => {
                if matches!(kind, EventKind::Refused { .. }) {
                    self.metrics.count(Count::CommandsRefused);
                }
                let inbox = event.room.and_then(|room| self.inboxes.get(&room));
                if let Some(inbox) = inbox {
                    deliver(&inbox, worker, kind);
                }
            }
        }
    }

    /// Tells everybody to go, and takes nobody in any more.
    pub async fn shut_down(&self) {
        self.is_closing.store(true, Ordering::Release);
        let inboxes: Vec<_> = self
            .inboxes
            .iter()
            .map(|entry| entry.value().clone())
            .collect();
        for inbox in inboxes {
            // A room that is over needs no telling.
            let _ = inbox.send(Input::ShutDown).await;
        }
    }

    /// Stops the media plane; clients are told by its farewell.
    pub fn stop_media(&self) {
        self.sfu.stop();
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

/// Asks a room and waits for what it says.
async fn moderate(
    inbox: &mpsc::Sender<Input>,
    asked: Moderation,
) -> Result<Ruling, ModerationRefusal> {
    let (reply, answer) = oneshot::channel();
    let sent = inbox.send(Input::Moderate(Box::new(asked), reply)).await;
    sent.map_err(|_| ModerationRefusal::Closing)?;
    answer.await.map_err(|_| ModerationRefusal::Closing)?
}

/// Puts an event into an inbox. A quarter of the inbox is kept free of data messages, so that what
/// else happens always finds a place; whoever sends more reliable data than the room can take is
/// taken out.
fn deliver(inbox: &mpsc::Sender<Input>, worker: WorkerId, kind: EventKind) {
    let is_crowded = inbox.capacity() < inbox.max_capacity() / 4;
    let input = match kind {
        EventKind::Data {
            channel: DataChannel::Lossy,
            ..
        } if is_crowded => return,
        EventKind::Data { transport, .. } if is_crowded => Input::Flooded(transport),
        kind => Input::Event(worker, kind),
    };
    if let Err(TrySendError::Full(_)) = inbox.try_send(input) {
        tracing::error!("a room does not keep up with its events");
    }
}

impl Seat {
    fn new(key: ParticipantKey, inbox: mpsc::Sender<Input>, outlet: Outlet) -> Self {
        let loss = Loss::default();
        Self {
            key,
            inbox,
            outlet,
            loss,
        }
    }

    /// Asks the room for something. Says no once the room is over.
    pub async fn ask(&self, request: Request) -> bool {
        let input = Input::Request(self.key, self.outlet.clone(), request);
        send(&self.outlet, &self.inbox, input).await
    }
}

/// Sends something of a participant to the room that he is in, which may be another one than the one
/// that he has joined. Says whether it will be heard.
async fn send(outlet: &Outlet, joined: &mpsc::Sender<Input>, mut input: Input) -> bool {
    loop {
        let gone_to = outlet.whereabouts().inbox();
        let inbox = gone_to.as_ref().unwrap_or(joined);
        let place = inbox.reserve().await.ok();
        match outlet.whereabouts().put(inbox, place, input) {
            Ok(is_heard) => return is_heard,
            Err(back) => input = *back,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let input = Input::Lost(self.key, self.outlet.clone(), self.loss);
        let whereabouts = self.outlet.whereabouts();
        let gone_to = whereabouts.inbox();
        let inbox = gone_to.as_ref().unwrap_or(&self.inbox);
        let input = match inbox.try_reserve() {
            Err(TrySendError::Full(())) => input,
            // A room that is over needs no telling.
            place => match whereabouts.put(inbox, place.ok(), input) {
                Ok(_) => return,
                Err(back) => *back,
            },
        };
        let (outlet, joined) = (self.outlet.clone(), self.inbox.clone());
        tokio::spawn(async move { send(&outlet, &joined, input).await });
    }
}
