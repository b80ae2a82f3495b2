//! Messages that a synthetic client of the LiveKit protocol sends, out of what it is to do.
//!
//! Plain values in, plain messages out; when they are sent is the session's affair.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livekit_protocol as proto;
use prost::Message as _;

use super::{Announced, JoinSpec, TrackSpec, ssrc_of};
use crate::client::sdp;
use crate::client::sender::Content;

/// The tracks of a participant as it calls them.
pub(super) fn announced(spec: &JoinSpec) -> Vec<Announced> {
    let tracks = spec.tracks.iter().enumerate();
    tracks
        .map(|(index, track)| Announced {
            track: track.clone(),
            cid: format!("load-{}-{index}", spec.id),
            ssrcs: (0..track.layers())
                .map(|layer| ssrc_of(spec.id, index, layer))
                .collect(),
        })
        .collect()
}

/// A description that wants an answer.
pub(super) fn offer(sdp: String, id: u32) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: "offer".to_owned(),
        sdp,
        id,
        ..Default::default()
    }
}

/// Where a client with one connection asks.
pub(super) fn wrapped(join: &proto::JoinRequest) -> String {
    format!("/rtc/v1?join_request={}", join_request(join))
}

/// Where a client with two connections asks the same.
pub(super) fn options(join: &proto::JoinRequest) -> String {
    let back = match join.reconnect {
        true => format!("&reconnect=1&sid={}", join.participant_sid),
        false => String::new(),
    };
    format!("/rtc?auto_subscribe=1&sdk=rust&protocol=16{back}")
}

fn join_request(join: &proto::JoinRequest) -> String {
    let wrapped = proto::WrappedJoinRequest {
        compression: 0,
        join_request: join.encode_to_vec(),
    };
    URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec())
}

/// What a newcomer asks for.
pub(super) fn joining(sdp: String) -> proto::JoinRequest {
    proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Rust as i32,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: 17,
            ..Default::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: true,
            ..Default::default()
        }),
        publisher_offer: Some(offer(sdp, 1)),
        ..Default::default()
    }
}

/// Asks for the seat of a participant whose connection broke.
pub(super) fn returning(participant_sid: &str) -> proto::JoinRequest {
    proto::JoinRequest {
        reconnect: true,
        participant_sid: participant_sid.to_owned(),
        publisher_offer: None,
        ..joining(String::new())
    }
}

/// Announces a track to the server.
pub(super) fn add_track(track: &TrackSpec, cid: &str) -> proto::AddTrackRequest {
    let request = proto::AddTrackRequest {
        cid: cid.to_owned(),
        ..Default::default()
    };
    let Content::Video(video) = track.content else {
        return proto::AddTrackRequest {
            name: "voice".to_owned(),
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            disable_red: true,
            ..request
        };
    };
    let (name, source) = if track.is_screen {
        ("screen", proto::TrackSource::ScreenShare)
    } else {
        ("camera", proto::TrackSource::Camera)
    };
    let layers = (0..track.layers()).map(|layer| {
        let below = track.layers() - 1 - layer;
        let is_single = track.layers() == 1;
        proto::VideoLayer {
            quality: if is_single { 2 } else { layer as i32 },
            width: 1_280 >> below,
            height: 720 >> below,
            bitrate: (video.packets >> below) * video.fps * video.packet_size as u32 * 8,
            rid: if is_single {
                String::new()
            } else {
                sdp::RIDS[layer as usize].to_owned()
            },
            ..Default::default()
        }
    });
    proto::AddTrackRequest {
        name: name.to_owned(),
        r#type: proto::TrackType::Video as i32,
        source: source as i32,
        width: 1_280,
        height: 720,
        layers: layers.collect(),
        ..request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_request_decodes_to_what_went_in() {
        let decoded = |join| {
            let bytes = URL_SAFE_NO_PAD
                .decode(join_request(&join))
                .expect("base64url");
            let wrapped = proto::WrappedJoinRequest::decode(&bytes[..]).expect("wrapped");
            proto::JoinRequest::decode(&wrapped.join_request[..]).expect("join")
        };
        let join = decoded(joining("v=0".into()));
        assert_eq!(
            join.publisher_offer.map(|offer| offer.sdp).as_deref(),
            Some("v=0")
        );
        assert!(join.connection_settings.is_some_and(|s| s.auto_subscribe));
        let back = decoded(returning("PA_1"));
        assert!(back.reconnect && back.publisher_offer.is_none());
        assert_eq!(back.participant_sid, "PA_1");
    }
}
