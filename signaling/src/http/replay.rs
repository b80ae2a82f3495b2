//! The archive for compliance staff: list, files, release, replay, holds, verification, audit.
//!
//! Everything below `/compliance/api/v1` needs a token whose claim `consilium` has the role
//! `compliance`; its bearer sees the recordings of the API key that signed it and no others. What is
//! served of a segment is ciphertext, and no byte of it leaves before the archive has audited the
//! range in the name of a replay. What is decided and audited is the archive's affair; here are the
//! addresses, the forms and the statuses.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use recorder::access::{Actor, Refused, ReleaseRequest, ReplayId};
use recorder::archive::{Archive, ReadError};
use recorder::catalogue::{FileEntry, State as Life, Summary};
use recorder::folder::Part;
use recorder::header::owner_tag;
use recorder::id::RecordingId;
use recorder::wall::Wall;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Caller, Front};
use crate::error::ApiError;
use crate::token::{TokenError, Verified};

/// The role of those who may come in.
const ROLE: &str = "compliance";
/// In whose name segments are read.
const REPLAY: HeaderName = HeaderName::from_static("consilium-replay");
/// Bytes of a request: a reason, or the spans of ten seconds.
const BODY_BYTES_MAX: usize = 64 << 10;
/// What is read and sent at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// A file that is shown as part of a recording: a manifest of a day has some hundred kilobytes.
const SHOWN_BYTES_MAX: u64 = 16 << 20;

/// The addresses under `/compliance/api/v1`.
pub(super) fn routes() -> Router<Arc<Front>> {
    let api = Router::new()
        .route("/recordings", get(list))
        .route("/recordings/{id}", get(show).delete(destroy))
        .route("/recordings/{id}/files/{name}", get(file))
        .route("/recordings/{id}/release", post(release))
        .route("/recordings/{id}/verify", post(verify))
        .route("/recordings/{id}/holds", post(hold))
        .route("/recordings/{id}/holds/{case}", delete(lift))
        .route("/recordings/{id}/extend", post(extend))
        .route("/recordings/{id}/audit", get(audit))
        .route("/replays/{replay}/watched", post(watched))
        .route("/replays/{replay}/exported", post(exported))
        .route("/replays/{replay}/end", post(end))
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*path}", get(tile))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(keep_out_of_caches));
    Router::new().nest("/compliance/api/v1", api)
}

