//! A room's task: one inbox in, commands to the media plane out.
//!
//! Everything that concerns a room comes through its inbox, one thing after the other, so the room
//! itself needs no locks. The inbox is bounded; sessions wait for a place in it, the media plane's
//! events never do. A room that cannot hand its commands on ends, rather than go on with media that
//! differs from what clients were told. What the recorder reports has an inbox of its own, which
//! outlives the other one until the recording is closed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sfu::handle::Sfu;
use sfu::id::{TransportId, WorkerId};
use sfu::shard::command::{Command, Directive};
use sfu::shard::event::EventKind;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::calls::{CallAnswer, CallId, CallRefusal};
use super::forwarding::Visit;
use super::moderation::{Moderation, ModerationRefusal, Ruling};
use super::notices::end_reason;
use super::outlet::Outlet;
use super::participant::{Hello, ParticipantKey};
use super::passage::{Ticket, Traveller};
use super::recording::{AskId, Order};
use super::requests::Request;
use super::resume::{Loss, Return};
use super::scribe::{Said, Scribe};
use super::{Removal, Room};
use crate::egress::{Ask, EgressBook, EgressRefusal};
use crate::error::ApiError;
use crate::metrics::{Count, Level, Metrics};
use crate::outbox::{Notice, Outbox};
use crate::placement::Placement;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::{DisconnectReason, EgressInfo, PerformRpcRequest, RoomEndReason};

/// Time-outs are a matter of seconds; changes of the head count are told this often.
const TICK: Duration = Duration::from_millis(250);
/// A recording is closed within seconds: the last flush, a manifest, a leaf of the log.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits for a time; without one, for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Something for a room.
pub enum Input {
    /// Somebody asks to be let in.
    Join(
        Box<Hello>,
        oneshot::Sender<Result<ParticipantKey, JoinRefusal>>,
    ),
    /// Somebody asks for his seat back; he gets it if it is there and his.
    Resume(Box<Return>, oneshot::Sender<Option<ParticipantKey>>),
    /// A participant asks for something, in the session that has this outlet.
    Request(ParticipantKey, Outlet, Request),
    /// The socket of the session that has this outlet broke.
    Lost(ParticipantKey, Outlet, Loss),
    /// A worker of the media plane reports something.
    Event(WorkerId, EventKind),
    /// A participant sent more data than the inbox could take.
    Flooded(TransportId),
    /// Somebody asks for the room to be recorded.
    StartEgress(Box<Ask>, oneshot::Sender<EgressAnswer>),
    /// Somebody does not want it to be any more.
    StopEgress(String, oneshot::Sender<EgressAnswer>),
    /// The server API wants something of the room.
    Moderate(Box<Moderation>, oneshot::Sender<ModerationAnswer>),
    /// The participant of this identity goes over to another room.
    Depart(
        String,
        oneshot::Sender<Result<Box<Traveller>, ModerationRefusal>>,
    ),
    /// Somebody comes from another room. He is given back if this one is over.
    Arrive(
        Box<(Traveller, Ticket)>,
        oneshot::Sender<Result<(), Box<Traveller>>>,
    ),
    /// The participant of this identity is shown to another room.
    Forward(String, oneshot::Sender<Result<Visit, ModerationRefusal>>),
    /// Somebody of another room is shown to this one.
    Host(Box<Visit>, oneshot::Sender<HostAnswer>),
    /// The server API calls a participant.
    Call(Box<PerformRpcRequest>, oneshot::Sender<CallAnswer>),
    /// These API keys are gone, and whoever came with a token of theirs must go.
    Dismiss(Arc<BTreeSet<String>>),
    /// The server API ends the room.
    Delete(oneshot::Sender<()>),
    /// The server is going down.
    ShutDown,
}

/// What somebody is told who asked about an egress.
pub type EgressAnswer = Result<EgressInfo, EgressRefusal>;

/// What becomes of somebody who shall be shown to a room: if he is not, he is given back.
pub type HostAnswer = Result<(), (ModerationRefusal, Box<Visit>)>;

/// What the server API is told.
pub type ModerationAnswer = Result<Ruling, ModerationRefusal>;

/// Why somebody was not let in.
pub enum JoinRefusal {
    /// By the room.
    Refused(ApiError),
    /// The room is over: ask a new one.
    RoomEnded(Box<Hello>),
}

