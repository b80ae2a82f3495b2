//! The server API's frame: Twirp, as LiveKit's server SDKs call it.
//!
//! `POST /twirp/<service>/<method>` with protobuf or proto3-JSON, answered in kind; a refusal is JSON
//! with a code whatever was asked in. The caller's token is checked here and nothing is decoded before
//! it has been; what a method needs of the token is checked by the method. Methods of services that
//! the protocol has and this server does not are `unimplemented`; anything else is `bad_route`.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_http::cors::{Any, CorsLayer};

use super::{Caller, Front, egress, rooms};
use crate::error::{ApiError, Code};
use crate::token::{Grants, TokenError, Verified};
use crate::wire::is_shallow_json;

/// Services that callers of LiveKit know and that are not here (yet).
const OTHERS: [&str; 8] = [
    "livekit.Ingress",
    "livekit.SIP",
    "livekit.AgentDispatchService",
    "livekit.CloudAgent",
    "livekit.Connector",
    "livekit.PhoneNumberService",
    "livekit.Analytics",
    "livekit.Replay",
];

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

/// The addresses under `/twirp`.
pub(super) fn routes(body_bytes_max: usize) -> Router<Arc<Front>> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(Any);
    Router::new()
        .route("/twirp/{service}/{method}", any(call))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(cors)
}

/// One call whose token has been found good.
pub(super) struct Call {
    pub(super) front: Arc<Front>,
    pub(super) grants: Grants,
    encoding: Encoding,
    body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Protobuf,
}

async fn call(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path((service, method)): Path<(String, String)>,
    verb: axum::http::Method,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let answered = async {
        if verb != axum::http::Method::POST {
            return Err(bad_route("only POST is answered here"));
        }
        let encoding = encoding(&headers)?;
        front.addresses.join(Instant::now(), caller.address)?;
        let Verified { grants, .. } = front.keyring.verify(bearer(&headers)?)?;
        let body = body.map_err(|_| ApiError::TooLarge("limits.api_body_bytes_max"))?;
        let call = Call {
            front,
            grants,
            encoding,
            body,
        };
        match service.as_str() {
            "livekit.RoomService" => rooms::call(&method, call).await,
            "livekit.Egress" => egress::call(&method, call).await,
            other if OTHERS.contains(&other) => Err(unimplemented(&method)),
            _ => Err(bad_route("there is no such service")),
        }
    };
    answered.await.unwrap_or_else(|error| refuse(&error))
}

/// The refusal of a method that the protocol has and this server does not.
pub(super) fn unimplemented(method: &str) -> ApiError {
    // What comes from outside is not repeated at length.
    let is_plain = method.len() <= 64 && method.bytes().all(|sign| sign.is_ascii_alphanumeric());
    let method = if is_plain { method } else { "this method" };
    ApiError::Api(
        Code::Unimplemented,
        format!("{method} is not implemented by this server"),
    )
}

/// The refusal of what is no method at all.
pub(super) fn bad_route(why: &'static str) -> ApiError {
    ApiError::Api(Code::BadRoute, why.to_owned())
}

/// The refusal of a request that makes no sense.
pub(super) fn invalid(why: &str) -> ApiError {
    ApiError::Api(Code::InvalidArgument, why.to_owned())
}

impl Call {
    /// Decodes the request, has it done, and encodes the answer in the form of the request.
    pub(super) async fn answer<Asked, Answer, Doing>(
        self,
        act: impl FnOnce(Arc<Front>, Grants, Asked) -> Doing,
    ) -> Result<Response, ApiError>
    where
        Asked: Message + DeserializeOwned + Default,
        Answer: Message + Serialize,
        Doing: Future<Output = Result<Answer, ApiError>>,
    {
        let asked = decode(self.encoding, &self.body)?;
        let answer = act(self.front, self.grants, asked).await?;
        Ok(encode(self.encoding, &answer))
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next();
    match kind.unwrap_or_default().trim() {
        kind if kind.eq_ignore_ascii_case(JSON) => Ok(Encoding::Json),
        kind if kind.eq_ignore_ascii_case(PROTOBUF) => Ok(Encoding::Protobuf),
        _ => Err(bad_route(
            "the content type must be application/json or application/protobuf",
        )),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(TokenError::Missing)
}

fn decode<T: Message + DeserializeOwned + Default>(
    encoding: Encoding,
    body: &[u8],
) -> Result<T, ApiError> {
    let malformed = || {
        let text = "the request does not parse";
        ApiError::Api(Code::Malformed, text.to_owned())
    };
    match encoding {
        Encoding::Protobuf => T::decode(body).map_err(|_| malformed()),
        Encoding::Json if !is_shallow_json(body) => Err(malformed()),
        Encoding::Json => serde_json::from_slice(body).map_err(|_| malformed()),
    }
}

fn encode<T: Message + Serialize>(encoding: Encoding, answer: &T) -> Response {
    let (kind, body) = match encoding {
        Encoding::Protobuf => (PROTOBUF, answer.encode_to_vec()),
        Encoding::Json => {
            let body = serde_json::to_vec(answer);
            (JSON, body.expect("every protobuf message has a JSON form"))
        }
    };
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind))],
        body,
    )
        .into_response()
}

/// Says no in Twirp's words.
pub(super) fn refuse(error: &ApiError) -> Response {
    let code = error.code();
    let body = serde_json::json!({"code": code.word(), "msg": error.to_string(), "meta": {}});
    let kind = HeaderValue::from_static(JSON);
    let status = StatusCode::from_u16(code.status()).expect("codes have statuses of HTTP");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}

/// Bytes of a request as JSON and as protobuf: whatever they are, nothing but a refusal comes of it.
pub(crate) fn fuzz(bytes: &[u8]) {
    use crate::wire::proto::{
        CreateRoomRequest, RoomCompositeEgressRequest, SendDataRequest, StopEgressRequest,
        TrackEgressRequest, UpdateParticipantRequest, UpdateSubscriptionsRequest,
    };
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let _ = decode::<RoomCompositeEgressRequest>(encoding, bytes);
        let _ = decode::<TrackEgressRequest>(encoding, bytes);
        let _ = decode::<StopEgressRequest>(encoding, bytes);
        let _ = decode::<CreateRoomRequest>(encoding, bytes);
        let _ = decode::<SendDataRequest>(encoding, bytes);
        let _ = decode::<UpdateParticipantRequest>(encoding, bytes);
        let _ = decode::<UpdateSubscriptionsRequest>(encoding, bytes);
    }
}
