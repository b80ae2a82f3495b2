//! Showing a participant to another room while he stays in his own.
//!
//! Two steps, each decided by the room that it concerns: can he be shown, and does the other one take
//! him. Between them go the ends of what the two will tell each other; wherever they are dropped, he is
//! shown no more, so nothing is left to be undone whatever happens on the way.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{JOIN_ATTEMPTS_MAX, Registry};
use crate::error::ApiError;
use crate::room::actor::Input;
use crate::room::forwarding::Visit;
use crate::room::moderation::ModerationRefusal;
use crate::wire::proto::ForwardParticipantRequest;

impl Registry {
    /// Shows a participant to another room, which is made if need be and allowed.
    pub async fn forward(
        self: &Arc<Self>,
        asked: ForwardParticipantRequest,
    ) -> Result<(), ApiError> {
        let ForwardParticipantRequest {
            room,
            identity,
            destination_room: destination,
        } = asked;
        let mut visit = Box::new(self.send_out(&room, identity).await?);
        for _ in 0..JOIN_ATTEMPTS_MAX {
            let handle = self.find_or_open(&destination)?;
            let (reply, hosted) = oneshot::channel();
            let sent = handle.inbox.send(Input::Host(visit, reply)).await;
            let (refusal, back) = match sent {
                Ok(()) => match hosted.await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(refused)) => refused,
                    Err(_) => return Err(ApiError::Internal),
                },
                Err(mpsc::error::SendError(Input::Host(back, _))) => {
                    (ModerationRefusal::Closing, back)
                }
                Err(_) => return Err(ApiError::Internal),
            };
            if refusal != ModerationRefusal::Closing {
                return Err(refusal.into());
            }
            self.forget(&destination, handle.id);
            visit = back;
        }
        Err(ModerationRefusal::Closing.into())
    }

    async fn send_out(&self, room: &str, identity: String) -> Result<Visit, ModerationRefusal> {
        let inbox = self.inbox(room).ok_or(ModerationRefusal::NoRoom)?;
        let (reply, visit) = oneshot::channel();
        let sent = inbox.send(Input::Forward(identity, reply)).await;
        sent.map_err(|_| ModerationRefusal::Closing)?;
        visit.await.map_err(|_| ModerationRefusal::Closing)?
    }
}
