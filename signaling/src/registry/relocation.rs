//! Moving a participant from one room to another while his connection goes on.
//!
//! Four steps, each decided by the room that it concerns: can he go, is there a place for him, he
//! leaves, he arrives. The first two change nothing that he would notice. From the third on there is
//! no way back: if the new room ends under his feet another one is made, and if there can be none his
//! client is told to join anew. Nobody is ever in two rooms, and nobody is left in none.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sfu::shard::command::{Command, Directive};
use tokio::sync::{mpsc, oneshot};

use super::{JOIN_ATTEMPTS_MAX, Registry, moderate};
use crate::error::ApiError;
use crate::room::actor::Input;
use crate::room::moderation::{Moderation, ModerationRefusal};
use crate::room::participant::Path;
use crate::room::passage::{Ticket, Traveller};
use crate::token::Keyring;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::{DisconnectReason, MoveParticipantRequest};

/// How long the token is good that is handed out with a move; its session refreshes it long before.
const TOKEN_TTL: Duration = Duration::from_secs(600);

impl Registry {
    /// Moves a participant to another room, which is made if need be and allowed.
    pub async fn relocate(
        self: &Arc<Self>,
        keyring: &Arc<Keyring>,
        asked: MoveParticipantRequest,
    ) -> Result<(), ApiError> {
        let (registry, keyring) = (Arc::clone(self), Arc::clone(keyring));
        // Whoever asked may hang up, and nobody must be left between two rooms.
        let moving = tokio::spawn(async move { registry.carry_over(&keyring, asked).await });
        moving.await.map_err(|_| ApiError::Internal)?
    }

    async fn carry_over(
        self: &Arc<Self>,
        keyring: &Keyring,
        asked: MoveParticipantRequest,
    ) -> Result<(), ApiError> {
        let MoveParticipantRequest {
            room,
            identity,
            destination_room: destination,
        } = asked;
        let survey = Moderation::Survey(identity.clone());
        self.moderate(&room, survey).await?;
        let inbox = self.expect(&destination, &identity).await?;
        match self.take_out(&room, identity.clone()).await {
            Ok(traveller) => self.bring(keyring, *traveller, &destination).await,
            Err(refusal) => {
                // Or that room is over, and with it what it expects.
                let _ = moderate(&inbox, Moderation::ExpectNoMore(identity)).await;
                Err(refusal.into())
            }
        }
    }

    /// Has a place kept in a room. Returns its inbox.
    async fn expect(
        self: &Arc<Self>,
        room: &str,
        identity: &str,
    ) -> Result<mpsc::Sender<Input>, ApiError> {
        for _ in 0..JOIN_ATTEMPTS_MAX {
            let handle = self.find_or_open(room)?;
            let asked = Moderation::Expect(identity.to_owned());
            match moderate(&handle.inbox, asked).await {
                Ok(_) => return Ok(handle.inbox),
                Err(ModerationRefusal::Closing) => self.forget(room, handle.id),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(ApiError::Internal)
    }

    async fn take_out(
        &self,
        room: &str,
        identity: String,
    ) -> Result<Box<Traveller>, ModerationRefusal> {
        let inbox = self.inbox(room).ok_or(ModerationRefusal::NoRoom)?;
        let (reply, departed) = oneshot::channel();
        let sent = inbox.send(Input::Depart(identity, reply)).await;
        sent.map_err(|_| ModerationRefusal::Closing)?;
        departed.await.map_err(|_| ModerationRefusal::Closing)?
    }

    /// Brings somebody into a room who has left another one.
    async fn bring(
        self: &Arc<Self>,
        keyring: &Keyring,
        mut traveller: Traveller,
        room: &str,
    ) -> Result<(), ApiError> {
        let grants = traveller.grants_for(room);
        let token = match keyring.mint(traveller.api_key(), &grants, TOKEN_TTL) {
            Ok(token) => token,
            Err(error) => {
                // The key with which he came is gone.
                let reason = DisconnectReason::ParticipantRemoved;
                self.strand(&traveller, reason, Action::Disconnect);
                return Err(error.into());
            }
        };
        for _ in 0..JOIN_ATTEMPTS_MAX {
            let handle = match self.find_or_open(room) {
                Ok(handle) => handle,
                Err(error) => {
                    self.strand(&traveller, DisconnectReason::RoomClosed, Action::Reconnect);
                    return Err(error);
                }
            };
            let ticket = Ticket {
                inbox: handle.inbox.clone(),
                grants: grants.clone(),
                token: token.clone(),
                expires_at: SystemTime::now() + TOKEN_TTL,
            };
            let (reply, arrived) = oneshot::channel();
            let arrival = Input::Arrive(Box::new((traveller, ticket)), reply);
            let back = match handle.inbox.send(arrival).await {
                Ok(()) => match arrived.await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(back)) => *back,
                    // A bug that has ended the room has ended him with it.
                    Err(_) => return Err(ApiError::Internal),
                },
                Err(mpsc::error::SendError(Input::Arrive(arrival, _))) => arrival.0,
                Err(_) => return Err(ApiError::Internal),
            };
            traveller = back;
            self.forget(room, handle.id);
        }
        self.strand(&traveller, DisconnectReason::RoomClosed, Action::Reconnect);
        Err(ModerationRefusal::Closing.into())
    }

    /// Tells somebody to go who arrives nowhere, and the media plane to forget him.
    fn strand(&self, traveller: &Traveller, reason: DisconnectReason, action: Action) {
        traveller.strand(reason, action);
        self.port.withdraw(traveller.sid());
        let (room, epoch, paths) = traveller.paths();
        for Path { worker, transport } in paths {
            let command = Command::RemoveTransport { transport };
            let directive = Directive {
                room,
                epoch,
                command,
            };
            if self.sfu.send(worker, directive).is_err() {
                tracing::error!(%room, "a transport stays behind in the media plane");
            }
        }
    }
}