async fn keep_out_of_caches(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Why somebody does not get what he asked for.
#[derive(Debug)]
enum Denied {
    /// By the front door.
    Door(ApiError),
    /// By the archive.
    Archive(Refused),
    /// The file cannot be had.
    Read(ReadError),
    /// Something about the request; a word and a sentence.
    Request(StatusCode, &'static str, String),
}

impl From<ApiError> for Denied {
    fn from(error: ApiError) -> Self {
        Self::Door(error)
    }
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        Self::Archive(refused)
    }
}

impl From<ReadError> for Denied {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<JsonRejection> for Denied {
    fn from(rejection: JsonRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl Denied {
    fn bad(why: impl Into<String>) -> Self {
        Self::Request(StatusCode::BAD_REQUEST, "bad_request", why.into())
    }
}

fn status_of(refused: &Refused) -> StatusCode {
    match refused {
        Refused::NotFound | Refused::OtherOwner | Refused::NotHeld => StatusCode::NOT_FOUND,
        Refused::NoReason { .. }
        | Refused::NotACase { .. }
        | Refused::NotAList
        | Refused::NotWatchable => StatusCode::BAD_REQUEST,
        Refused::UnknownOfficer
        | Refused::RevokedOfficer
        | Refused::OfficersMissing { .. }
        | Refused::Unopened
        | Refused::NoReplay => StatusCode::FORBIDDEN,
        Refused::Expired => StatusCode::GONE,
        Refused::Open
        | Refused::Retained { .. }
        | Refused::ClockJumped { .. }
        | Refused::Held { .. }
        | Refused::OnlyExtended { .. }
        | Refused::Unverified
        | Refused::AlreadyHeld => StatusCode::CONFLICT,
        Refused::AuditUnwritable | Refused::ShareUnreadable | Refused::Storage => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, code, message, until) = match self {
            Self::Door(error) => {
                let code = error.code().word();
                (error.status(), code, error.to_string(), None)
            }
            Self::Archive(refused) => {
                let until = refused.until().map(|until| until.to_string());
                let text = refused.to_string();
                (status_of(&refused), refused.code(), text, until)
            }
            Self::Read(error) => {
                let (status, code) = match error {
                    ReadError::NotFound => (StatusCode::NOT_FOUND, "not_found"),
                    ReadError::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "range"),
                    ReadError::Io(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage"),
                };
                // What the system says about a file names its path.
                let text = match error {
                    ReadError::Io(_) => "the file cannot be read now".to_owned(),
                    other => other.to_string(),
                };
                (status, code, text, None)
            }
            Self::Request(status, code, text) => (status, code, text, None),
        };
        let mut body = json!({"code": code, "message": message});
        if let Some(until) = until {
            body["until"] = Value::String(until);
        }
        (status, Json(body)).into_response()
    }
}

/// Somebody of the compliance staff, and the archive that he may ask.
struct Officer {
    actor: Actor,
    archive: Arc<Archive>,
}

impl FromRequestParts<Arc<Front>> for Officer {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, front: &Arc<Front>) -> Result<Self, Denied> {
        let value = parts.headers.get(header::AUTHORIZATION);
        let token = value
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(ApiError::Token(TokenError::Missing))?;
        let verified = front.keyring.verify(token).map_err(|error| {
            // Whoever tries tokens is slowed down; whoever has a good one seeks as he likes.
            let caller = parts.extensions.get::<Caller>();
            let refused = caller.map(|one| front.addresses.join(Instant::now(), one.address));
            match refused {
                Some(Err(too_many)) => too_many,
                _ => ApiError::Token(error),
            }
        })?;
        let actor = officer(verified)?;
        let archive = front.archive.clone().ok_or_else(|| {
            let text = "recording is not set up on this server".to_owned();
            Denied::Request(StatusCode::NOT_FOUND, "no_archive", text)
        })?;
        Ok(Self { actor, archive })
    }
}

fn officer(verified: Verified) -> Result<Actor, ApiError> {
    if verified.grants.consilium.role != ROLE {
        return Err(ApiError::NotGranted("the role compliance"));
    }
    if verified.grants.identity.is_empty() {
        return Err(ApiError::BadRequest("the token names no identity"));
    }
    Ok(Actor {
        identity: verified.grants.identity,
        owner: verified.key,
    })
}

impl Officer {
    /// Asks the archive on a thread where waiting for a disk hurts nobody.
    async fn ask<T: Send + 'static, E: Into<Denied> + Send + 'static>(
        &self,
        question: impl FnOnce(&Archive, &Actor) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Denied> {
        let (archive, actor) = (Arc::clone(&self.archive), self.actor.clone());
        let answer = tokio::task::spawn_blocking(move || question(&archive, &actor));
        let answer = answer.await.map_err(|_| ApiError::Internal)?;
        answer.map_err(Into::into)
    }

    /// The recording, if it is one of his. An attempt on somebody else's is audited.
    async fn mine(&self, id: RecordingId, action: &'static str) -> Result<Summary, Denied> {
        self.ask(move |archive, actor| own(archive, actor, id, action))
            .await
    }
}

fn own(
    archive: &Archive,
    actor: &Actor,
    id: RecordingId,
    action: &str,
) -> Result<Summary, Refused> {
    let found = archive.get(id).ok_or(Refused::NotFound)?;
    if found.owner == owner_tag(&actor.owner) {
        return Ok(found);
    }
    archive.note_refusal(id, actor, action, &Refused::OtherOwner)?;
    Err(Refused::OtherOwner)
}

/// The name of a recording in an address; what is none is not there.
fn named(id: &str) -> Result<RecordingId, Denied> {
    id.parse().map_err(|_| Refused::NotFound.into())
}

fn replay(text: &str) -> Result<ReplayId, Denied> {
    text.parse().map_err(|_| Refused::NoReplay.into())
}

/// What the list may be narrowed by.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Filter {
    from: Option<String>,
    until: Option<String>,
    state: Option<String>,
    class: Option<String>,
    room_sid: Option<String>,
}

impl Filter {
    fn check(&self) -> Result<(Option<Wall>, Option<Wall>), Denied> {
        let time = |text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| text.parse::<Wall>())
                .transpose()
                .map_err(|error| Denied::bad(error.to_string()))
        };
        Ok((time(&self.from)?, time(&self.until)?))
    }

    fn admits(&self, one: &Summary) -> bool {
        let is_same = |wanted: &Option<String>, value: &str| {
            let wanted = wanted.as_deref().filter(|wanted| !wanted.is_empty());
            wanted.is_none_or(|wanted| wanted == value)
        };
        is_same(&self.state, life(one.state))
            && is_same(&self.class, &one.retention.class)
            && is_same(&self.room_sid, &one.room_sid)
    }
}

