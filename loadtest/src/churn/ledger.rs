//! What a receiver makes of webhooks, and whether it adds up: each event once by its id, each
//! beginning with its end, in the order in which things happen in a room.
//!
//! Pure: events come in as they were delivered, repetitions included; faults come out as sentences.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

/// Faults that are kept; more say no more.
const FAULTS_MAX: usize = 50;

/// A room as its events tell it.
#[derive(Debug, Default)]
struct Room {
    is_over: bool,
    last_at: i64,
    /// Who is in it, and which of their tracks are.
    seats: BTreeMap<String, BTreeSet<String>>,
}

/// Everything that was delivered.
#[derive(Debug, Default)]
pub(super) struct Book {
    seen: HashMap<String, Value>,
    rooms: HashMap<String, Room>,
    /// Seats that were ever told of, and whether they were in.
    seats: HashMap<String, bool>,
    /// Events by what they are about, with their ids: no two may be about the same.
    effects: HashMap<(String, String), String>,
    /// Events that came again under their own id.
    pub(super) repeated: u64,
    faults: Vec<String>,
}

impl Book {
    /// Notes something that must not be.
    pub(super) fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// How many events there have been, repetitions not counted.
    pub(super) fn events(&self) -> usize {
        self.seen.len()
    }

    /// Rooms that were told of, and those of them that are not over.
    pub(super) fn rooms(&self) -> (usize, usize) {
        let open = self.rooms.values().filter(|room| !room.is_over).count();
        (self.rooms.len(), open)
    }

    /// Takes a delivery.
    pub(super) fn take(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, kind) = (text(&event["id"]), text(&event["event"]));
        if let Some(before) = self.seen.get(&id) {
            self.repeated += 1;
            if before != event {
                self.fault(format!("{id} came again as something else"));
            }
            return;
        }
        self.seen.insert(id.clone(), event.clone());
        let room = text(&event["room"]["sid"]);
        let seat = text(&event["participant"]["sid"]);
        let track = text(&event["track"]["sid"]);
        let about = format!("{room} {seat} {track}");
        if let Some(first) = self
            .effects
            .insert((kind.clone(), about.clone()), id.clone())
        {
            self.fault(format!("{kind} of {about} as {first} and as {id}"));
        }
        let at = &event["createdAt"];
        let at = at.as_i64().or_else(|| at.as_str()?.parse().ok());
        if let Err(why) = self.happen(&kind, &room, &seat, &track, at.unwrap_or_default()) {
            self.fault(format!("{kind} of {about}: {why}"));
        }
    }

    fn happen(
        &mut self,
        kind: &str,
        room: &str,
        seat: &str,
        track: &str,
        at: i64,
    ) -> Result<(), &'static str> {
        if kind == "room_started" {
            self.rooms.insert(room.to_owned(), Room::default());
            return Ok(());
        }
        let room = self.rooms.get_mut(room).ok_or("before its room")?;
        if room.is_over {
            return Err("after its room");
        }
        if at < room.last_at {
            return Err("earlier than what came before it");
        }
        room.last_at = at;
        match kind {
            "room_finished" => {
                room.is_over = true;
                let is_empty = room.seats.is_empty();
                is_empty.then_some(()).ok_or("with people inside")
            }
            "participant_joined" => {
                self.seats.insert(seat.to_owned(), true);
                room.seats.insert(seat.to_owned(), BTreeSet::new());
                Ok(())
            }
            "participant_left" => {
                let tracks = room.seats.remove(seat).ok_or("who was not in")?;
                let is_empty = tracks.is_empty();
                is_empty.then_some(()).ok_or("with tracks left behind")
            }
            "participant_connection_aborted" => {
                self.seats.entry(seat.to_owned()).or_insert(false);
                let was_in = room.seats.remove(seat).is_some();
                (!was_in).then_some(()).ok_or("who was in")
            }
            "track_published" => {
                let tracks = room.seats.get_mut(seat).ok_or("of who was not in")?;
                tracks.insert(track.to_owned());
                Ok(())
            }
            "track_unpublished" => {
                let tracks = room.seats.get_mut(seat).ok_or("of who was not in")?;
                tracks.remove(track).then_some(()).ok_or("never published")
            }
            _ => Err("unknown"),
        }
    }

    /// What is wrong when all is over: `seated` were in for certain.
    pub(super) fn faults<'a>(&self, seated: impl Iterator<Item = &'a String>) -> Vec<String> {
        let mut faults = self.faults.clone();
        for (sid, room) in self.rooms.iter().filter(|(_, room)| !room.is_over) {
            faults.push(format!(
                "{sid} has no end, with {} inside",
                room.seats.len()
            ));
        }
        let untold = seated.filter(|sid| self.seats.get(*sid) != Some(&true));
        faults.extend(untold.map(|sid| format!("{sid} was in, and no event says so")));
        faults.truncate(FAULTS_MAX);
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: u32, kind: &str, seat: &str, track: &str, at: i64) -> Value {
        json!({
            "id": format!("EV_{id}"), "event": kind, "createdAt": at.to_string(),
            "room": { "sid": "RM_1" }, "participant": { "sid": seat }, "track": { "sid": track },
        })
    }

    fn story() -> Vec<Value> {
        vec![
            event(0, "room_started", "", "", 1),
            event(1, "participant_joined", "PA_1", "", 1),
            event(2, "track_published", "PA_1", "TR_1", 2),
            event(3, "track_unpublished", "PA_1", "TR_1", 3),
            event(4, "participant_left", "PA_1", "", 3),
            event(5, "participant_connection_aborted", "PA_2", "", 3),
            event(6, "room_finished", "", "", 9),
        ]
    }

    fn faults_of(story: &[Value]) -> Vec<String> {
        let mut book = Book::default();
        story.iter().for_each(|event| book.take(event));
        book.faults([&"PA_1".to_owned()].into_iter())
    }

    #[test]
    fn a_whole_story_is_good_however_often_it_is_told() {
        let twice: Vec<Value> = story().into_iter().flat_map(|e| [e.clone(), e]).collect();
        assert_eq!(faults_of(&twice), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_or_in_another_order_is_found() {
        for missing in [0, 1, 2, 3, 4, 6] {
            let mut story = story();
            story.remove(missing);
            assert_ne!(faults_of(&story), Vec::<String>::new(), "without {missing}");
        }
        for first in [0, 1, 2, 3] {
            let mut story = story();
            story.swap(first, first + 1);
            assert_ne!(faults_of(&story), Vec::<String>::new(), "{first} later");
        }
    }

    #[test]
    fn the_same_happens_once() {
        let mut again = story();
        again.insert(2, event(7, "participant_joined", "PA_1", "", 1));
        assert!(faults_of(&again)[0].contains("EV_1 and as EV_7"));
        let mut other = story();
        other.push(event(6, "room_finished", "", "", 10));
        assert!(faults_of(&other)[0].contains("came again as something else"));
    }
}
