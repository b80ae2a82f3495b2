//! A room's task: one inbox in, commands to the media plane out.
//!
//! Everything that concerns a room comes through its inbox, one thing after the other, so the room
//! itself needs no locks. The inbox is bounded; sessions wait for a place in it, the media plane's
//! events never do. A room that cannot hand its commands on ends, rather than go on with media that
//! differs from what clients were told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sfu::handle::Sfu;
use sfu::id::{TransportId, WorkerId};
use sfu::shard::command::Directive;
use sfu::shard::event::EventKind;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::participant::{Hello, ParticipantKey};
use super::requests::Request;
use super::{Removal, Room};
use crate::error::ApiError;
use crate::metrics::{Level, Metrics};
use crate::placement::Placement;
use crate::wire::proto::DisconnectReason;
use crate::wire::proto::leave_request::Action;

/// Time-outs are a matter of seconds; changes of the head count are told this often.
const TICK: Duration = Duration::from_millis(250);

/// Something for a room.
pub enum Input {
    /// Somebody asks to be let in.
    Join(
        Box<Hello>,
        oneshot::Sender<Result<ParticipantKey, JoinRefusal>>,
    ),
    /// A participant asks for something.
    Request(ParticipantKey, Request),
    /// The socket of a participant broke.
    Lost(ParticipantKey),
    /// A worker of the media plane reports something.
    Event(WorkerId, EventKind),
    /// A participant sent more data than the inbox could take.
    Flooded(TransportId),
    /// The server is going down.
    ShutDown,
}

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
}

impl Actor {
    /// Runs until the room is over; its inbox is closed then.
    pub async fn run(mut self) {
        self.metrics.rise(Level::Rooms);
        let mut counted = 0;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut goes_on = self.flush();
        while goes_on {
            goes_on = tokio::select! {
                input = self.inbox.recv() => match input {
                    Some(input) => self.handle(input),
                    None => false,
                },
                _ = tick.tick() => self.room.tick(Instant::now()),
            };
            goes_on &= self.flush();
            counted = self.count(counted);
        }
        self.end(counted);
    }

    fn handle(&mut self, input: Input) -> bool {
        let now = Instant::now();
        let workers = 0..self.sfu.workers() as u16;
        self.room
            .note_busy(workers.map(|worker| self.sfu.busy(WorkerId(worker))));
        match input {
            Input::Join(hello, reply) => {
                let joined = self.room.join(now, *hello).map_err(JoinRefusal::Refused);
                // Whoever asked may have gone meanwhile.
                if let Err(Ok(key)) = reply.send(joined) {
                    self.room.lose(now, key);
                }
            }
            Input::Request(key, request) => self.room.request(now, key, request),
            Input::Lost(key) => self.room.lose(now, key),
            Input::Event(worker, event) => self.room.event(now, worker, event),
            Input::Flooded(transport) => self.room.flooded(now, transport),
            Input::ShutDown => {
                let removal = Removal::told(DisconnectReason::ServerShutdown, Action::Reconnect);
                self.room.shut_down(now, removal);
                return false;
            }
        }
        true
    }

    /// Hands the commands on. Says whether the room can go on.
    fn flush(&mut self) -> bool {
        for (worker, command) in self.room.take_commands() {
            let directive = Directive {
                room: self.room.id(),
                epoch: self.placement.epoch,
                command,
            };
            if self.sfu.send(worker, directive).is_err() {
                tracing::error!(room = %self.room.id(), "the media worker takes no more commands");
                return false;
            }
        }
        true
    }

    fn count(&self, before: usize) -> usize {
        let now = self.room.len();
        (before..now).for_each(|_| self.metrics.rise(Level::Participants));
        (now..before).for_each(|_| self.metrics.fall(Level::Participants));
        now
    }

    fn end(mut self, counted: usize) {
        // Whoever comes now finds the inbox closed and asks for a new room.
        self.inbox.close();
        while let Ok(input) = self.inbox.try_recv() {
            if let Input::Join(hello, reply) = input {
                let _ = reply.send(Err(JoinRefusal::RoomEnded(hello))); // or nobody waits any more
            }
        }
        let removal = Removal::told(DisconnectReason::RoomClosed, Action::Reconnect);
        self.room.shut_down(Instant::now(), removal);
        let _ = self.room.take_commands(); // closing the room does all of it
        for worker in self.room.workers() {
            let directive = Directive {
                room: self.room.id(),
                epoch: self.placement.epoch,
                command: sfu::shard::command::Command::CloseRoom,
            };
            if self.sfu.send(worker, directive).is_err() {
                tracing::error!(room = %self.room.id(), "a room stays behind in the media plane");
            }
        }
        self.count(counted);
        self.metrics.fall(Level::Rooms);
    }
}
