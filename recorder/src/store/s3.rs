//! An object store that speaks S3 and can lock: what is written there cannot be deleted or replaced
//! by anybody before its date, not even by us.
//!
//! Objects are put through `object_store`, only if absent and with a SHA-256 that the store checks.
//! What that crate does not know (locks, holds, versions) is asked with requests that its authorizer
//! signs. Nothing is retried here: the caller knows what may wait. The async runtime inside is this
//! file's own affair; every call blocks.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use object_store::aws::{
    AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider, Checksum, S3ConditionalPut,
};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectStore, PutMode, PutOptions, PutPayload, RetryConfig,
};
use serde::{Deserialize, Serialize, Serializer};
use tokio::runtime::Runtime;

use crate::wall::Wall;

/// A secret of the configuration: it never shows itself.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// Hides `text`.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

/// Where the object store is and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket; it must exist.
    pub bucket: String,
    /// The address of the store, `https://s3.example.org`; Amazon's of the region if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    #[serde(default = "default_region")]
    pub region: String,
    /// What stands before every name in the bucket, for instance `hospital-a/`.
    #[serde(default)]
    pub prefix: String,
    /// The access key; the machine's role if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Its secret. Better given by the environment: `CONSILIUM_RECORDING__S3__SECRET_ACCESS_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Hidden>,
    /// Refuse to start unless the bucket locks every new object for compliance by default.
    #[serde(default = "default_worm")]
    pub worm: bool,
    /// Speak plain HTTP to a store that is not on this machine. What is stored is ciphertext, but
    /// whoever listens learns when consults are, and how long.
    #[serde(default)]
    pub insecure_http: bool,
    /// A request that has not been answered by then counts as failed. In seconds.
    #[serde(default = "default_timeout")]
    pub timeout: u32,
    /// Keep the local copy of a recording so long after the store has all of it. In hours.
    #[serde(default)]
    pub keep_local: u32,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_worm() -> bool {
    true
}

/// A segment of 64 MB over a line of 2 Mbit/s.
fn default_timeout() -> u32 {
    300
}

impl S3Config {
    /// The configuration for `bucket`, everything else as it is if left out.
    pub fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            endpoint: None,
            region: default_region(),
            prefix: String::new(),
            access_key_id: None,
            secret_access_key: None,
            worm: default_worm(),
            insecure_http: false,
            timeout: default_timeout(),
            keep_local: 0,
        }
    }

    /// Names what is wrong, for the operator.
    pub fn check(&self) -> Result<(), String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if self.bucket.is_empty()
            || !self
                .bucket
                .bytes()
                .all(|byte| is_plain(byte) && byte != b'/')
        {
            return Err("s3.bucket: give the name of a bucket".into());
        }
        if !self.prefix.bytes().all(is_plain) {
            return Err("s3.prefix: letters, digits, dots, dashes, underscores, slashes".into());
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err("s3.access_key_id and s3.secret_access_key belong together".into());
        }
        let uri: http::Uri = (self.endpoint().parse())
            .map_err(|_| "s3.endpoint: not an address like https://s3.example.org".to_owned())?;
        let host = uri.host().unwrap_or_default();
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.insecure_http || is_loopback(host) => Ok(()),
            Some("http") => Err("s3.endpoint: plain HTTP needs s3.insecure_http = true".into()),
            _ => Err("s3.endpoint: not an address like https://s3.example.org".into()),
        }
    }

    fn endpoint(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://s3.{}.amazonaws.com", self.region),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Why the store did not do what was asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum S3Error {
    /// It does not answer, or asks to try again.
    #[error("the object store does not answer: {0}")]
    Unavailable(String),
    /// There is an object of this name already.
    #[error("the object store has an object of this name already")]
    Exists,
    /// There is none.
    #[error("the object store has no such object")]
    NotFound,
    /// It says no.
    #[error("the object store refuses: {0}")]
    Refused(String),
}

/// An object as the store describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, if the store keeps it.
    pub sha256: Option<[u8; 32]>,
    /// Which version it is.
    pub version: Option<String>,
    /// Until when nobody can delete it; none if it is not locked for compliance.
    pub retained_until: Option<Wall>,
    /// Whether a legal hold lies on it.
    pub is_held: bool,
}

/// What a bucket does by itself with every new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketLock {
    /// It keeps every version.
    pub is_versioned: bool,
    /// It locks for compliance: nobody can shorten or lift it.
    pub locks_for_compliance: bool,
}

/// A bucket.
pub struct S3Store {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    store: AmazonS3,
    client: HttpClient,
    config: S3Config,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Store")
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // An ordinary drop waits, and panics inside another runtime.
            runtime.shutdown_background();
        }
    }
}

