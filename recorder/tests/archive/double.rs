//! An object store of the strict kind, in this process: it checks every signature, demands a
//! checksum and put-if-absent, never shortens a lock, and fails when it is told to.
//!
//! It knows what the archive uses of S3 and nothing else. The rules are those of Amazon's
//! documentation; where a package is more lenient (moto lets a compliance lock be shortened), this
//! one is not.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use recorder::digest::{Digest, hex};
use recorder::store::s3::{Hidden, S3Config};
use recorder::wall::Wall;
use tokio::runtime::Runtime;

pub(crate) const KEY_ID: &str = "consilium";
const SECRET: &str = "of the double";
const REGION: &str = "us-east-1";
pub(crate) const BUCKET: &str = "consults";

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// "Slow down."
    Busy,
    /// The answer comes late.
    Slow(Duration),
    /// It is done, and the answer is lost.
    LostAnswer,
    /// Half of the body comes.
    CutBody,
    /// The object is stored with a flipped bit.
    Rot,
}

/// One version of an object.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sum: String,
    pub(crate) until: Option<Wall>,
    pub(crate) is_held: bool,
}

/// Everything that the store has.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) now: Wall,
    /// The default lock in days, as of object lock in compliance mode.
    pub(crate) lock_days: Option<u64>,
    pub(crate) mode: &'static str,
    pub(crate) objects: BTreeMap<String, Vec<Version>>,
    pub(crate) faults: VecDeque<Fault>,
    /// Method and name of every request, in order.
    pub(crate) requests: Vec<(Method, String)>,
    versions: u64,
}

/// The running store.
pub(crate) struct Double {
    bucket: Arc<Mutex<Bucket>>,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Double {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let bucket = Bucket {
            now: "2026-11-22T02:00:00Z".parse().expect("a time"),
            lock_days: Some(1),
            mode: "COMPLIANCE",
            objects: BTreeMap::new(),
            faults: VecDeque::new(),
            requests: Vec::new(),
            versions: 0,
        };
        let bucket = Arc::new(Mutex::new(bucket));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&bucket));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            bucket,
            address,
            _runtime: runtime,
        }
    }

    pub(crate) fn config(&self) -> S3Config {
        S3Config {
            endpoint: Some(format!("http://{}", self.address)),
            access_key_id: Some(KEY_ID.into()),
            secret_access_key: Some(Hidden::new(SECRET)),
            timeout: 2,
            ..S3Config::new(BUCKET)
        }
    }

    pub(crate) fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket
            .lock()
            .expect("no test panics while it holds it")
    }

    pub(crate) fn fail(&self, faults: &[Fault]) {
        self.bucket().faults.extend(faults);
    }
}

