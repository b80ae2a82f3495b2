//! Refusals in the form that WHIP asks for: a status and `application/problem+json` (RFC 9457) with
//! one plain sentence.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::sdp::SdpError;
use crate::token::TokenError;

/// Whoever was refused because of what is going on here may try again after this.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Why an encoder is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// A refusal in one sentence.
    pub(super) fn new(status: StatusCode, detail: &str) -> Self {
        let detail = detail.to_owned();
        Self { status, detail }
    }

    /// There is no such session, or it is not the caller's. Nobody learns which.
    pub(super) fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such session")
    }

    /// The body exceeds a bound.
    pub(super) fn too_large(bound: &str) -> Self {
        let detail = format!("the body exceeds {bound}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, &detail)
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self::new(error.status(), &error.to_string())
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<SdpError> for Problem {
    fn from(error: SdpError) -> Self {
        let status = match error {
            SdpError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            SdpError::Malformed => StatusCode::BAD_REQUEST,
            SdpError::Unusable(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, &error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let body = serde_json::json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let kind = HeaderValue::from_static("application/problem+json");
        let kind = [(header::CONTENT_TYPE, kind)];
        let mut response = (self.status, kind, body.to_string()).into_response();
        let headers = response.headers_mut();
        // What was refused unread is not waited for; a caller that sent more on the same connection
        // would lose it.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        match self.status {
            // RFC 9110 section 15.5.2.
            StatusCode::UNAUTHORIZED => {
                let bearer = HeaderValue::from_static("Bearer");
                headers.insert(header::WWW_AUTHENTICATE, bearer);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_a_description_has_its_status() {
        let table = [
            (SdpError::TooLarge("sdp_lines_max"), 413),
            (SdpError::Malformed, 400),
            (SdpError::Unusable("fingerprint"), 422),
        ];
        for (error, status) in table {
            assert_eq!(Problem::from(error).status.as_u16(), status);
        }
    }

    #[test]
    fn whoever_has_no_token_is_told_which_kind_is_wanted() {
        let refused = Problem::from(TokenError::Missing).into_response();
        assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let full = Problem::from(ApiError::Full("rooms_max")).into_response();
        assert_eq!(full.headers()[header::RETRY_AFTER], "5");
    }
}