const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Bytes of an answer about an object that are read: the store's XML has a few hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

impl S3Store {
    /// Prepares to speak to the bucket; nothing is sent yet.
    pub fn new(config: &S3Config) -> Result<Self, S3Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("archive-s3")
            .enable_all()
            .build()
            .map_err(|error| S3Error::Unavailable(error.to_string()))?;
        let options = ClientOptions::new()
            .with_allow_http(true) // `S3Config::check` has decided.
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(Duration::from_secs(u64::from(config.timeout.max(1))));
        let connector = Announcing::default();
        let credentials = Arc::clone(&connector.credentials);
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(config.endpoint())
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_virtual_hosted_style_request(false)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_client_options(options.clone())
            .with_http_connector(connector.with_region(&config.region))
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            });
        if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
            builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(&secret.0);
        }
        let store = builder.build().map_err(refused)?;
        assert!(
            credentials.set(Arc::clone(store.credentials())).is_ok(),
            "a connector that was just made has no credentials"
        );
        let client = ReqwestConnector::default().connect(&options);
        Ok(Self {
            runtime: Some(runtime),
            client: client.map_err(refused)?,
            store,
            config: config.clone(),
        })
    }

    /// What the bucket does by itself.
    pub fn bucket_lock(&self) -> Result<BucketLock, S3Error> {
        let versioning = self.ask(Method::GET, "", "versioning", &[])?;
        let is_versioned = element(&versioning.text, "Status") == Some("Enabled");
        let lock = match self.ask(Method::GET, "", "object-lock", &[]) {
            Ok(lock) => lock.text,
            // A bucket without a lock has no such document.
            Err(S3Error::NotFound) => String::new(),
            Err(error) => return Err(error),
        };
        let default = element(&lock, "DefaultRetention").unwrap_or_default();
        let locks = element(&lock, "ObjectLockEnabled") == Some("Enabled")
            && element(default, "Mode") == Some("COMPLIANCE")
            && (element(default, "Days").is_some() || element(default, "Years").is_some());
        Ok(BucketLock {
            is_versioned,
            locks_for_compliance: locks,
        })
    }

    /// Puts an object that is not there yet. The store checks its SHA-256.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), S3Error> {
        let path = self.path(name)?;
        let options = PutOptions::from(PutMode::Create);
        self.wait(self.store.put_opts(&path, PutPayload::from(bytes), options))
            .map(drop)
            .map_err(refused)
    }

    /// What the store says of an object.
    pub fn stat(&self, name: &str) -> Result<Remote, S3Error> {
        let mode = (CHECKSUM_MODE, HeaderValue::from_static("ENABLED"));
        let answer = self.ask(Method::HEAD, name, "", &[mode])?;
        let headers = &answer.headers;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_compliance = header("x-amz-object-lock-mode") == Some("COMPLIANCE");
        let until = header("x-amz-object-lock-retain-until-date").and_then(|at| at.parse().ok());
        let bytes = header("content-length").and_then(|bytes| bytes.parse().ok());
        Ok(Remote {
            bytes: bytes.ok_or_else(|| S3Error::Refused("an answer without a length".into()))?,
            sha256: header(CHECKSUM.as_str())
                .and_then(|text| STANDARD.decode(text).ok()?.try_into().ok()),
            version: header("x-amz-version-id").map(str::to_owned),
            retained_until: until.filter(|_| is_compliance),
            is_held: header("x-amz-object-lock-legal-hold") == Some("ON"),
        })
    }

    /// A range of an object, of this version if one is given.
    pub fn read(
        &self,
        name: &str,
        version: Option<&str>,
        range: Range<u64>,
    ) -> Result<Vec<u8>, S3Error> {
        let path = self.path(name)?;
        let len = range.end.saturating_sub(range.start);
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            version: version.map(str::to_owned),
            ..GetOptions::default()
        };
        let read = async {
            let answer = self.store.get_opts(&path, options).await?;
            answer.bytes().await
        };
        let bytes = self.wait(read).map_err(refused)?;
        // A connection that was cut must not pass for the end of a file.
        if bytes.len() as u64 == len {
            Ok(bytes.into())
        } else {
            Err(S3Error::Unavailable("the answer was cut".into()))
        }
    }

    /// Locks an object for compliance until a date. The store refuses an earlier one.
    pub fn retain(&self, name: &str, version: Option<&str>, until: Wall) -> Result<(), S3Error> {
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>COMPLIANCE</Mode>\
             <RetainUntilDate>{until}</RetainUntilDate></Retention>"
        );
        let query = with_version("retention", version);
        self.tell(Method::PUT, name, &query, body)
    }

    /// Puts a legal hold on an object, or takes it away.
    pub fn hold(&self, name: &str, version: Option<&str>, is_held: bool) -> Result<(), S3Error> {
        let status = if is_held { "ON" } else { "OFF" };
        let body = format!(
            "<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status>\
             </LegalHold>"
        );
        let query = with_version("legal-hold", version);
        self.tell(Method::PUT, name, &query, body)
    }

    /// Deletes a version of an object, for good. The store refuses before its date. One that is gone
    /// already is fine.
    pub fn delete(&self, name: &str, version: Option<&str>) -> Result<(), S3Error> {
        let query = version.map_or(String::new(), |version| format!("versionId={version}"));
        match self.ask(Method::DELETE, name, &query, &[]) {
            Ok(_) | Err(S3Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn path(&self, name: &str) -> Result<Path, S3Error> {
        let path = format!("{}{name}", self.config.prefix);
        Path::parse(path).map_err(|error| S3Error::Refused(error.to_string()))
    }

    fn tell(&self, method: Method, name: &str, query: &str, body: String) -> Result<(), S3Error> {
        let sum = STANDARD.encode(digest(&SHA256, body.as_bytes()));
        let sum = HeaderValue::try_from(sum).expect("base64 is a header's text");
        let headers = [
            (CHECKSUM, sum),
            (CHECKSUM_ALGORITHM, HeaderValue::from_static("SHA256")),
        ];
        self.send(method, name, query, &headers, body).map(drop)
    }

    fn ask(
        &self,
        method: Method,
        name: &str,
        query: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, S3Error> {
        self.send(method, name, query, headers, String::new())
    }

    /// Sends one signed request. An empty name is the bucket itself.
    fn send(
        &self,
        method: Method,
        name: &str,
        query: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: String,
    ) -> Result<Answer, S3Error> {
        let (endpoint, bucket) = (self.config.endpoint(), &self.config.bucket);
        let mut uri = format!("{endpoint}/{bucket}");
        if !name.is_empty() {
            uri = format!("{uri}/{}", self.path(name)?);
        }
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(HttpRequestBody::from(body))
            .map_err(|error| S3Error::Refused(error.to_string()))?;
        request.headers_mut().extend(headers.iter().cloned());
        self.wait(async {
            let credential = self.store.credentials().get_credential().await;
            let credential = credential.map_err(refused)?;
            AwsAuthorizer::new(&credential, "s3", &self.config.region)
                .try_authorize(&mut request, None)
                .map_err(refused)?;
            let answer = self.client.execute(request).await.map_err(failed)?;
            Answer::read(answer).await
        })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        runtime.block_on(future)
    }
}

fn with_version(query: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{query}&versionId={version}"),
        None => query.to_owned(),
    }
}

/// An answer that says yes.
struct Answer {
    headers: HeaderMap,
    text: String,
}

impl Answer {
    async fn read(answer: HttpResponse) -> Result<Self, S3Error> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().bytes().await.map_err(failed)?;
        let body = &body[..body.len().min(ANSWER_BYTES_MAX)];
        let text = String::from_utf8_lossy(body).into_owned();
        let code = element(&text, "Code").unwrap_or_default();
        match status {
            status if status.is_success() => Ok(Self { headers, text }),
            StatusCode::NOT_FOUND => Err(S3Error::NotFound),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(S3Error::Unavailable(status.to_string()))
            }
            status if status.is_server_error() => Err(S3Error::Unavailable(status.to_string())),
            status => Err(S3Error::Refused(format!("{status} {code}"))),
        }
    }
}

