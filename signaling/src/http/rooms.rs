//! LiveKit's RoomService: rooms and who is in them, for the application's server.
//!
//! Making and ending rooms needs `roomCreate`, listing them `roomList`, everything about one room
//! `roomAdmin` for that room; moving somebody out of it, or showing him to another, also
//! `destinationRoom`. Whoever may not see a room does not learn whether it is there: the token is asked
//! before the room is. What is done in a room is the room's own
//! [`moderation`](crate::room::moderation), whom it calls are its [`calls`](crate::room::calls).

use std::sync::Arc;

use axum::response::Response;

use super::Front;
use super::twirp::{Call, bad_route, invalid};
use crate::error::ApiError;
use crate::room::moderation::{Moderation, ParticipantChange, Ruling};
use crate::token::Grants;
use crate::wire::proto::{
    self, CreateRoomRequest, DeleteRoomRequest, DeleteRoomResponse, ForwardParticipantRequest,
    ForwardParticipantResponse, ListParticipantsRequest, ListParticipantsResponse,
    ListRoomsRequest, ListRoomsResponse, MoveParticipantRequest, MoveParticipantResponse,
    MuteRoomTrackRequest, MuteRoomTrackResponse, ParticipantInfo, PerformRpcRequest,
    PerformRpcResponse, RemoveParticipantResponse, RoomParticipantIdentity, SendDataRequest,
    SendDataResponse, UpdateParticipantRequest, UpdateRoomMetadataRequest,
    UpdateSubscriptionsRequest, UpdateSubscriptionsResponse,
};

/// Names that a request may list; a server holds 10,000 rooms.
const NAMES_MAX: usize = 10_000;

/// Answers a method of `livekit.RoomService`.
pub(super) async fn call(method: &str, call: Call) -> Result<Response, ApiError> {
    match method {
        "CreateRoom" => call.answer(create).await,
        "ListRooms" => call.answer(list).await,
        "DeleteRoom" => call.answer(delete).await,
        "ListParticipants" => call.answer(participants).await,
        "GetParticipant" => call.answer(participant).await,
        "RemoveParticipant" => call.answer(remove).await,
        "MutePublishedTrack" => call.answer(mute).await,
        "UpdateParticipant" => call.answer(update).await,
        "UpdateSubscriptions" => call.answer(subscribe).await,
        "SendData" => call.answer(send).await,
        "UpdateRoomMetadata" => call.answer(set_metadata).await,
        "PerformRpc" => call.answer(perform).await,
        "MoveParticipant" => call.answer(relocate).await,
        "ForwardParticipant" => call.answer(forward).await,
        _ => Err(bad_route("there is no such method")),
    }
}

async fn create(
    front: Arc<Front>,
    grants: Grants,
    asked: CreateRoomRequest,
) -> Result<proto::Room, ApiError> {
    granted(grants.video.room_create, "roomCreate")?;
    let limits = &front.config.limits;
    if asked.name.is_empty() {
        return Err(invalid("name is missing"));
    }
    if asked.name.len() > limits.room_name_bytes_max {
        return Err(ApiError::TooLarge("limits.room_name_bytes_max"));
    }
    if asked.metadata.len() > limits.metadata_bytes_max {
        return Err(ApiError::TooLarge("limits.metadata_bytes_max"));
    }
    let name = asked.name.clone();
    front.rooms()?.create(&name, asked.into()).await
}

async fn list(
    front: Arc<Front>,
    grants: Grants,
    asked: ListRoomsRequest,
) -> Result<ListRoomsResponse, ApiError> {
    granted(grants.video.room_list, "roomList")?;
    if asked.names.len() > NAMES_MAX {
        return Err(ApiError::TooLarge("the number of names"));
    }
    let rooms = front.rooms()?.list(&asked.names).await;
    Ok(ListRoomsResponse { rooms })
}

async fn delete(
    front: Arc<Front>,
    grants: Grants,
    asked: DeleteRoomRequest,
) -> Result<DeleteRoomResponse, ApiError> {
    granted(grants.video.room_create, "roomCreate")?;
    front.rooms()?.delete(&asked.room).await?;
    Ok(DeleteRoomResponse {})
}

async fn participants(
    front: Arc<Front>,
    grants: Grants,
    asked: ListParticipantsRequest,
) -> Result<ListParticipantsResponse, ApiError> {
    match moderate(&front, &grants, &asked.room, Moderation::List).await? {
        Ruling::Participants(participants) => Ok(ListParticipantsResponse { participants }),
        _ => Err(ApiError::Internal),
    }
}

async fn participant(
    front: Arc<Front>,
    grants: Grants,
    asked: RoomParticipantIdentity,
) -> Result<ParticipantInfo, ApiError> {
    let about = Moderation::Get(asked.identity);
    match moderate(&front, &grants, &asked.room, about).await? {
        Ruling::Participant(info) => Ok(*info),
        _ => Err(ApiError::Internal),
    }
}

