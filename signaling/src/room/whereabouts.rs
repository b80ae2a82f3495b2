//! Where the requests of a session go: to the room that its participant is in.
//!
//! Most participants stay in the room that they have joined, and their session knows its inbox. One who
//! goes over to another room is between the two for a moment; what his client asks for then is held
//! back and handed to the new room when he arrives, before anything that comes later. So nothing is
//! lost, nothing is overtaken, and no session needs to know of rooms.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::mpsc::{Permit, Sender};

use super::actor::Input;
use crate::token::Grants;

/// Requests that are held back. A participant is between two rooms for milliseconds; a client that asks
/// for so much meanwhile loses its session.
const HELD_MAX: usize = 256;

/// Where the participant of a session is.
#[derive(Default)]
pub struct Whereabouts(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where he has gone to, and what he may do there; `None`: he is where he has joined.
    gone_to: Option<(Sender<Input>, Grants)>,
    /// What is held back, while he is between two rooms.
    held: Option<Vec<Input>>,
}

impl Whereabouts {
    /// He has left a room and is not yet in another one.
    pub fn depart(&self) {
        self.lock().held = Some(Vec::new());
    }

    /// He is in the room with this inbox, which gets what was held back.
    pub fn arrive(&self, inbox: Sender<Input>, grants: Grants) -> Vec<Input> {
        let mut state = self.lock();
        state.gone_to = Some((inbox, grants));
        state.held.take().unwrap_or_default()
    }

    /// He arrives nowhere.
    pub fn abandon(&self) {
        let held = self.lock().held.take();
        drop(held);
    }

    /// The inbox of the room that he has gone to, if he has.
    pub fn inbox(&self) -> Option<Sender<Input>> {
        let state = self.lock();
        state.gone_to.as_ref().map(|(inbox, _)| inbox.clone())
    }

    /// What he may do in the room that he has gone to, if he has.
    pub fn grants(&self) -> Option<Grants> {
        let state = self.lock();
        state.gone_to.as_ref().map(|(_, grants)| grants.clone())
    }

    /// Puts something into an inbox where a place has been found, or none because that room is over;
    /// or keeps it. Says whether it will be heard. It comes back if he has gone elsewhere meanwhile.
    pub fn put(
        &self,
        inbox: &Sender<Input>,
        place: Option<Permit<'_, Input>>,
        input: Input,
    ) -> Result<bool, Box<Input>> {
        let mut state = self.lock();
        if let Some(held) = &mut state.held {
            let fits = held.len() < HELD_MAX;
            if fits {
                held.push(input);
            }
            return Ok(fits);
        }
        if let Some((now, _)) = &state.gone_to
            && !now.same_channel(inbox)
        {
            return Err(Box::new(input));
        }
        // Still under the lock: whoever takes him out of this room finds all of his there.
        Ok(place.map(|place| place.send(input)).is_some())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is locked")
    }
}

impl fmt::Debug for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whereabouts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{self, Receiver};

    use super::*;

    fn name(input: Input) -> String {
        match input {
            Input::StopEgress(name, _) => name,
            _ => panic!("not what was put in"),
        }
    }

    fn input(name: &str) -> Input {
        let (reply, _) = tokio::sync::oneshot::channel();
        Input::StopEgress(name.to_owned(), reply)
    }

    fn said(inbox: &mut Receiver<Input>) -> Vec<String> {
        std::iter::from_fn(|| inbox.try_recv().ok())
            .map(name)
            .collect()
    }

    fn put(here: &Whereabouts, inbox: &Sender<Input>, name: &str) -> Result<bool, Box<Input>> {
        here.put(inbox, inbox.try_reserve().ok(), input(name))
    }

    #[test]
    fn what_is_asked_between_two_rooms_comes_first_in_the_new_one() {
        let ((old, mut heard), (new, mut later)) = (mpsc::channel(8), mpsc::channel(8));
        let here = Whereabouts::default();
        assert!(put(&here, &old, "before").is_ok_and(|is_in| is_in));
        here.depart();
        assert!(put(&here, &old, "meanwhile").is_ok_and(|is_in| is_in));
        let held = here.arrive(new.clone(), Grants::default());
        let held: Vec<String> = held.into_iter().map(name).collect();
        assert_eq!(
            (said(&mut heard), held),
            (vec!["before".into()], vec!["meanwhile".into()])
        );
        let back = put(&here, &old, "late").expect_err("he is not there any more");
        assert_eq!(name(*back), "late");
        assert!(here.inbox().is_some_and(|inbox| inbox.same_channel(&new)));
        assert!(put(&here, &new, "after").is_ok_and(|is_in| is_in));
        assert_eq!(said(&mut later), ["after"]);
    }

    #[test]
    fn a_room_that_is_over_hears_nothing_and_what_is_held_is_bounded() {
        let (inbox, heard) = mpsc::channel(8);
        let here = Whereabouts::default();
        drop(heard);
        assert!(put(&here, &inbox, "nobody").is_ok_and(|is_in| !is_in));
        here.depart();
        for _ in 0..HELD_MAX {
            assert!(put(&here, &inbox, "waits").is_ok_and(|is_in| is_in));
        }
        assert!(put(&here, &inbox, "too much").is_ok_and(|is_in| !is_in));
        here.abandon();
        assert!(put(&here, &inbox, "nobody").is_ok_and(|is_in| !is_in));
    }
}