fn life(state: Life) -> &'static str {
    match state {
        Life::Open => "open",
        Life::Closed => "closed",
        Life::Incomplete => "incomplete",
        Life::Expired => "expired",
    }
}

/// `GET /recordings`: his recordings, the latest first.
async fn list(officer: Officer, Query(filter): Query<Filter>) -> Result<Response, Denied> {
    let (from, until) = filter.check()?;
    let mut found = officer
        .ask(|archive, actor| {
            let owner = owner_tag(&actor.owner);
            let mine = archive.list().into_iter().filter(|one| one.owner == owner);
            Ok::<_, Refused>(mine.collect::<Vec<Summary>>())
        })
        .await?;
    found.retain(|one| {
        filter.admits(one)
            && from.is_none_or(|from| one.started >= from)
            && until.is_none_or(|until| one.started < until)
    });
    found.sort_by_key(|one| std::cmp::Reverse(one.started));
    Ok(Json(json!({"recordings": found})).into_response())
}

/// One recording with what can be read of it in the clear.
#[derive(Serialize)]
struct Shown {
    summary: Summary,
    header: Option<Value>,
    manifest: Option<Value>,
    writers: Vec<Value>,
    files: Vec<FileEntry>,
}

/// `GET /recordings/{id}`.
async fn show(officer: Officer, Path(id): Path<String>) -> Result<Response, Denied> {
    let id = named(&id)?;
    let summary = officer.mine(id, "show").await?;
    let shown = officer
        .ask(move |archive, _| {
            let files = match archive.files(id) {
                Ok(files) => files,
                // Of an expired one nothing is left.
                Err(ReadError::NotFound) => Vec::new(),
                Err(error) => return Err(error),
            };
            let text = |part: &str| -> Option<Value> {
                let entry = files.iter().find(|one| one.name == part)?;
                let bytes = entry.bytes.min(SHOWN_BYTES_MAX);
                let bytes = archive.read(id, part, 0..bytes).ok()?;
                serde_json::from_slice(&bytes).ok()
            };
            let is_writer = |entry: &&FileEntry| {
                entry.name.starts_with("writer-") && entry.name.ends_with(".json")
            };
            let mut writers: Vec<&FileEntry> = files.iter().filter(is_writer).collect();
            writers.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(Shown {
                summary,
                header: text("header.json"),
                manifest: text("manifest.json").or_else(|| text("summary.json")),
                writers: writers
                    .iter()
                    .filter_map(|entry| text(&entry.name))
                    .collect(),
                files,
            })
        })
        .await?;
    Ok(Json(shown).into_response())
}

