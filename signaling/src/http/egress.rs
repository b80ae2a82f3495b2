//! LiveKit's Egress API as the control door of the recorder.
//!
//! Room composite, participant and track requests all start one sealed recording of the room; what
//! they say about layouts, files and storage has no say in it (a file's name comes back in answers),
//! and streams are refused. A token needs
//! `roomRecord`, and one that names a room is good for that room only. The answer says how far the
//! recorder has come, never what is wished.

use std::sync::Arc;

use axum::response::Response;

use super::Front;
use super::twirp::{Call, bad_route, invalid, unimplemented};
use crate::egress::{Ask, EgressRefusal, Target, is_over, named};
use crate::error::{ApiError, Code};
use crate::token::Grants;
use crate::wire::proto::egress_info::Request;
use crate::wire::proto::{
    self, DirectFileOutput, EgressInfo, ListEgressRequest, ListEgressResponse,
    ParticipantEgressRequest, RoomCompositeEgressRequest, StopEgressRequest,
    TrackCompositeEgressRequest, TrackEgressRequest,
};

/// Answers a method of `livekit.Egress`.
pub(super) async fn call(method: &str, call: Call) -> Result<Response, ApiError> {
    match method {
        "StartRoomCompositeEgress" => call.answer(start::<RoomCompositeEgressRequest>).await,
        "StartParticipantEgress" => call.answer(start::<ParticipantEgressRequest>).await,
        "StartTrackCompositeEgress" => call.answer(start::<TrackCompositeEgressRequest>).await,
        "StartTrackEgress" => call.answer(start::<TrackEgressRequest>).await,
        "StopEgress" => call.answer(stop).await,
        "ListEgress" => call.answer(list).await,
        "StartEgress" | "StartWebEgress" | "UpdateLayout" | "UpdateStream" | "UpdateEgress"
        | "ExportReplay" => Err(unimplemented(method)),
        _ => Err(bad_route("there is no such method")),
    }
}

/// A request that starts a recording.
trait Start {
    /// What it asks, without what has no meaning here; streams and the like are refused.
    fn ask(self) -> Result<Ask, ApiError>;
}

async fn start<R: Start>(
    front: Arc<Front>,
    grants: Grants,
    asked: R,
) -> Result<EgressInfo, ApiError> {
    let ask = asked.ask()?;
    if ask.room.is_empty() {
        return Err(invalid("room_name is missing"));
    }
    check(&grants, Some(&ask.room))?;
    let registry = front.rooms()?;
    Ok(registry.start_egress(ask).await?)
}

async fn stop(
    front: Arc<Front>,
    grants: Grants,
    asked: StopEgressRequest,
) -> Result<EgressInfo, ApiError> {
    check(&grants, None)?;
    let registry = front.rooms()?;
    let known = registry.egresses().find(&asked.egress_id);
    // Whoever may not see a room does not learn whether it has such an egress.
    let known = known.filter(|info| check(&grants, Some(&info.room_name)).is_ok());
    let info = known.ok_or(EgressRefusal::NoEgress)?;
    if is_over(&info) {
        return Err(EgressRefusal::Over.into());
    }
    Ok(registry
        .stop_egress(&info.room_name, info.egress_id)
        .await?)
}

async fn list(
    front: Arc<Front>,
    grants: Grants,
    asked: ListEgressRequest,
) -> Result<ListEgressResponse, ApiError> {
    let wanted = (!asked.room_name.is_empty()).then_some(asked.room_name.as_str());
    check(&grants, wanted)?;
    let room = wanted.unwrap_or(&grants.video.room);
    let book = front.rooms()?.egresses();
    Ok(ListEgressResponse {
        items: book.list(room, &asked.egress_id, asked.active),
        next_page_token: None,
    })
}

/// Recording is granted by `roomRecord`; a token that names a room is for that room and no other.
fn check(grants: &Grants, room: Option<&str>) -> Result<(), ApiError> {
    if grants.video.room_record != Some(true) {
        return Err(ApiError::NotGranted("roomRecord"));
    }
    let own = grants.video.room.as_str();
    match room {
        Some(room) if !own.is_empty() && own != room => Err(ApiError::WrongRoom),
        _ => Ok(()),
    }
}

/// Only the sealed recording is made; who asks for a stream must hear that there is none.
fn refuse_streams(is_asked: bool) -> Result<(), ApiError> {
    if is_asked {
        let text = "streams, segments and images are not made: a recording is sealed as one";
        return Err(ApiError::Api(Code::Unimplemented, text.to_owned()));
    }
    Ok(())
}

impl Start for RoomCompositeEgressRequest {
    #[expect(deprecated, reason = "older callers still ask for streams this way")]
    fn ask(self) -> Result<Ask, ApiError> {
        use proto::room_composite_egress_request::Output;
        let older = matches!(self.output, Some(Output::Stream(_) | Output::Segments(_)));
        let newer = self.stream_outputs.len() + self.segment_outputs.len();
        refuse_streams(older || newer + self.image_outputs.len() > 0)?;
        let mut files = named(&self.file_outputs);
        if let (true, Some(Output::File(file))) = (files.is_empty(), &self.output) {
            files = named(std::slice::from_ref(file));
        }
        Ok(Ask {
            target: Target::Room,
            request: Request::RoomComposite(Self {
                room_name: self.room_name.clone(),
                file_outputs: files,
                layout: self.layout,
                audio_only: self.audio_only,
                video_only: self.video_only,
                ..Self::default()
            }),
            room: self.room_name,
        })
    }
}

