//! What the front door refuses, by whose fault it is, and how that is said over HTTP.
//!
//! [`ApiError`] is what a caller did wrong or ran into: a status and one plain sentence, which the
//! SDKs show to people. [`ConfigError`] is what an operator got wrong and names the key. Nothing
//! here quotes a token, a name or an address of a participant.

use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::token::TokenError;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The token is missing or not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token is good but does not grant this.
    #[error("the token does not grant {0}")]
    NotGranted(&'static str),
    /// The token is for another room. Said whether or not the room exists.
    #[error("the token is for another room")]
    WrongRoom,
    /// The request makes no sense; what about it, in a few words.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// Something in the request is larger than a bound; its name.
    #[error("bad request: {0} is exceeded")]
    TooLarge(&'static str),
    /// The token's own room is not there and rooms are not made by joining. The SDKs know these
    /// words.
    #[error("requested room does not exist")]
    RoomNotFound,
    /// There is no such address. The SDKs then try the older protocol.
    #[error("not found")]
    NotFound,
    /// Too many attempts from one address.
    #[error("too many attempts, try again in a moment")]
    TooManyAttempts,
    /// A bound of the server is reached; its name.
    #[error("the server is full: {0}")]
    Full(&'static str),
    /// The server is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Scripted by a test.
    #[error("internal server error")]
    Internal,
    /// A refusal of the server API, with its code and a plain sentence.
    #[error("{1}")]
    Api(Code, String),
}

/// How the server API names a refusal: Twirp's codes, as LiveKit's server SDKs read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request makes no sense.
    InvalidArgument,
    /// The request does not parse.
    Malformed,
    /// No token, or one that is not good.
    Unauthenticated,
    /// A good token that does not grant this.
    PermissionDenied,
    /// What is asked about is not there.
    NotFound,
    /// What is to come is there.
    AlreadyExists,
    /// There is no such address.
    BadRoute,
    /// Somebody has not answered in time.
    DeadlineExceeded,
    /// Not as things are now.
    FailedPrecondition,
    /// A bound is reached.
    ResourceExhausted,
    /// A bound is reached: there is no room on the disk.
    NoStorage,
    /// The protocol has it and this server does not.
    Unimplemented,
    /// A fault of this server.
    Internal,
    /// Not now.
    Unavailable,
}

impl Code {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::BadRoute => "bad_route",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::FailedPrecondition => "failed_precondition",
            Self::ResourceExhausted | Self::NoStorage => "resource_exhausted",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status that goes with it. A full disk has one of its own (RFC 4918 section 11.5).
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound | Self::BadRoute => 404,
            Self::DeadlineExceeded => 408,
            Self::AlreadyExists => 409,
            Self::FailedPrecondition => 412,
            Self::ResourceExhausted => 429,
            Self::Internal => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::NoStorage => 507,
        }
    }
}

impl ApiError {
    /// The status that says it over HTTP.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::NotGranted(_) | Self::WrongRoom => StatusCode::FORBIDDEN,
            Self::BadRequest(_) | Self::TooLarge(_) => StatusCode::BAD_REQUEST,
            Self::RoomNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            Self::Full(_) | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Api(code, _) => {
                StatusCode::from_u16(code.status()).expect("codes have statuses of HTTP")
            }
        }
    }

    /// The code that says it over the server API.
    pub fn code(&self) -> Code {
        match self {
            Self::Token(_) => Code::Unauthenticated,
            Self::NotGranted(_) | Self::WrongRoom => Code::PermissionDenied,
            Self::BadRequest(_) | Self::TooLarge(_) => Code::InvalidArgument,
            Self::RoomNotFound | Self::NotFound => Code::NotFound,
            Self::TooManyAttempts => Code::ResourceExhausted,
            Self::Full(_) | Self::ShuttingDown => Code::Unavailable,
            Self::Internal => Code::Internal,
            Self::Api(code, _) => *code,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}

/// Why the server does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody could join.
    #[error("keys: no API key is configured; add one under [keys] or start with --dev")]
    NoKeys,
    /// The well-known key would let everybody in.
    #[error(
        "keys.{0}: the well-known development key or secret is only accepted on a loopback address"
    )]
    DevKeyInPublic(String),
    /// A secret can be guessed.
    #[error("keys.{0}: the secret needs at least 32 bytes")]
    ShortSecret(String),
    /// Tokens would cross the network in the clear.
    #[error(
        "http.listen_ip: plain HTTP is refused on {0}, which is no loopback address; configure [tls] \
         cert and key, or set http.insecure_http = true if a proxy in front ends TLS"
    )]
    PlainHttp(IpAddr),
    /// A value that must not be zero.
    #[error("{0}: must not be 0")]
    Zero(&'static str),
    /// Connections would be thought dead between two pings.
    #[error("rooms.ping_timeout: must be longer than rooms.ping_interval")]
    PingTimeout,
    /// Receivers could not check who sends.
    #[error("webhook.api_key: must name one of [keys], because webhook.urls is set")]
    WebhookKey,
    /// An address of a receiver is none.
    #[error("webhook.urls: must begin with https:// or http://")]
    WebhookUrl,
    /// No join request would get through.
    #[error("limits.request_head_bytes_max: must be at least 16384")]
    RequestHead,
    /// A file of the certificate cannot be used; the key, the file and why.
    #[error("{key}: {}: {reason}", path.display())]
    Tls {
        /// `tls.cert` or `tls.key`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_status_the_clients_act_on() {
        let table = [
            (ApiError::Token(TokenError::Missing), 401),
            (ApiError::Token(TokenError::Expired), 401),
            (ApiError::NotGranted("roomJoin"), 403),
            (ApiError::WrongRoom, 403),
            (ApiError::BadRequest("join_request"), 400),
            (ApiError::TooLarge("sdp_bytes_max"), 400),
            (ApiError::RoomNotFound, 404),
            (ApiError::NotFound, 404),
            (ApiError::TooManyAttempts, 429),
            (ApiError::Full("rooms_max"), 503),
            (ApiError::ShuttingDown, 503),
            (ApiError::Internal, 500),
        ];
        for (error, status) in table {
            assert_eq!(error.status().as_u16(), status, "{error}");
        }
    }

    #[test]
    fn the_sdks_find_the_words_they_look_for() {
        assert_eq!(
            ApiError::RoomNotFound.to_string(),
            "requested room does not exist"
        );
    }
}
