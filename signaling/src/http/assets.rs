//! The web client as files of the binary, with the headers that keep it honest.
//!
//! Release builds carry `web-client/dist` inside; debug builds read it at start. Where it was never
//! built, `/` answers with a page that says how. Nothing here looks at a token: the page takes it
//! from the fragment of its address, which browsers do not send.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::Embed;

use super::Front;

#[derive(Embed)]
#[folder = "../web-client/dist"]
#[allow_missing = true]
struct Dist;

/// Shown where the client was never built.
const PLACEHOLDER: &str = include_str!("placeholder.html");

/// The page of the compliance staff, at `/compliance/`.
const COMPLIANCE: &str = "compliance/index.html";

/// Files that carry their hash in their name never change (Vite puts them all there).
const HASHED: &str = "assets/";

/// Below this a compressed answer saves no packet.
const GZIP_BYTES_MIN: usize = 1_400;

/// The files of the web client.
pub struct Assets {
    files: HashMap<String, File>,
}

struct File {
    bytes: Bytes,
    gzip: OnceLock<Option<Bytes>>,
    kind: HeaderValue,
    etag: HeaderValue,
    is_hashed: bool,
}

impl Assets {
    /// The files that were embedded when the binary was built.
    pub fn embedded() -> Self {
        let mut files: HashMap<_, _> = Dist::iter()
            .filter_map(|path| Some((path.to_string(), File::embedded(&path)?)))
            .collect();
        files
            .entry("index.html".to_owned())
            .or_insert_with(File::placeholder);
        Self { files }
    }

    /// The file for a path of the address bar.
    fn find(&self, path: &str) -> Option<&File> {
        match path.trim_start_matches('/') {
            "" => self.files.get("index.html"),
            "compliance/" => self.files.get(COMPLIANCE),
            file => self.files.get(file),
        }
    }
}

impl File {
    fn embedded(path: &str) -> Option<Self> {
        let file = Dist::get(path)?;
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let hash = file.metadata.sha256_hash();
        let kind = with_charset(file.metadata.mimetype());
        Some(Self::new(bytes, &kind, &hash, path.starts_with(HASHED)))
    }

    fn placeholder() -> Self {
        let bytes = Bytes::from_static(PLACEHOLDER.as_bytes());
        Self::new(bytes, "text/html; charset=utf-8", b"placeholder", false)
    }

    fn new(bytes: Bytes, kind: &str, hash: &[u8], is_hashed: bool) -> Self {
        let hex: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
        Self {
            bytes,
            gzip: OnceLock::new(),
            kind: HeaderValue::from_str(kind).expect("a media type is a header value"),
            etag: HeaderValue::from_str(&format!("\"{hex}\"")).expect("hex is a header value"),
            is_hashed,
        }
    }

    fn gzip(&self) -> Option<&Bytes> {
        self.gzip
            .get_or_init(|| {
                if self.bytes.len() < GZIP_BYTES_MIN {
                    return None;
                }
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&self.bytes).ok()?;
                let packed = encoder.finish().ok()?;
                (packed.len() < self.bytes.len() * 9 / 10).then(|| packed.into())
            })
            .as_ref()
    }

    fn respond(&self, asked: &HeaderMap) -> Response {
        let is_known = asked
            .get(header::IF_NONE_MATCH)
            .is_some_and(|known| known == self.etag);
        let packed = self.gzip().filter(|_| accepts_gzip(asked));
        let mut response = match packed {
            _ if is_known => StatusCode::NOT_MODIFIED.into_response(),
            Some(packed) => Body::from(packed.clone()).into_response(),
            None => Body::from(self.bytes.clone()).into_response(),
        };
        let headers = response.headers_mut();
        if packed.is_some() && !is_known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        headers.insert(header::ETAG, self.etag.clone());
        let cache = if self.is_hashed {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        response
    }
}

/// `GET` of any address that nothing else answers: a file of the web client, or 404.
pub(super) async fn serve(State(front): State<Arc<Front>>, uri: Uri, asked: HeaderMap) -> Response {
    let mut response = match front.assets.find(uri.path()) {
        Some(file) => file.respond(&asked),
        None => (StatusCode::NOT_FOUND, "not found").into_response(),
    };
    // The page of the compliance staff opens no socket and needs no camera.
    let is_room = !uri.path().starts_with("/compliance/");
    let host = asked.get(header::HOST).filter(|_| is_room);
    protect(response.headers_mut(), host);
    if !is_room {
        let nothing = "camera=(), microphone=(), display-capture=(), geolocation=()";
        let nothing = HeaderValue::from_static(nothing);
        response.headers_mut().insert("permissions-policy", nothing);
    }
    response
}

fn with_charset(kind: &str) -> Cow<'_, str> {
    let is_text = kind.starts_with("text/") || kind.ends_with("javascript");
    match is_text {
        true => format!("{kind}; charset=utf-8").into(),
        false => kind.into(),
    }
}

fn accepts_gzip(asked: &HeaderMap) -> bool {
    asked
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|one| one.trim() == "gzip"))
}

/// Nothing but what this server sent may run, be framed, or learn where the page was.
fn protect(headers: &mut HeaderMap, host: Option<&HeaderValue>) {
    headers.insert(header::CONTENT_SECURITY_POLICY, policy(host));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        "permissions-policy",
        HeaderValue::from_static(
            "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
        ),
    );
    headers.insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
}

/// The content security policy. `'self'` does not cover WebSockets in every browser, so the host
/// that was asked for is named, if it is one.
fn policy(host: Option<&HeaderValue>) -> HeaderValue {
    let is_host = |host: &&str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        !host.is_empty() && host.bytes().all(is_plain)
    };
    let sockets = host
        .and_then(|host| host.to_str().ok())
        .filter(is_host)
        .map_or(String::new(), |host| format!(" ws://{host} wss://{host}"));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
         media-src 'self' blob:; font-src 'self'; connect-src 'self'{sockets}; \
         worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("made of visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    #[test]
    fn hashed_files_are_kept_for_good_and_pages_are_asked_for_again() {
        let none = HeaderMap::new();
        let hashed = File::new(Bytes::from_static(b"x"), "text/css", b"hash", true);
        let cache = hashed.respond(&none);
        assert!(text(cache.headers(), header::CACHE_CONTROL).contains("immutable"));
        let page = File::placeholder().respond(&none);
        assert_eq!(text(page.headers(), header::CACHE_CONTROL), "no-cache");
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let file = File::placeholder();
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, file.etag.clone());
        assert_eq!(file.respond(&asked).status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn large_files_are_packed_for_those_who_can_unpack() {
        let file = File::new(Bytes::from(vec![b'a'; 10_000]), "text/css", b"hash", true);
        let mut asked = HeaderMap::new();
        assert!(
            file.respond(&asked)
                .headers()
                .get(header::CONTENT_ENCODING)
                .is_none()
        );
        asked.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("br, gzip"),
        );
        let response = file.respond(&asked);
        assert_eq!(text(response.headers(), header::CONTENT_ENCODING), "gzip");
    }

    #[test]
    fn a_forged_host_does_not_reach_the_policy() {
        let named = policy(Some(&HeaderValue::from_static("127.0.0.1:7880")));
        let named = named.to_str().expect("ASCII");
        assert!(named.contains("connect-src 'self' ws://127.0.0.1:7880 wss://127.0.0.1:7880;"));
        let forged = policy(Some(&HeaderValue::from_static("evil; script-src *")));
        assert!(!forged.to_str().expect("ASCII").contains("evil"));
    }
}