impl Start for ParticipantEgressRequest {
    fn ask(self) -> Result<Ask, ApiError> {
        let others = self.stream_outputs.len() + self.segment_outputs.len();
        refuse_streams(others + self.image_outputs.len() > 0)?;
        if self.identity.is_empty() {
            return Err(invalid("identity is missing"));
        }
        Ok(Ask {
            target: Target::Participant(self.identity.clone()),
            request: Request::Participant(Self {
                room_name: self.room_name.clone(),
                identity: self.identity,
                file_outputs: named(&self.file_outputs),
                screen_share: self.screen_share,
                ..Self::default()
            }),
            room: self.room_name,
        })
    }
}

impl Start for TrackCompositeEgressRequest {
    #[expect(deprecated, reason = "older callers still ask for streams this way")]
    fn ask(self) -> Result<Ask, ApiError> {
        use proto::track_composite_egress_request::Output;
        let older = matches!(self.output, Some(Output::Stream(_) | Output::Segments(_)));
        let newer = self.stream_outputs.len() + self.segment_outputs.len();
        refuse_streams(older || newer + self.image_outputs.len() > 0)?;
        let mut files = named(&self.file_outputs);
        if let (true, Some(Output::File(file))) = (files.is_empty(), &self.output) {
            files = named(std::slice::from_ref(file));
        }
        let tracks = [&self.audio_track_id, &self.video_track_id];
        let tracks: Vec<String> = tracks
            .into_iter()
            .filter(|track| !track.is_empty())
            .cloned()
            .collect();
        if tracks.is_empty() {
            return Err(invalid("audio_track_id and video_track_id are missing"));
        }
        Ok(Ask {
            target: Target::Tracks(tracks),
            request: Request::TrackComposite(Self {
                room_name: self.room_name.clone(),
                audio_track_id: self.audio_track_id,
                video_track_id: self.video_track_id,
                file_outputs: files,
                ..Self::default()
            }),
            room: self.room_name,
        })
    }
}

impl Start for TrackEgressRequest {
    fn ask(self) -> Result<Ask, ApiError> {
        use proto::track_egress_request::Output;
        refuse_streams(matches!(self.output, Some(Output::WebsocketUrl(_))))?;
        if self.track_id.is_empty() {
            return Err(invalid("track_id is missing"));
        }
        let file = match self.output {
            Some(Output::File(file)) => Some(Output::File(DirectFileOutput {
                filepath: file.filepath,
                ..DirectFileOutput::default()
            })),
            _ => None,
        };
        Ok(Ask {
            target: Target::Tracks(vec![self.track_id.clone()]),
            request: Request::Track(Self {
                room_name: self.room_name.clone(),
                output: file,
                track_id: self.track_id,
                ..Self::default()
            }),
            room: self.room_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::VideoGrant;
    use crate::wire::proto::{EncodedFileOutput, S3Upload, StreamOutput, encoded_file_output};

    fn grants(room: &str, may_record: Option<bool>) -> Grants {
        Grants {
            video: VideoGrant {
                room: room.into(),
                room_record: may_record,
                ..VideoGrant::default()
            },
            ..Grants::default()
        }
    }

    #[test]
    fn a_token_for_one_room_records_no_other() {
        assert_eq!(check(&grants("", Some(true)), Some("a")), Ok(()));
        assert_eq!(check(&grants("a", Some(true)), Some("a")), Ok(()));
        let wrong = Err(ApiError::WrongRoom);
        assert_eq!(check(&grants("b", Some(true)), Some("a")), wrong);
        let refused = Err(ApiError::NotGranted("roomRecord"));
        assert_eq!(check(&grants("a", None), Some("a")), refused);
        assert_eq!(check(&grants("a", Some(false)), Some("a")), refused);
    }

    #[test]
    fn what_is_kept_of_a_request_has_no_credentials() {
        let storage = S3Upload {
            access_key: "key".into(),
            secret: "very-secret".into(),
            ..S3Upload::default()
        };
        let request = RoomCompositeEgressRequest {
            room_name: "r".into(),
            file_outputs: vec![EncodedFileOutput {
                output: Some(encoded_file_output::Output::S3(storage)),
                ..EncodedFileOutput::default()
            }],
            ..RoomCompositeEgressRequest::default()
        };
        let kept = request.ask().expect("files are no stream");
        assert!(!format!("{kept:?}").contains("very-secret"));
    }

    #[test]
    fn a_stream_is_refused_rather_than_forgotten() {
        let request = RoomCompositeEgressRequest {
            room_name: "r".into(),
            stream_outputs: vec![StreamOutput::default()],
            ..RoomCompositeEgressRequest::default()
        };
        let refusal = request.ask().expect_err("no stream is made");
        assert_eq!(refusal.code(), Code::Unimplemented);
        let request = TrackEgressRequest {
            track_id: "TR_1".into(),
            output: Some(proto::track_egress_request::Output::WebsocketUrl(
                "wss://x".into(),
            )),
            ..TrackEgressRequest::default()
        };
        assert_eq!(
            request.ask().expect_err("likewise").code(),
            Code::Unimplemented
        );
    }
}