/// The task of a room.
pub struct Actor {
    /// The room.
    pub room: Room,
    /// Where it began, and since when.
    pub placement: Placement,
    /// The media plane.
    pub sfu: Arc<Sfu>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// What comes in.
    pub inbox: mpsc::Receiver<Input>,
    /// What was in it and has been set aside, or came along with somebody.
    pub backlog: VecDeque<Input>,
    /// Writes the recording.
    pub scribe: Scribe,
    /// What the recorder says.
    pub said: mpsc::UnboundedReceiver<Said>,
    /// Where events go that others shall hear of.
    pub outbox: Outbox,
    /// Where egresses are written down.
    pub egresses: Arc<EgressBook>,
    /// Who waits for an answer.
    pub asked: Asked,
    /// Why it ends.
    pub end: RoomEndReason,
}

/// What has been shown of a room in the levels.
#[derive(Clone, Copy, Default)]
struct Counted {
    participants: usize,
    guests: usize,
    detached: usize,
}

/// Who waits for an answer.
#[derive(Default)]
pub struct Asked {
    last: u64,
    waiting: HashMap<AskId, oneshot::Sender<EgressAnswer>>,
    calling: HashMap<CallId, oneshot::Sender<CallAnswer>>,
}

impl Asked {
    fn wait(&mut self, reply: oneshot::Sender<EgressAnswer>) -> AskId {
        self.last += 1;
        self.waiting.insert(AskId(self.last), reply);
        AskId(self.last)
    }

    fn call(&mut self, reply: oneshot::Sender<CallAnswer>) -> CallId {
        self.last += 1;
        self.calling.insert(CallId(self.last), reply);
        CallId(self.last)
    }

    fn answer_call(&mut self, id: CallId, answer: CallAnswer) {
        if let Some(reply) = self.calling.remove(&id) {
            let _ = reply.send(answer); // or whoever called has gone
        }
    }

    fn answer(&mut self, id: AskId, answer: EgressAnswer) {
        if let Some(reply) = self.waiting.remove(&id) {
            let _ = reply.send(answer); // or whoever asked has gone
        }
    }
}

impl Actor {
    /// Runs until the room is over; its inbox is closed then.
    pub async fn run(mut self) {
        self.metrics.rise(Level::Rooms);
        let mut counted = Counted::default();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut goes_on = self.flush();
        while goes_on {
            if let Some(input) = self.backlog.pop_front() {
                goes_on = self.handle(input) && self.flush();
                continue;
            }
            goes_on = tokio::select! {
                input = self.inbox.recv() => match input {
                    Some(input) => self.handle(input),
                    None => false,
                },
                Some(said) = self.said.recv() => {
                    self.hear(said);
                    true
                }
                _ = tick.tick() => self.room.tick(Instant::now()),
                () = until(self.room.due()) => {
                    self.room.make_due_offers(Instant::now());
                    true
                }
            };
            goes_on &= self.flush();
            counted = self.count(counted);
        }
        self.end(counted).await;
    }

