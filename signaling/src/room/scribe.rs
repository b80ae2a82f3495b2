//! Carries out what a room decides about its recording.
//!
//! The archive blocks and knows no rooms; the room knows no archive. Between them stands this: it
//! begins recordings on a thread where waiting for a disk hurts nobody, hands facts and taps on, and
//! turns what the recorder says into reports for the room's task. Without an archive every recording
//! is refused, in plain words.

use std::sync::Arc;

use recorder::archive::{Archive, Begin, BeginError};
use recorder::header;
use recorder::recording::{self, Recording};
use sfu::id::WorkerId;
use sfu::shard::command::Command;
use sfu::tap::{PICTURE_MAX, TapMemory};
use tokio::sync::mpsc;

use super::Room;
use super::recording::{Order, Report};
use crate::consent::Policy;

/// Where recordings are begun.
#[derive(Clone, Debug)]
pub struct Desk {
    /// All recordings of this server.
    pub archive: Arc<Archive>,
    /// What packets that wait for a disk may take of the process's memory.
    pub memory: TapMemory,
}

/// Something that the archive or a recording says.
#[derive(Debug)]
pub enum Said {
    /// The recording has begun.
    Begun(Recording),
    /// It has not.
    Refused(BeginError),
    /// There is no archive.
    NoArchive,
    /// A recording reports.
    Reported(recording::Report),
    /// A worker cannot be recorded; the name of the bound that is reached.
    NoTap(&'static str),
}

/// Writes the recording of one room.
pub struct Scribe {
    desk: Option<Desk>,
    recording: Option<Recording>,
    /// It was to be stopped before it had begun.
    stop: Option<&'static str>,
    said: mpsc::UnboundedSender<Said>,
}

impl Scribe {
    /// Nothing is recorded yet. What is said comes out at the returned end and is to be given to
    /// [`hear`](Self::hear).
    pub fn new(desk: Option<Desk>) -> (Self, mpsc::UnboundedReceiver<Said>) {
        // As many as there are tickets and changes of state: a few for each participant.
        let (said, heard) = mpsc::unbounded_channel();
        let scribe = Self {
            desk,
            recording: None,
            stop: None,
            said,
        };
        (scribe, heard)
    }

    /// Does what the room wants. Returns what the media plane must be told for it.
    pub fn carry_out(&mut self, room: &Room, order: Order) -> Option<(WorkerId, Command)> {
        match order {
            Order::Begin(policy) => self.begin(room, policy),
            Order::Attach(worker) => return self.attach(worker),
            Order::Tell(fact, ticket) => {
                if let Some(recording) = &self.recording {
                    recording.tell(fact, ticket);
                }
            }
            Order::Stop(reason) => match &self.recording {
                Some(recording) => recording.stop(reason),
                None => self.stop = Some(reason),
            },
        }
        None
    }

    fn begin(&mut self, room: &Room, policy: Policy) {
        self.stop = None;
        let Some(desk) = self.desk.clone() else {
            return self.say(Said::NoArchive);
        };
        let begin = Begin {
            room_name: room.name().to_owned(),
            room_sid: room.sid().to_owned(),
            owner: room.owner().to_owned(),
            policy: match policy {
                Policy::Must => header::Policy::Must,
                Policy::WithConsent | Policy::Never => header::Policy::WithConsent,
            },
            class: None,
            memory: desk.memory.recording(),
        };
        let said = self.said.clone();
        tokio::task::spawn_blocking(move || {
            // A room that has gone meanwhile leaves a recording that the archive finishes.
            let _ = said.send(match desk.archive.begin(begin) {
                Ok(recording) => Said::Begun(recording),
                Err(error) => Said::Refused(error),
            });
        });
    }

    fn attach(&self, worker: WorkerId) -> Option<(WorkerId, Command)> {
        match self.recording.as_ref()?.tap() {
            Ok(tap) => {
                let tap = Box::new(tap);
                let picture_max = PICTURE_MAX;
                Some((worker, Command::AttachTap { tap, picture_max }))
            }
            Err(limit) => {
                self.say(Said::NoTap(limit));
                None
            }
        }
    }

    fn say(&self, said: Said) {
        // The room's task outlives its scribe.
        let _ = self.said.send(said);
    }

    /// What it means for the room.
    pub fn hear(&mut self, said: Said) -> Report {
        match said {
            Said::Begun(recording) => self.begun(recording),
            Said::Refused(error) => Report::Refused {
                is_full: matches!(error, BeginError::NoSpace),
                text: error.to_string(),
            },
            Said::NoArchive => Report::Refused {
                is_full: false,
                text: "recording is not set up on this server".to_owned(),
            },
            Said::Reported(report) => self.reported(report),
            Said::NoTap(limit) => Report::Interrupted(format!("{limit} is exceeded")),
        }
    }

    fn begun(&mut self, recording: Recording) -> Report {
        let said = self.said.clone();
        recording.subscribe(Box::new(move |report| {
            // A room that has gone needs no telling.
            let _ = said.send(Said::Reported(report));
        }));
        if let Some(reason) = self.stop.take() {
            recording.stop(reason);
        }
        let name = recording.id().to_string();
        self.recording = Some(recording);
        Report::Begun { recording: name }
    }

    fn reported(&mut self, report: recording::Report) -> Report {
        match report {
            recording::Report::Durable(ticket) => Report::Durable(ticket),
            recording::Report::Interrupted(why) => Report::Interrupted(why.to_string()),
            recording::Report::Resumed => Report::Resumed,
            recording::Report::Closed => {
                self.recording = None;
                Report::Closed
            }
        }
    }
}