/// The text of the first element of this name. The store's documents are flat and ours to trust as
/// far as its answers are; whatever does not fit is no answer.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("<{name}");
    let from = xml.match_indices(&open).find_map(|(at, _)| {
        let rest = &xml[at + open.len()..];
        let is_whole = rest.starts_with('>') || rest.starts_with(' ');
        let end = rest.find('>').filter(|_| is_whole)?;
        Some(at + open.len() + end + 1)
    })?;
    let until = xml[from..].find(&format!("</{name}>"))?;
    Some(xml[from..from + until].trim())
}

/// Any text as an answer of a store: whatever it is, nothing but "no answer" comes of it.
pub(crate) fn fuzz(xml: &str) {
    for name in ["Status", "Mode", "Days", "RetainUntilDate"] {
        let inner = element(xml, name);
        assert!(inner.is_none_or(|inner| inner.len() + 2 * name.len() + 5 <= xml.len()));
    }
}

/// The crate's errors in ours.
fn refused(error: object_store::Error) -> S3Error {
    use object_store::Error;
    match error {
        Error::AlreadyExists { .. } => S3Error::Exists,
        Error::NotFound { .. } => S3Error::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            S3Error::Refused("no permission".into())
        }
        other => S3Error::Unavailable(innermost(&other)),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "errors are mapped by value everywhere"
)]
fn failed(error: HttpError) -> S3Error {
    S3Error::Unavailable(innermost(&error))
}