    fn handle(&mut self, input: Input) -> bool {
        let now = Instant::now();
        let workers = 0..self.sfu.workers() as u16;
        self.room
            .note_busy(workers.map(|worker| self.sfu.busy(WorkerId(worker))));
        match input {
            Input::Join(hello, reply) => {
                let outlet = hello.outlet.clone();
                let joined = self.room.join(now, *hello).map_err(JoinRefusal::Refused);
                // Whoever asked may have gone meanwhile.
                if let Err(Ok(key)) = reply.send(joined) {
                    self.room.lose(now, key, &outlet, Loss::Broken);
                }
            }
            Input::Resume(back, reply) => {
                let outlet = back.outlet.clone();
                let resumed = self.room.resume(now, *back);
                self.metrics.count(match resumed {
                    Some(_) => Count::Resumes,
                    None => Count::ResumesRefused,
                });
                if let Err(Some(key)) = reply.send(resumed) {
                    self.room.lose(now, key, &outlet, Loss::Broken);
                }
            }
            Input::Request(key, outlet, request) => {
                if self.room.is_in_session(key, &outlet) {
                    self.room.request(now, key, request);
                }
            }
            Input::Lost(key, outlet, loss) => self.room.lose(now, key, &outlet, loss),
            Input::Event(worker, event) => self.room.event(now, worker, event),
            Input::Flooded(transport) => self.room.flooded(now, transport),
            Input::StartEgress(ask, reply) => {
                let id = self.asked.wait(reply);
                self.room.start_egress(id, *ask);
            }
            Input::StopEgress(egress, reply) => {
                let id = self.asked.wait(reply);
                self.room.stop_egress(id, &egress);
            }
            Input::Moderate(asked, reply) => {
                let answer = self.room.moderate(now, *asked);
                let _ = reply.send(answer); // or whoever asked has gone
            }
            Input::Depart(identity, reply) => {
                let departed = self.room.depart(now, &identity);
                let departed = departed.map(|traveller| self.see_out(traveller));
                // The others hear of it, and the media plane, before the new room does anything.
                let goes_on = self.flush();
                let _ = reply.send(departed); // whoever moves him waits for him
                return goes_on;
            }
            Input::Arrive(arrival, reply) => {
                let (traveller, ticket) = *arrival;
                let backlog = self.room.arrive(now, traveller, ticket);
                self.backlog.extend(backlog);
                let goes_on = self.flush();
                let _ = reply.send(Ok(())); // or whoever moved him has gone
                return goes_on;
            }
            Input::Forward(identity, reply) => {
                let visit = self.room.forward(&identity);
                let _ = reply.send(visit); // or whoever asked has gone
            }
            Input::Host(visit, reply) => {
                let answer = self.room.host(now, visit);
                let _ = reply.send(answer); // or whoever asked has gone
            }
            Input::Call(asked, reply) => {
                let id = self.asked.call(reply);
                self.room.call(now, id, *asked);
            }
            Input::Dismiss(keys) => {
                let dismissed = self.room.dismiss(now, &keys);
                (0..dismissed).for_each(|_| self.metrics.count(Count::KeyRemovals));
            }
            Input::Delete(reply) => {
                self.finish(now, DisconnectReason::RoomDeleted, Action::Disconnect);
                let _ = reply.send(()); // or whoever asked has gone
                return false;
            }
            Input::ShutDown => {
                self.finish(now, DisconnectReason::ServerShutdown, Action::Reconnect);
                return false;
            }
        }
        true
    }

    /// What is still in the inbox of one who goes over to another room goes along.
    fn see_out(&mut self, mut traveller: Box<Traveller>) -> Box<Traveller> {
        traveller.note_epoch(self.placement.epoch);
        let key = traveller.key();
        let is_his = |input: &Input| match input {
            Input::Request(of, ..) | Input::Lost(of, ..) => *of == key,
            _ => false,
        };
        let inbox = &mut self.inbox;
        let waiting = self.backlog.drain(..);
        let waiting: Vec<Input> = waiting
            .chain(std::iter::from_fn(|| inbox.try_recv().ok()))
            .collect();
        let (his, others) = waiting.into_iter().partition(is_his);
        self.backlog = Vec::into(others);
        traveller.pack(his);
        traveller
    }

    /// Everybody must go.
    fn finish(&mut self, now: Instant, reason: DisconnectReason, action: Action) {
        self.end = end_reason(reason);
        self.room.shut_down(now, Removal::told(reason, action));
    }

    /// Hands the commands on, after what the recorder must know before the media plane acts. Says
    /// whether the room can go on.
    fn flush(&mut self) -> bool {
        let (told, later) = self.room.take_orders();
        self.carry_out(told);
        for (worker, command) in self.room.take_commands() {
            if !self.send(worker, command) {
                return false;
            }
        }
        let goes_on = self.carry_out(later);
        self.room.show_elsewhere();
        self.tell();
        goes_on
    }

    /// Carries out what the room has decided about its recording. Says whether the room can go on.
    fn carry_out(&mut self, orders: Vec<Order>) -> bool {
        orders.into_iter().all(|order| {
            let command = self.scribe.carry_out(&self.room, order);
            command.is_none_or(|(worker, command)| self.send(worker, command))
        })
    }

