//! The sessions of encoders: participants whose session is a resource of HTTP instead of a WebSocket.
//!
//! A session owns its seat in the room and is found by a name that nobody guesses. What the room says
//! is read by a task, of which only answers are passed on; when the room has ended the session the
//! task takes it off the books. Time-outs are the media plane's: an encoder that is gone sends no
//! consent.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use axum::http::StatusCode;
use dashmap::DashMap;
use sfu::transport::params::IceCredentials;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::time::timeout;

use super::problem::Problem;
use crate::metrics::{Level, Metrics};
use crate::registry::Seat;
use crate::room::outlet::{Item, Outlet};
use crate::room::requests::Request;
use crate::sdp::Offer;
use crate::sid;
use crate::token::Verified;
use crate::wire::proto::signal_request::Message as Asked;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{IceServer, LeaveRequest, SessionDescription};

/// A room answers an offer within milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// One restart at a time is under way.
const ANSWERS_MAX: usize = 1;

/// All sessions of encoders.
#[derive(Default)]
pub struct Sessions(DashMap<String, Arc<Session>>);

/// Who holds a session.
pub(super) struct Holder {
    token: [u8; 32],
    key: String,
    identity: String,
    room: String,
}

/// One session.
pub(super) struct Session {
    holder: Holder,
    seat: Seat,
    live: Mutex<Live>,
}

/// What changes with a restart.
pub(super) struct Live {
    /// The last offer.
    pub(super) offer: Offer,
    /// Names the generation of ICE.
    pub(super) tag: String,
    offers: u32,
    answers: mpsc::Receiver<SessionDescription>,
}

/// What an encoder that was let in is told.
pub(super) struct Opened {
    /// The answer.
    pub(super) sdp: String,
    /// The name of the session.
    pub(super) id: String,
    /// Names the generation of ICE.
    pub(super) tag: String,
    /// Relays that the room told of.
    pub(super) ice_servers: Vec<IceServer>,
}

impl Holder {
    /// The holder of a good token.
    pub(super) fn new(token: &str, verified: &Verified) -> Self {
        Self {
            token: hash(token),
            key: verified.key.clone(),
            identity: verified.grants.identity.clone(),
            room: verified.grants.video.room.clone(),
        }
    }

    /// Whether this is the very token that opened the session. It may have expired meanwhile: as
    /// with a WebSocket, whoever is in stays in until he is taken out.
    pub(super) fn is_by(&self, token: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.token, &hash(token)).is_ok()
    }

    /// Whether another good token is for the same participant of the same room, by the same key.
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.key, &self.identity, &self.room) == (&other.key, &other.identity, &other.room)
    }
}

fn hash(token: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Sessions {
    /// Puts a session on the books once the room has answered its first offer.
    pub(super) async fn open(
        self: &Arc<Self>,
        metrics: &Arc<Metrics>,
        holder: Holder,
        offer: Offer,
        seat: Seat,
    ) -> Result<Opened, Problem> {
        let first = timeout(ANSWER_TIMEOUT, first_answer(&seat.outlet)).await;
        let Ok(Some((sdp, ice_servers))) = first else {
            bid_farewell(&seat).await;
            let why = "the room ended the session before it began";
            return Err(Problem::new(StatusCode::CONFLICT, why));
        };
        let (id, tag) = (sid::session_name(), sid::session_name());
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let outlet = seat.outlet.clone();
        let live = Live {
            offer,
            tag: tag.clone(),
            offers: 1,
            answers,
        };
        let session = Session {
            holder,
            seat,
            live: Mutex::new(live),
        };
        self.0.insert(id.clone(), Arc::new(session));
        metrics.rise(Level::WhipSessions);
        let (books, metrics) = (Arc::clone(self), Arc::clone(metrics));
        let name = id.clone();
        tokio::spawn(async move {
            listen(&outlet, &sender).await;
            books.0.remove(&name);
            metrics.fall(Level::WhipSessions);
        });
        Ok(Opened {
            sdp,
            id,
            tag,
            ice_servers,
        })
    }

    /// The session of this name, if there is one.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.0.get(id).map(|session| Arc::clone(&session))
    }
}

impl Session {
    /// Who holds it.
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// What is true of it now, for one request at a time.
    pub(super) fn now(&self) -> Result<MutexGuard<'_, Live>, Problem> {
        self.live.try_lock().map_err(|_| {
            let why = "another request changes this session just now";
            Problem::new(StatusCode::CONFLICT, why)
        })
    }

    /// Has ICE restarted with the encoder's fresh credentials. Returns our answer.
    pub(super) async fn restart(
        &self,
        live: &mut Live,
        ice: IceCredentials,
    ) -> Result<String, Problem> {
        let offer = Offer {
            ice,
            ..live.offer.clone()
        };
        live.offers += 1;
        let request = Request::Offer(Box::new(offer.clone()), live.offers);
        if !self.seat.ask(request).await {
            return Err(Problem::no_session());
        }
        let answered = timeout(ANSWER_TIMEOUT, async {
            loop {
                match live.answers.recv().await {
                    Some(answer) if answer.id == live.offers => return Some(answer.sdp),
                    // Of an earlier one, for which nobody waited any more.
                    Some(_) => {}
                    None => return None,
                }
            }
        });
        let sdp = answered.await.ok().flatten().ok_or(Problem::no_session())?;
        live.offer = offer;
        live.tag = sid::session_name();
        Ok(sdp)
    }

    /// The encoder ends it. The task of the session takes it off the books.
    pub(super) async fn end(&self) {
        bid_farewell(&self.seat).await;
    }
}

async fn bid_farewell(seat: &Seat) {
    let goodbye = Asked::Leave(LeaveRequest::default());
    // A room that is over needs no goodbye.
    seat.ask(Request::Signal(Box::new(goodbye))).await;
}

/// The answer to the offer that came with the join, and the relays that were told of before.
async fn first_answer(outlet: &Outlet) -> Option<(String, Vec<IceServer>)> {
    let mut ice_servers = Vec::new();
    while let Item::Message(response) = outlet.next().await {
        match response.message {
            Some(Message::Join(join)) => ice_servers = join.ice_servers,
            Some(Message::Answer(answer)) => return Some((answer.sdp, ice_servers)),
            // What else a room tells its people is nothing to an encoder.
            _ => {}
        }
    }
    None
}

/// Passes answers on until the room has ended the session.
async fn listen(outlet: &Outlet, answers: &mpsc::Sender<SessionDescription>) {
    while let Item::Message(response) = outlet.next().await {
        if let Some(Message::Answer(answer)) = response.message {
            // One for which nobody waits is not needed.
            let _ = answers.try_send(answer);
        }
    }
}