/// The root of an error in its own words: the outer ones name objects.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Says in every upload which checksum it carries, and signs it again: some stores keep the
/// checksum only if they are told its algorithm, and `object_store` does not tell.
#[derive(Debug, Default)]
struct Announcing {
    credentials: Arc<OnceLock<AwsCredentialProvider>>,
    region: String,
}

impl Announcing {
    fn with_region(self, region: &str) -> Self {
        Self {
            region: region.to_owned(),
            ..self
        }
    }
}

impl HttpConnector for Announcing {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(AnnouncingClient {
            inner: ReqwestConnector::default().connect(options)?,
            credentials: Arc::clone(&self.credentials),
            region: self.region.clone(),
        }))
    }
}

#[derive(Debug)]
struct AnnouncingClient {
    inner: HttpClient,
    credentials: Arc<OnceLock<AwsCredentialProvider>>,
    region: String,
}

impl AnnouncingClient {
    async fn announce(&self, request: &mut HttpRequest) -> Result<(), object_store::Error> {
        let headers = request.headers_mut();
        let carries = headers.contains_key(&CHECKSUM);
        let (Some(credentials), true) = (self.credentials.get(), carries) else {
            return Ok(());
        };
        headers.insert(CHECKSUM_ALGORITHM, HeaderValue::from_static("SHA256"));
        headers.remove(http::header::AUTHORIZATION);
        let sum = headers.get(&CHECKSUM).and_then(|sum| sum.to_str().ok());
        let sum = sum.and_then(|sum| STANDARD.decode(sum).ok());
        headers.remove(CONTENT_SHA256);
        let credential = credentials.get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(request, sum.as_deref())
    }
}

#[async_trait::async_trait]
impl HttpService for AnnouncingClient {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.announce(&mut request)
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        self.inner.execute(request).await
    }
}

/// The SHA-256 of an object whose store does not keep it: all of it is read again.
pub fn sum_of(bytes: &Bytes) -> [u8; 32] {
    let sum = digest(&SHA256, bytes);
    sum.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_itself() {
        let config = S3Config {
            access_key_id: Some("id".into()),
            secret_access_key: Some(Hidden::new("open-sesame")),
            ..S3Config::new("consults")
        };
        assert!(!format!("{config:?}").contains("sesame"));
        let json = serde_json::to_string(&config).expect("is JSON");
        assert!(!json.contains("sesame"), "{json}");
    }

    #[test]
    fn wrong_configuration_is_named() {
        let config = || S3Config::new("consults");
        assert_eq!(config().check(), Ok(()));
        let at = |endpoint: &str| S3Config {
            endpoint: Some(endpoint.into()),
            ..config()
        };
        assert_eq!(at("http://127.0.0.1:9000").check(), Ok(()));
        assert_eq!(at("http://[::1]:9000").check(), Ok(()));
        assert_eq!(at("https://s3.example.org/").check(), Ok(()));
        for (wrong, key) in [
            (at("http://s3.example.org"), "s3.insecure_http"),
            (at("s3.example.org"), "s3.endpoint"),
            (S3Config::new(""), "s3.bucket"),
            (S3Config::new("a/b"), "s3.bucket"),
            (
                S3Config {
                    prefix: "a b".into(),
                    ..config()
                },
                "s3.prefix",
            ),
            (
                S3Config {
                    access_key_id: Some("id".into()),
                    ..config()
                },
                "s3.secret_access_key",
            ),
        ] {
            let said = wrong.check().expect_err("must be refused");
            assert!(said.contains(key), "{said}");
        }
    }

    #[test]
    fn elements_are_found_and_nonsense_is_none() {
        let xml =
            "<?xml version=\"1.0\"?><A xmlns=\"x\"><Mode>COMPLIANCE</Mode><Days> 3 </Days></A>";
        assert_eq!(element(xml, "Mode"), Some("COMPLIANCE"));
        assert_eq!(element(xml, "Days"), Some("3"));
        assert!(element(xml, "A").is_some_and(|inner| inner.starts_with("<Mode>")));
        for nonsense in [
            "",
            "<",
            "<Mode",
            "<Mode>",
            "<Mode>x</Mod",
            "</Mode><Mode>",
            "<Models>x</Models>",
        ] {
            assert_eq!(element(nonsense, "Mode"), None, "{nonsense}");
        }
    }
}