    /// Tells those who asked, and the outside, what has happened.
    fn tell(&mut self) {
        for (id, answer) in self.room.take_answers() {
            self.asked.answer(id, answer);
        }
        for (id, answer) in self.room.take_call_answers() {
            self.asked.answer_call(id, answer);
        }
        for event in self.room.take_notices() {
            if let Some(info) = &event.egress_info {
                self.egresses.put(info.clone());
            }
            let room = self.room.name().to_owned();
            self.outbox.put(Notice { room, event });
        }
    }

    fn send(&self, worker: WorkerId, command: Command) -> bool {
        let directive = Directive {
            room: self.room.id(),
            epoch: self.placement.epoch,
            command,
        };
        let is_sent = self.sfu.send(worker, directive).is_ok();
        if !is_sent {
            tracing::error!(room = %self.room.id(), "the media worker takes no more commands");
        }
        is_sent
    }

    fn hear(&mut self, said: Said) {
        let report = self.scribe.hear(said);
        self.room.report(Instant::now(), report);
    }

    /// Waits until the recording is closed, but not for ever.
    async fn close_recording(&mut self) {
        self.room.finish_recording();
        let deadline = tokio::time::Instant::now() + CLOSE_TIMEOUT;
        self.conclude();
        while self.room.is_recording() {
            match tokio::time::timeout_at(deadline, self.said.recv()).await {
                Ok(Some(said)) => self.hear(said),
                _ => {
                    tracing::error!(room = %self.room.id(), "the recorder does not close");
                    self.room.abandon_recording();
                }
            }
            self.conclude();
        }
        self.room.notify_room_finished(self.end);
        self.tell();
    }

    /// What is left to be recorded and told of a room that has ended in the media plane.
    fn conclude(&mut self) {
        let (told, later) = self.room.take_orders();
        self.carry_out(told);
        self.carry_out(later);
        self.tell();
    }

    fn count(&self, before: Counted) -> Counted {
        let now = Counted {
            participants: self.room.len() - self.room.guests(),
            guests: self.room.guests(),
            detached: self.room.detached(),
        };
        self.show(Level::Participants, before.participants, now.participants);
        self.show(Level::Guests, before.guests, now.guests);
        self.show(Level::SeatsDetached, before.detached, now.detached);
        now
    }

    fn show(&self, level: Level, before: usize, now: usize) {
        (before..now).for_each(|_| self.metrics.rise(level));
        (now..before).for_each(|_| self.metrics.fall(level));
    }

    async fn end(mut self, counted: Counted) {
        // Whoever comes now finds the inbox closed and asks for a new room.
        self.inbox.close();
        let waiting = std::mem::take(&mut self.backlog);
        let inbox = &mut self.inbox;
        let waiting = waiting
            .into_iter()
            .chain(std::iter::from_fn(|| inbox.try_recv().ok()));
        for input in waiting {
            match input {
                // Or nobody waits any more.
                Input::Join(hello, reply) => {
                    let _ = reply.send(Err(JoinRefusal::RoomEnded(hello)));
                }
                Input::Moderate(_, reply) => {
                    let _ = reply.send(Err(ModerationRefusal::Closing));
                }
                Input::Depart(_, reply) => {
                    let _ = reply.send(Err(ModerationRefusal::Closing));
                }
                Input::Arrive(arrival, reply) => {
                    let (traveller, _) = *arrival;
                    let _ = reply.send(Err(Box::new(traveller)));
                }
                Input::Forward(_, reply) => {
                    let _ = reply.send(Err(ModerationRefusal::Closing));
                }
                Input::Host(visit, reply) => {
                    let _ = reply.send(Err((ModerationRefusal::Closing, visit)));
                }
                Input::Call(_, reply) => {
                    let _ = reply.send(Err(CallRefusal::Closing));
                }
                Input::Delete(reply) => {
                    let _ = reply.send(());
                }
                Input::StartEgress(_, reply) | Input::StopEgress(_, reply) => {
                    let _ = reply.send(Err(EgressRefusal::Closing));
                }
                _ => {}
            }
        }
        let removal = Removal::told(DisconnectReason::RoomClosed, Action::Reconnect);
        self.room.shut_down(Instant::now(), removal);
        let _ = self.room.take_commands(); // closing the room does all of it
        for worker in self.room.workers() {
            self.send(worker, Command::CloseRoom);
        }
        self.count(counted);
        self.close_recording().await;
        self.metrics.fall(Level::Rooms);
    }
}