/// `GET /recordings/{id}/files/{name}`: a file, or a range of it.
async fn file(
    officer: Officer,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Denied> {
    let id = named(&id)?;
    let part: Part = name.parse().map_err(|_| ReadError::NotFound)?;
    officer.mine(id, "read").await?;
    let looked_up = name.clone();
    let bytes = officer
        .ask(move |archive, _| {
            let mut files = archive.files(id)?.into_iter();
            let found = files.find(|one| one.name == looked_up);
            found.map(|one| one.bytes).ok_or(ReadError::NotFound)
        })
        .await?;
    let asked = asked_range(headers.get(header::RANGE), bytes)?;
    let range = asked.clone().unwrap_or(0..bytes);
    if matches!(part, Part::Segment(_)) {
        serve_segment(&officer, id, &name, &headers, range.clone()).await?;
    }
    let mut response = Response::new(pieces(officer.archive, id, name, range.clone()));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    if asked.is_some() {
        let text = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
        let text = HeaderValue::from_str(&text).expect("digits and dashes");
        headers.insert(header::CONTENT_RANGE, text);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Sealed media leaves only in the name of a replay, after that has been written down.
async fn serve_segment(
    officer: &Officer,
    id: RecordingId,
    name: &str,
    headers: &HeaderMap,
    range: Range<u64>,
) -> Result<(), Denied> {
    let named = headers.get(REPLAY).and_then(|value| value.to_str().ok());
    let name = name.to_owned();
    match named.map(str::parse::<ReplayId>) {
        Some(Ok(replay)) => {
            officer
                .ask(move |archive, actor| archive.served(replay, actor, id, &name, range))
                .await
        }
        _ => {
            officer
                .ask(move |archive, actor| {
                    archive.note_refusal(id, actor, "serve", &Refused::NoReplay)?;
                    Err(Refused::NoReplay)
                })
                .await
        }
    }
}

/// The one range of a `Range` header (RFC 9110 section 14.2), if it lies in the file.
fn asked_range(value: Option<&HeaderValue>, bytes: u64) -> Result<Option<Range<u64>>, Denied> {
    let Some(value) = value else {
        return Ok(None);
    };
    let outside = || Denied::from(ReadError::Range { bytes });
    let text = value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="));
    let (first, last) = text
        .and_then(|text| text.split_once('-'))
        .ok_or_else(outside)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| outside());
    let range = match (first.trim(), last.trim()) {
        ("", last) => bytes.saturating_sub(number(last)?)..bytes,
        (first, "") => number(first)?..bytes,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(bytes),
    };
    match range.start < range.end {
        true => Ok(Some(range)),
        false => Err(outside()),
    }
}

/// A range as it comes from the disk, piece by piece. A file that cannot be read on cuts the answer
/// short, which the reader sees by its length.
fn pieces(archive: Arc<Archive>, id: RecordingId, name: String, range: Range<u64>) -> Body {
    let next = move |at: u64| {
        let (archive, name, end) = (Arc::clone(&archive), name.clone(), range.end);
        async move {
            if at >= end {
                return None;
            }
            let until = end.min(at + PIECE_BYTES);
            let read = move || archive.read(id, &name, at..until);
            let piece = match tokio::task::spawn_blocking(read).await {
                Ok(Ok(piece)) => Ok(Bytes::from(piece)),
                Ok(Err(error)) => Err(std::io::Error::other(error)),
                Err(error) => Err(std::io::Error::other(error)),
            };
            let at = if piece.is_ok() { until } else { end };
            Some((piece, at))
        }
    };
    Body::from_stream(futures_util::stream::unfold(range.start, next))
}

#[derive(Deserialize)]
struct AskRelease {
    reason: String,
    officer: String,
}

type Asked<T> = Result<Json<T>, JsonRejection>;

/// `POST /recordings/{id}/release`: the server's half of the key, for one replay.
async fn release(
    officer: Officer,
    Path(id): Path<String>,
    asked: Asked<AskRelease>,
) -> Result<Response, Denied> {
    let (id, Json(asked)) = (named(&id)?, asked?);
    let released = officer
        .ask(move |archive, actor| {
            let request = ReleaseRequest {
                actor: actor.clone(),
                officer: asked.officer,
                reason: asked.reason,
            };
            archive.release(id, &request)
        })
        .await?;
    let share = STANDARD.encode(&released.sealed_share);
    let replay = released.replay.to_string();
    Ok(Json(json!({"replay": replay, "share": share})).into_response())
}

#[derive(Deserialize)]
struct Watched {
    ranges: Vec<(u64, u64)>,
}

/// `POST /replays/{replay}/watched`: what was played since the last time.
async fn watched(
    officer: Officer,
    Path(id): Path<String>,
    asked: Asked<Watched>,
) -> Result<StatusCode, Denied> {
    let (id, Json(asked)) = (replay(&id)?, asked?);
    let ranges: Vec<Range<u64>> = asked
        .ranges
        .iter()
        .map(|&(from, until)| from..until)
        .collect();
    officer
        .ask(move |archive, actor| archive.watched(id, actor, &ranges))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Exported {
    what: String,
    /// The list of files, to be signed.
    list: Option<String>,
}

/// `POST /replays/{replay}/exported`. A list of files is signed once the audit has it.
async fn exported(
    officer: Officer,
    Path(id): Path<String>,
    asked: Asked<Exported>,
) -> Result<Response, Denied> {
    let (id, Json(asked)) = (replay(&id)?, asked?);
    let signed = officer
        .ask(move |archive, actor| match &asked.list {
            Some(list) => archive
                .sign_export(id, actor, &asked.what, list.as_bytes())
                .map(Some),
            None => archive.exported(id, actor, &asked.what).map(|()| None),
        })
        .await?;
    Ok(match signed {
        Some(signature) => Json(json!({"signature": STANDARD.encode(signature)})).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// `POST /replays/{replay}/end`.
async fn end(officer: Officer, Path(id): Path<String>) -> Result<StatusCode, Denied> {
    let id = replay(&id)?;
    officer
        .ask(move |archive, actor| archive.end_replay(id, actor))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /recordings/{id}/verify`: reads all of it, which takes its time; one at a time.
async fn verify(
    State(front): State<Arc<Front>>,
    officer: Officer,
    Path(id): Path<String>,
) -> Result<Response, Denied> {
    let id = named(&id)?;
    let _turn = front.verifying.lock().await;
    let found = officer
        .ask(move |archive, actor| archive.verify(id, actor))
        .await?;
    Ok(Json(found).into_response())
}

#[derive(Deserialize)]
struct Hold {
    case: String,
    reason: String,
}

/// `POST /recordings/{id}/holds`.
async fn hold(
    officer: Officer,
    Path(id): Path<String>,
    asked: Asked<Hold>,
) -> Result<StatusCode, Denied> {
    let (id, Json(asked)) = (named(&id)?, asked?);
    officer
        .ask(move |archive, actor| archive.hold(id, actor, &asked.case, &asked.reason))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /recordings/{id}/holds/{case}`.
async fn lift(
    officer: Officer,
    Path((id, case)): Path<(String, String)>,
) -> Result<StatusCode, Denied> {
    let id = named(&id)?;
    officer
        .ask(move |archive, actor| archive.lift_hold(id, actor, &case))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Extend {
    until: Wall,
    reason: String,
}

/// `POST /recordings/{id}/extend`.
async fn extend(
    officer: Officer,
    Path(id): Path<String>,
    asked: Asked<Extend>,
) -> Result<StatusCode, Denied> {
    let (id, Json(asked)) = (named(&id)?, asked?);
    officer
        .ask(move |archive, actor| archive.extend(id, actor, asked.until, &asked.reason))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /recordings/{id}`: before its date, 409 for everyone.
async fn destroy(officer: Officer, Path(id): Path<String>) -> Result<StatusCode, Denied> {
    let id = named(&id)?;
    officer
        .ask(move |archive, actor| archive.delete(id, actor))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /recordings/{id}/audit`.
async fn audit(officer: Officer, Path(id): Path<String>) -> Result<Response, Denied> {
    let id = named(&id)?;
    let entries = officer
        .ask(move |archive, actor| archive.audit_of(id, actor))
        .await?;
    Ok(Json(json!({"entries": entries})).into_response())
}

/// `GET /log/checkpoint`.
async fn checkpoint(officer: Officer) -> Result<Response, Denied> {
    let note = officer.ask(|archive, _| archive.checkpoint()).await?;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], note).into_response())
}

/// `GET /log/tile/…`.
async fn tile(officer: Officer, Path(path): Path<String>) -> Result<Response, Denied> {
    let tile = officer.ask(move |archive, _| archive.tile(&path)).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind)], tile).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Consilium, Grants};
    use std::time::SystemTime;

    fn range(text: &str, bytes: u64) -> Option<Range<u64>> {
        let value = HeaderValue::from_str(text).expect("a header");
        asked_range(Some(&value), bytes).ok().flatten()
    }

    #[test]
    fn one_range_that_lies_in_the_file_is_served() {
        assert_eq!(range("bytes=0-9", 100), Some(0..10));
        assert_eq!(range("bytes=90-", 100), Some(90..100));
        assert_eq!(range("bytes=90-500", 100), Some(90..100));
        assert_eq!(range("bytes=-10", 100), Some(90..100));
        assert_eq!(range("bytes=-500", 100), Some(0..100));
        for wrong in [
            "bytes=100-",
            "bytes=9-3",
            "bytes=-0",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=18446744073709551615-18446744073709551615",
            "bytes=-",
        ] {
            let value = HeaderValue::from_static(wrong);
            assert!(asked_range(Some(&value), 100).is_err(), "{wrong}");
        }
        assert!(matches!(asked_range(None, 100), Ok(None)));
    }

    #[test]
    fn only_the_role_opens_and_a_participant_has_none() {
        let token = |role: &str, identity: &str| Verified {
            issued_at: None,
            key: "clinic".into(),
            expires_at: SystemTime::now(),
            grants: Grants {
                identity: identity.into(),
                consilium: Consilium { role: role.into() },
                ..Grants::default()
            },
        };
        let actor = officer(token("compliance", "chen")).expect("an officer");
        assert_eq!(
            (actor.identity.as_str(), actor.owner.as_str()),
            ("chen", "clinic")
        );
        assert!(officer(token("", "chen")).is_err());
        assert!(officer(token("Compliance", "chen")).is_err());
        assert!(officer(token("compliance", "")).is_err());
    }

    #[test]
    fn a_refusal_has_a_word_a_sentence_and_the_date() {
        let until: Wall = "2029-11-22T02:00:00.000Z".parse().expect("a time");
        let refused = Denied::from(Refused::Retained { until });
        let response = refused.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        let other = status_of(&Refused::OtherOwner);
        assert_eq!(other, status_of(&Refused::NotFound), "not to be told apart");
    }
}
