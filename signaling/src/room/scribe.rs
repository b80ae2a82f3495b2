//! Carries out what a room decides about its recording.
//!
//! The recorder blocks and knows no rooms; the room knows no recorder. Between them stands this: it
//! turns orders into calls on threads where blocking hurts nobody, and what the recorder says into
//! reports for the room's task. Without an archive every recording is refused, in plain words.

use sfu::id::WorkerId;
use sfu::shard::command::Command;
use tokio::sync::mpsc;

use super::Room;
use super::recording::{Order, Report};

/// Writes the recording of one room.
pub struct Scribe {
    reports: mpsc::UnboundedSender<Report>,
}

impl Scribe {
    /// Nothing is recorded yet. Reports go to the returned end.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (reports, told) = mpsc::unbounded_channel();
        (Self { reports }, told)
    }

    /// Does what the room wants. Returns what the media plane must be told for it.
    pub fn carry_out(&mut self, _room: &Room, order: Order) -> Option<(WorkerId, Command)> {
        match order {
            Order::Begin(_) => self.report(Report::Refused {
                is_full: false,
                text: "recording is not set up on this server".to_owned(),
            }),
            Order::Stop(_) => self.report(Report::Closed),
            Order::Attach(_) | Order::Tell(..) => {}
        }
        None
    }

    fn report(&self, report: Report) {
        // The room's task outlives its scribe.
        let _ = self.reports.send(report);
    }
}
