//! A session's part in negotiating: join requests and offers as text become values here, outside the
//! room's task, so that a large text costs nobody else's time.

use crate::config::Limits;
use crate::consent;
use crate::error::ApiError;
use crate::room::outlet::Outlet;
use crate::room::participant::{Connections, Hello};
use crate::room::requests::Request;
use crate::room::resume::Return;
use crate::sdp::{Answer, Offer, SdpError};
use crate::token::Verified;
use crate::wire::proto::{JoinRequest, SessionDescription};
use crate::wire::{WireError, decode_join_request};

/// Attributes that a join request may add.
const ATTRIBUTES_MAX: usize = 256;

/// Bytes of an answer about being recorded; the words have seven.
const ANSWER_BYTES_MAX: usize = 64;

/// Reads an offer for the room.
pub fn read(offer: &SessionDescription, limits: &Limits) -> Request {
    match Offer::parse(&offer.sdp, limits) {
        Ok(parsed) => Request::Offer(Box::new(parsed), offer.id),
        Err(error) => {
            tracing::debug!(%error, "an offer was refused");
            Request::BadDescription
        }
    }
}

/// Reads an answer for the room.
pub fn read_answer(answer: &SessionDescription, limits: &Limits) -> Request {
    match Answer::parse(&answer.sdp, limits) {
        Ok(parsed) => Request::Answer(Box::new(parsed), answer.id),
        Err(error) => {
            tracing::debug!(%error, "an answer was refused");
            Request::BadDescription
        }
    }
}

/// Reads the join request of a connection's address.
pub fn read_join_request(text: &str, limits: &Limits) -> Result<JoinRequest, ApiError> {
    decode_join_request(text, limits.join_request_bytes_max).map_err(|error| match error {
        WireError::TooLarge => ApiError::TooLarge("join_request_bytes_max"),
        _ => ApiError::BadRequest("the join request cannot be read"),
    })
}

/// What the room needs to know about somebody who asks to be let in.
pub fn hello(
    verified: Verified,
    request: JoinRequest,
    connections: Connections,
    limits: &Limits,
) -> Result<Hello, ApiError> {
    let Verified {
        key: api_key,
        expires_at: token_expires_at,
        mut grants,
        ..
    } = verified;
    let settings = request.connection_settings.unwrap_or_default();
    let offer = request
        .publisher_offer
        .filter(|offer| !offer.sdp.is_empty());
    let offer = offer
        .map(|offer| Offer::parse(&offer.sdp, limits).map(|parsed| (parsed, offer.id)))
        .transpose()
        .map_err(|error| match error {
            SdpError::TooLarge(bound) => ApiError::TooLarge(bound),
            SdpError::Malformed | SdpError::Unusable(_) => {
                ApiError::BadRequest("the offer cannot be used")
            }
        })?;
    if request.add_track_requests.len() > limits.tracks_per_participant_max {
        return Err(ApiError::TooLarge("tracks_per_participant_max"));
    }
    // What somebody is called and said to be comes from the token; a client may only add to it with
    // the right to.
    if grants.video.may_update_own_metadata() {
        let bytes: usize = request
            .participant_attributes
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if request.metadata.len() > limits.metadata_bytes_max {
            return Err(ApiError::TooLarge("metadata_bytes_max"));
        }
        if bytes > limits.attributes_bytes_max
            || request.participant_attributes.len() > ATTRIBUTES_MAX
        {
            return Err(ApiError::TooLarge("attributes_bytes_max"));
        }
        if !request.metadata.is_empty() {
            grants.metadata = request.metadata;
        }
        grants.attributes.extend(request.participant_attributes);
    } else if let Some(answer) = request.participant_attributes.get(consent::ATTRIBUTE) {
        // Whether somebody may be recorded, he alone says.
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(ApiError::TooLarge("attributes_bytes_max"));
        }
        let name = consent::ATTRIBUTE.to_owned();
        grants.attributes.insert(name, answer.clone());
    }
    Ok(Hello {
        grants,
        api_key,
        token_expires_at,
        client: request.client_info.unwrap_or_default(),
        connections,
        is_automatic: settings.auto_subscribe,
        // Who does not say: a client that measures what it shows is told, and shows, what it lacks.
        may_pause: settings
            .subscriber_allow_pause
            .unwrap_or(settings.adaptive_stream),
        tracks: request.add_track_requests,
        offer,
        outlet: Outlet::new(limits.outgoing_queue_bytes_max),
        host: None,
    })
}

/// What the room needs to know about somebody who asks for his seat back.
pub fn back(verified: &Verified, request: JoinRequest, limits: &Limits) -> Return {
    Return {
        participant_sid: request.participant_sid,
        identity: verified.grants.identity.clone(),
        api_key: verified.key.clone(),
        token_expires_at: verified.expires_at,
        sync_state: request.sync_state,
        outlet: Outlet::new(limits.outgoing_queue_bytes_max),
        host: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::token::Grants;

    fn verified(grants: Grants) -> Verified {
        Verified {
            key: "clinic".to_owned(),
            issued_at: None,
            expires_at: SystemTime::now(),
            grants,
        }
    }

    fn hello(verified: Verified, request: JoinRequest) -> Result<Hello, ApiError> {
        super::hello(verified, request, Connections::One, &Limits::default())
    }

    fn request() -> JoinRequest {
        JoinRequest {
            metadata: "chief physician".into(),
            participant_attributes: [("role".to_owned(), "chief".to_owned())].into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_client_cannot_promote_itself() {
        let hello = hello(verified(Grants::default()), request()).expect("small");
        assert_eq!(hello.grants.metadata, "");
        assert!(hello.grants.attributes.is_empty());
    }

    #[test]
    fn everybody_may_say_whether_he_may_be_recorded() {
        let answer = |word: &str| JoinRequest {
            participant_attributes: [(consent::ATTRIBUTE.to_owned(), word.to_owned())].into(),
            ..Default::default()
        };
        let hello = |word| hello(verified(Grants::default()), answer(word));
        let granted = hello("granted").expect("small");
        assert_eq!(granted.grants.attributes[consent::ATTRIBUTE], "granted");
        assert!(hello(&"x".repeat(ANSWER_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn with_the_right_to_a_client_may_describe_itself() {
        let mut grants = Grants::default();
        grants.video.can_update_own_metadata = Some(true);
        let hello = hello(verified(grants), request()).expect("small");
        assert_eq!(hello.grants.metadata, "chief physician");
        assert_eq!(hello.grants.attributes["role"], "chief");
    }

    #[test]
    fn an_unusable_offer_is_refused_before_the_upgrade() {
        let bad = |sdp: String| {
            let request = JoinRequest {
                publisher_offer: Some(SessionDescription {
                    sdp,
                    ..Default::default()
                }),
                ..Default::default()
            };
            hello(verified(Grants::default()), request).err()
        };
        let bomb = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(10_000);
        assert!(matches!(
            bad(bomb),
            Some(ApiError::TooLarge(_) | ApiError::BadRequest(_))
        ));
        assert_eq!(
            bad("v=1".into()),
            Some(ApiError::BadRequest("the offer cannot be used"))
        );
    }
}