async fn answer(State(bucket): State<Arc<Mutex<Bucket>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, 128 << 20).await {
        Ok(body) => body.to_vec(),
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    };
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let fault = {
        let mut bucket = bucket.lock().expect("no panic while held");
        bucket.requests.push((parts.method.clone(), path.clone()));
        bucket.faults.pop_front().unwrap_or(Fault::None)
    };
    match fault {
        Fault::Busy => return refuse(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Fault::Slow(wait) => tokio::time::sleep(wait).await,
        _ => {}
    }
    if !is_signed(&parts.method, &path, &query, &parts.headers, &body) {
        return refuse(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    let done = {
        let mut bucket = bucket.lock().expect("no panic while held");
        bucket.act(&parts.method, &path, &query, &parts.headers, body, fault)
    };
    match fault {
        Fault::LostAnswer | Fault::CutBody => cut(done).await,
        _ => done,
    }
}

/// Half of the body, and then the connection ends.
async fn cut(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let bytes = to_bytes(body, 128 << 20).await.expect("our own body");
    let length = bytes.len().max(2);
    parts.headers.insert("content-length", length.into());
    let half = bytes.slice(..bytes.len() / 2);
    let end = std::io::Error::other("the connection ends");
    let pieces = futures_util::stream::iter([Ok(half), Err(end)]);
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn refuse(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code></Error>")).into_response()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn between<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>"))
        .map(|(inner, _)| inner)
}

impl Bucket {
    fn act(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: Vec<u8>,
        fault: Fault,
    ) -> Response {
        let root = format!("/{BUCKET}");
        let Some(name) = path.strip_prefix(&root) else {
            return refuse(StatusCode::NOT_FOUND, "NoSuchBucket");
        };
        let name = name.trim_start_matches('/').to_owned();
        let what = query.split('&').next().unwrap_or_default();
        let version = query
            .split('&')
            .find_map(|it| it.strip_prefix("versionId="));
        match (method.as_str(), what) {
            ("GET", "versioning") => "<V><Status>Enabled</Status></V>".into_response(),
            ("GET", "object-lock") => self.lock(),
            ("PUT", "retention") => self.retain(&name, version, headers, &body),
            ("PUT", "legal-hold") => self.hold(&name, version, headers, &body),
            ("PUT", _) => self.put(name, headers, body, fault),
            ("GET" | "HEAD", _) => self.get(method, &name, version, headers),
            ("DELETE", _) => self.delete(&name, version),
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn lock(&self) -> Response {
        match self.lock_days {
            None => refuse(
                StatusCode::NOT_FOUND,
                "ObjectLockConfigurationNotFoundError",
            ),
            Some(days) => format!(
                "<C><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>{}\
                 </Mode><Days>{days}</Days></DefaultRetention></Rule></C>",
                self.mode
            )
            .into_response(),
        }
    }

    fn put(&mut self, name: String, headers: &HeaderMap, body: Vec<u8>, fault: Fault) -> Response {
        if !carries_sum(headers, &body) {
            return refuse(StatusCode::BAD_REQUEST, "BadDigest");
        }
        if text(headers, "if-none-match") != Some("*") {
            return refuse(StatusCode::BAD_REQUEST, "NotIfAbsent");
        }
        if self.objects.contains_key(&name) {
            return refuse(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        self.versions += 1;
        let mut bytes = body;
        if fault == Fault::Rot {
            bytes[0] ^= 1;
        }
        let version = Version {
            id: format!("v{}", self.versions),
            sum: STANDARD.encode(Digest::of(&bytes).0),
            bytes,
            until: self
                .lock_days
                .map(|days| self.now.after(Duration::from_secs(days * 86_400))),
            is_held: false,
        };
        let id = version.id.clone();
        self.objects.insert(name, vec![version]);
        let headers = [("x-amz-version-id", id), ("etag", "\"e\"".into())];
        (headers, "").into_response()
    }

    fn version(&mut self, name: &str, version: Option<&str>) -> Option<&mut Version> {
        let versions = self.objects.get_mut(name)?;
        match version {
            None => versions.last_mut(),
            Some(id) => versions.iter_mut().find(|version| version.id == id),
        }
    }

    fn get(
        &mut self,
        method: &Method,
        name: &str,
        version: Option<&str>,
        headers: &HeaderMap,
    ) -> Response {
        let Some(version) = self.version(name, version) else {
            return refuse(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        let mut answer = Response::builder()
            .header("x-amz-version-id", &version.id)
            .header("etag", "\"e\"")
            .header("last-modified", "Sun, 22 Nov 2026 02:00:00 GMT");
        if text(headers, "x-amz-checksum-mode") == Some("ENABLED") {
            answer = answer.header("x-amz-checksum-sha256", &version.sum);
        }
        if let Some(until) = version.until {
            answer = answer
                .header("x-amz-object-lock-mode", "COMPLIANCE")
                .header("x-amz-object-lock-retain-until-date", until.to_string());
        }
        if version.is_held {
            answer = answer.header("x-amz-object-lock-legal-hold", "ON");
        }
        let total = version.bytes.len();
        if method == Method::HEAD {
            let answer = answer.header("content-length", total);
            return answer.body(Body::empty()).expect("is an answer");
        }
        let range = text(headers, "range").and_then(|range| {
            let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((from.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        });
        let (from, last) = range.unwrap_or((0, total.saturating_sub(1)));
        let bytes = version.bytes[from..(last + 1).min(total)].to_vec();
        let answer = match range {
            None => answer,
            Some(_) => answer
                .status(StatusCode::PARTIAL_CONTENT)
                .header("content-range", format!("bytes {from}-{last}/{total}")),
        };
        answer.body(Body::from(bytes)).expect("is an answer")
    }

    fn retain(
        &mut self,
        name: &str,
        version: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response {
        if !carries_sum(headers, body) {
            return refuse(StatusCode::BAD_REQUEST, "InvalidRequest");
        }
        let xml = String::from_utf8_lossy(body);
        let until = between(&xml, "RetainUntilDate").and_then(|at| at.parse::<Wall>().ok());
        let (Some("COMPLIANCE"), Some(until)) = (between(&xml, "Mode"), until) else {
            return refuse(StatusCode::BAD_REQUEST, "MalformedXML");
        };
        if version.is_none() {
            return refuse(StatusCode::BAD_REQUEST, "NoVersion");
        }
        let Some(version) = self.version(name, version) else {
            return refuse(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        if version.until.is_some_and(|locked| until < locked) {
            return refuse(StatusCode::FORBIDDEN, "AccessDenied");
        }
        version.until = Some(until);
        StatusCode::OK.into_response()
    }

    fn hold(
        &mut self,
        name: &str,
        version: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response {
        if !carries_sum(headers, body) {
            return refuse(StatusCode::BAD_REQUEST, "InvalidRequest");
        }
        let xml = String::from_utf8_lossy(body).into_owned();
        let Some(version) = self.version(name, version) else {
            return refuse(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        version.is_held = between(&xml, "Status") == Some("ON");
        StatusCode::OK.into_response()
    }

    fn delete(&mut self, name: &str, version: Option<&str>) -> Response {
        let (now, Some(id)) = (self.now, version) else {
            return refuse(StatusCode::BAD_REQUEST, "NoVersion");
        };
        match self.version(name, Some(id)) {
            None => return refuse(StatusCode::NOT_FOUND, "NoSuchVersion"),
            Some(version) if version.is_held || version.until.is_some_and(|until| now < until) => {
                return refuse(StatusCode::FORBIDDEN, "AccessDenied");
            }
            Some(_) => {}
        }
        self.objects.remove(name);
        StatusCode::NO_CONTENT.into_response()
    }
}

fn carries_sum(headers: &HeaderMap, body: &[u8]) -> bool {
    let sum = STANDARD.encode(Digest::of(body).0);
    text(headers, "x-amz-checksum-sha256") == Some(&sum)
}

/// Signature version 4, and no `x-amz-*` header without it.
fn is_signed(method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let field = |name: &str| {
        let all = text(headers, "authorization")?;
        let (_, rest) = all.split_once(&format!("{name}="))?;
        Some(rest.split(',').next().unwrap_or(rest).trim())
    };
    let (Some(credential), Some(signed), Some(signature), Some(date), Some(sum)) = (
        field("Credential"),
        field("SignedHeaders"),
        field("Signature"),
        text(headers, "x-amz-date"),
        text(headers, "x-amz-content-sha256"),
    ) else {
        return false;
    };
    let names: Vec<_> = signed.split(';').collect();
    let mut amazons = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-"));
    if !amazons.all(|name| names.contains(&name.as_str())) || !names.contains(&"host") {
        return false;
    }
    if sum != Digest::of(body).to_string() {
        return false;
    }
    let lines: String = names
        .iter()
        .map(|name| {
            format!(
                "{name}:{}\n",
                text(headers, name).unwrap_or_default().trim()
            )
        })
        .collect();
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    pairs.sort();
    let request = format!(
        "{method}\n{path}\n{}\n{lines}\n{signed}\n{sum}",
        pairs.join("&")
    );
    let day = &date[..8];
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    let sum = Digest::of(request.as_bytes());
    let message = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{sum}");
    let key = [day, REGION, "s3", "aws4_request"]
        .iter()
        .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| {
            mac(&key, part)
        });
    credential == format!("{KEY_ID}/{scope}") && signature == hex(&mac(&key, &message))
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}