async fn remove(
    front: Arc<Front>,
    grants: Grants,
    asked: RoomParticipantIdentity,
) -> Result<RemoveParticipantResponse, ApiError> {
    admin(&grants, &asked.room)?;
    front.rooms()?.remove(&asked.room, &asked.identity).await?;
    Ok(RemoveParticipantResponse {})
}

async fn relocate(
    front: Arc<Front>,
    grants: Grants,
    asked: MoveParticipantRequest,
) -> Result<MoveParticipantResponse, ApiError> {
    porter(&front, &grants, &asked.room, &asked.destination_room)?;
    front.rooms()?.relocate(&front.keyring, asked).await?;
    Ok(MoveParticipantResponse {})
}

async fn forward(
    front: Arc<Front>,
    grants: Grants,
    asked: ForwardParticipantRequest,
) -> Result<ForwardParticipantResponse, ApiError> {
    porter(&front, &grants, &asked.room, &asked.destination_room)?;
    front.rooms()?.forward(asked).await?;
    Ok(ForwardParticipantResponse {})
}

async fn mute(
    front: Arc<Front>,
    grants: Grants,
    asked: MuteRoomTrackRequest,
) -> Result<MuteRoomTrackResponse, ApiError> {
    let about = Moderation::Mute {
        identity: asked.identity,
        track_sid: asked.track_sid,
        muted: asked.muted,
    };
    match moderate(&front, &grants, &asked.room, about).await? {
        Ruling::Track(info) => Ok(MuteRoomTrackResponse { track: Some(*info) }),
        _ => Err(ApiError::Internal),
    }
}

async fn update(
    front: Arc<Front>,
    grants: Grants,
    asked: UpdateParticipantRequest,
) -> Result<ParticipantInfo, ApiError> {
    let change = ParticipantChange {
        identity: asked.identity,
        name: asked.name,
        metadata: asked.metadata,
        attributes: asked.attributes,
        permission: asked.permission,
    };
    let about = Moderation::Update(Box::new(change));
    match moderate(&front, &grants, &asked.room, about).await? {
        Ruling::Participant(info) => Ok(*info),
        _ => Err(ApiError::Internal),
    }
}

async fn subscribe(
    front: Arc<Front>,
    grants: Grants,
    asked: UpdateSubscriptionsRequest,
) -> Result<UpdateSubscriptionsResponse, ApiError> {
    let about = Moderation::Subscribe {
        identity: asked.identity,
        track_sids: asked.track_sids,
        participant_tracks: asked.participant_tracks,
        subscribe: asked.subscribe,
    };
    moderate(&front, &grants, &asked.room, about).await?;
    Ok(UpdateSubscriptionsResponse {})
}

async fn send(
    front: Arc<Front>,
    grants: Grants,
    asked: SendDataRequest,
) -> Result<SendDataResponse, ApiError> {
    let room = asked.room.clone();
    let about = Moderation::Send(Box::new(asked));
    moderate(&front, &grants, &room, about).await?;
    Ok(SendDataResponse {})
}

async fn perform(
    front: Arc<Front>,
    grants: Grants,
    asked: PerformRpcRequest,
) -> Result<PerformRpcResponse, ApiError> {
    admin(&grants, &asked.room)?;
    let payload = front.rooms()?.call(asked).await?;
    Ok(PerformRpcResponse { payload })
}

async fn set_metadata(
    front: Arc<Front>,
    grants: Grants,
    asked: UpdateRoomMetadataRequest,
) -> Result<proto::Room, ApiError> {
    let about = Moderation::SetMetadata(asked.metadata);
    match moderate(&front, &grants, &asked.room, about).await? {
        Ruling::Room(room) => Ok(*room),
        _ => Err(ApiError::Internal),
    }
}

/// Has something done in a room, if the token is for moderating it.
async fn moderate(
    front: &Front,
    grants: &Grants,
    room: &str,
    about: Moderation,
) -> Result<Ruling, ApiError> {
    admin(grants, room)?;
    Ok(front.rooms()?.moderate(room, about).await?)
}

/// Whether the token is for bringing people of this room, or what they show, to that destination.
fn porter(front: &Front, grants: &Grants, room: &str, destination: &str) -> Result<(), ApiError> {
    admin(grants, room)?;
    if destination.is_empty() {
        return Err(invalid("destination_room is missing"));
    }
    if grants.video.destination_room != destination {
        return Err(ApiError::NotGranted("destinationRoom for that room"));
    }
    if destination == room {
        return Err(invalid("the participant is in that room already"));
    }
    if destination.len() > front.config.limits.room_name_bytes_max {
        return Err(ApiError::TooLarge("limits.room_name_bytes_max"));
    }
    Ok(())
}

/// Whether the token is for moderating this room.
fn admin(grants: &Grants, room: &str) -> Result<(), ApiError> {
    granted(grants.video.room_admin, "roomAdmin")?;
    match grants.video.room == room {
        true => Ok(()),
        false => Err(ApiError::WrongRoom),
    }
}

fn granted(grant: Option<bool>, name: &'static str) -> Result<(), ApiError> {
    match grant {
        Some(true) => Ok(()),
        _ => Err(ApiError::NotGranted(name)),
    }
}
