//! Requests to record, in the words of LiveKit's Egress API, and the book of them.
//!
//! Whatever is asked for (a room, a participant, a track), what comes of it is one sealed recording
//! of the room, so several egresses of a room share it. A room changes its egresses; the book keeps
//! the last state of each for listing and, over a restart, those that go on when their room comes
//! back. Of what is asked about files only their names are kept, because applications look for them in
//! the answers; storage is dropped, for it may hold credentials.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{ApiError, Code};
use crate::wire::proto::egress_info::Request;
use crate::wire::proto::{
    EgressInfo, EgressSourceType, EgressStatus, EncodedFileOutput, FileInfo,
    RoomCompositeEgressRequest, track_egress_request,
};

/// What an object store takes as a name.
const FILE_NAME_BYTES_MAX: usize = 1024;

/// A request to record.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The room's name.
    pub room: String,
    /// What must be there.
    pub target: Target,
    /// The request without where its files were to go, as it is shown in lists.
    pub request: Request,
}

/// What a request to record is about; it must be there, and the room is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The room.
    Room,
    /// A participant, by identity.
    Participant(String),
    /// Tracks, by sid.
    Tracks(Vec<String>),
}

/// Why a request to record, or to stop, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressRefusal {
    /// There is no such room.
    #[error("requested room does not exist")]
    NoRoom,
    /// There is nobody of that identity.
    #[error("participant does not exist")]
    NoParticipant,
    /// There is no such track.
    #[error("track does not exist")]
    NoTrack,
    /// There is no such egress.
    #[error("egress does not exist")]
    NoEgress,
    /// It has ended already.
    #[error("egress is over")]
    Over,
    /// The policy says so.
    #[error("this room is never recorded (recording.policy)")]
    Never,
    /// The policy says so.
    #[error("this room must be recorded to its end (recording.policy)")]
    Must,
    /// The recorder says why.
    #[error("{text}")]
    Recorder {
        /// The disk is full, or another bound is reached.
        is_full: bool,
        /// Why, in plain words.
        text: String,
    },
    /// The room has ended meanwhile.
    #[error("the room is closing")]
    Closing,
}

impl From<EgressRefusal> for ApiError {
    fn from(refusal: EgressRefusal) -> Self {
        let code = match refusal {
            EgressRefusal::NoRoom
            | EgressRefusal::NoParticipant
            | EgressRefusal::NoTrack
            | EgressRefusal::NoEgress => Code::NotFound,
            EgressRefusal::Over
            | EgressRefusal::Never
            | EgressRefusal::Must
            | EgressRefusal::Recorder { is_full: false, .. } => Code::FailedPrecondition,
            EgressRefusal::Recorder { is_full: true, .. } => Code::NoStorage,
            EgressRefusal::Closing => Code::Unavailable,
        };
        Self::Api(code, refusal.to_string())
    }
}

/// Whether an egress will not change any more.
pub fn is_over(info: &EgressInfo) -> bool {
    matches!(
        info.status(),
        EgressStatus::EgressComplete
            | EgressStatus::EgressFailed
            | EgressStatus::EgressAborted
            | EgressStatus::EgressLimitReached
    )
}

/// A fresh egress.
pub fn begun(id: String, room_sid: &str, room: &str, request: Request) -> EgressInfo {
    let now = now_ns();
    EgressInfo {
        egress_id: id,
        room_id: room_sid.to_owned(),
        room_name: room.to_owned(),
        source_type: EgressSourceType::Sdk as i32,
        status: EgressStatus::EgressStarting as i32,
        started_at: now,
        updated_at: now,
        request: Some(request),
        ..EgressInfo::default()
    }
}

/// The request of a room that is recorded without having been asked for.
pub fn whole_room(room: &str) -> Request {
    Request::RoomComposite(RoomCompositeEgressRequest {
        room_name: room.to_owned(),
        ..RoomCompositeEgressRequest::default()
    })
}

/// An egress becomes this.
pub fn advance(info: &mut EgressInfo, status: EgressStatus, error: &str) {
    let now = now_ns();
    info.set_status(status);
    error.clone_into(&mut info.error);
    info.updated_at = now;
    if is_over(info) {
        info.ended_at = now;
        for file in &mut info.file_results {
            file.ended_at = now;
            file.duration = now - file.started_at;
        }
    }
}

/// An egress is carried by this recording. Its location says which; its name is the one that was
/// asked for, by which applications know their own files, or else the recording's.
pub fn carried_by(info: &mut EgressInfo, recording: &str) {
    let location = format!("recordings/{recording}");
    let is_known = |file: &FileInfo| file.location == location;
    if info.file_results.iter().any(is_known) {
        return;
    }
    let filename = asked_file(info).unwrap_or(recording).to_owned();
    info.file_results.push(FileInfo {
        filename,
        location,
        started_at: now_ns(),
        ..FileInfo::default()
    });
}

/// The name of the file that was asked for.
fn asked_file(info: &EgressInfo) -> Option<&str> {
    let name = match info.request.as_ref()? {
        Request::RoomComposite(asked) => &asked.file_outputs.first()?.filepath,
        Request::Participant(asked) => &asked.file_outputs.first()?.filepath,
        Request::TrackComposite(asked) => &asked.file_outputs.first()?.filepath,
        Request::Track(asked) => match asked.output.as_ref()? {
            track_egress_request::Output::File(file) => &file.filepath,
            track_egress_request::Output::WebsocketUrl(_) => return None,
        },
        _ => return None,
    };
    let is_good = !name.is_empty() && name.len() <= FILE_NAME_BYTES_MAX;
    is_good.then_some(name.as_str())
}

/// What is kept of the files that were asked for.
pub fn named(files: &[EncodedFileOutput]) -> Vec<EncodedFileOutput> {
    let kept = files.first().map(|file| EncodedFileOutput {
        file_type: file.file_type,
        filepath: file.filepath.clone(),
        ..EncodedFileOutput::default()
    });
    kept.into_iter().collect()
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_nanos() as i64
}

/// All egresses of this server.
#[derive(Debug)]
pub struct EgressBook {
    entries: Mutex<Entries>,
    over_max: usize,
}

#[derive(Debug, Default)]
struct Entries {
    all: BTreeMap<String, EgressInfo>,
    /// Those of a process that was killed, until their room comes back.
    waiting: HashMap<String, Vec<EgressInfo>>,
}

impl EgressBook {
    /// The egresses that were kept; of those that are over, at most `over_max` stay.
    pub fn new(kept: impl IntoIterator<Item = EgressInfo>, over_max: usize) -> Self {
        let mut entries = Entries::default();
        for info in kept {
            if !is_over(&info) {
                let room = info.room_name.clone();
                entries.waiting.entry(room).or_default().push(info.clone());
            }
            entries.all.insert(info.egress_id.clone(), info);
        }
        Self {
            entries: Mutex::new(entries),
            over_max,
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries
            .lock()
            .expect("nothing panics while the book is locked")
    }

    /// Writes down how an egress is now.
    pub fn put(&self, info: EgressInfo) {
        let mut entries = self.entries();
        let has_ended = is_over(&info);
        entries.all.insert(info.egress_id.clone(), info);
        if !has_ended {
            return;
        }
        let over = entries.all.values().filter(|one| is_over(one));
        let mut over: Vec<_> = over
            .map(|one| (one.updated_at, one.egress_id.clone()))
            .collect();
        over.sort_unstable();
        let surplus = over.len().saturating_sub(self.over_max);
        for (_, id) in &over[..surplus] {
            entries.all.remove(id);
        }
    }

    /// How an egress is.
    pub fn find(&self, id: &str) -> Option<EgressInfo> {
        self.entries().all.get(id).cloned()
    }

    /// Those of a room (of all rooms if empty), the latest first.
    pub fn list(&self, room: &str, id: &str, only_active: bool) -> Vec<EgressInfo> {
        let entries = self.entries();
        let mut found: Vec<EgressInfo> = entries
            .all
            .values()
            .filter(|one| room.is_empty() || one.room_name == room)
            .filter(|one| id.is_empty() || one.egress_id == id)
            .filter(|one| !only_active || !is_over(one))
            .cloned()
            .collect();
        found.sort_by_key(|one| std::cmp::Reverse(one.started_at));
        found
    }

    /// A room has come back: what was asked for before the process was killed goes on.
    pub fn resume(&self, room: &str) -> Vec<EgressInfo> {
        self.entries().waiting.remove(room).unwrap_or_default()
    }

    /// Rooms that have not come back will not: their egresses are over. Returns them.
    pub fn give_up(&self) -> Vec<EgressInfo> {
        let waiting = std::mem::take(&mut self.entries().waiting);
        let mut ended: Vec<EgressInfo> = waiting.into_values().flatten().collect();
        for info in &mut ended {
            let why = "the server was restarted and nobody came back";
            advance(info, EgressStatus::EgressAborted, why);
            self.put(info.clone());
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str, room: &str, status: EgressStatus, at: i64) -> EgressInfo {
        let mut info = begun(id.into(), "RM_1", room, whole_room(room));
        info.set_status(status);
        info.started_at = at;
        info.updated_at = at;
        info
    }

    #[test]
    fn the_book_lists_by_room_and_state_and_forgets_the_oldest() {
        let book = EgressBook::new([], 2);
        for n in 0..4 {
            let id = format!("EG_{n}");
            book.put(info(&id, "a", EgressStatus::EgressComplete, n));
        }
        book.put(info("EG_9", "b", EgressStatus::EgressActive, 9));
        let ids = |found: Vec<EgressInfo>| -> Vec<String> {
            found.into_iter().map(|one| one.egress_id).collect()
        };
        assert_eq!(ids(book.list("", "", false)), ["EG_9", "EG_3", "EG_2"]);
        assert_eq!(ids(book.list("a", "", false)), ["EG_3", "EG_2"]);
        assert_eq!(ids(book.list("", "", true)), ["EG_9"]);
        assert_eq!(ids(book.list("", "EG_2", false)), ["EG_2"]);
        assert_eq!(book.find("EG_0"), None);
    }

    #[test]
    fn a_file_has_the_name_that_was_asked_for_and_the_place_of_the_recording() {
        let files = |path: &str| {
            Request::RoomComposite(RoomCompositeEgressRequest {
                file_outputs: named(&[EncodedFileOutput {
                    filepath: path.into(),
                    ..EncodedFileOutput::default()
                }]),
                ..RoomCompositeEgressRequest::default()
            })
        };
        let too_long = "x".repeat(FILE_NAME_BYTES_MAX + 1);
        for (asked, expected) in [
            (files("round/round--1.mp4"), "round/round--1.mp4"),
            (files(""), "01J"),
            (files(&too_long), "01J"),
            (whole_room("a"), "01J"),
        ] {
            let mut info = begun("EG_1".into(), "RM_1", "a", asked);
            carried_by(&mut info, "01J");
            carried_by(&mut info, "01J");
            let [file] = &info.file_results[..] else {
                panic!("one file: {info:?}");
            };
            assert_eq!(
                (&*file.filename, &*file.location),
                (expected, "recordings/01J")
            );
        }
    }

    #[test]
    fn what_a_killed_process_left_goes_on_with_its_room_or_is_given_up() {
        let kept = [
            info("EG_1", "a", EgressStatus::EgressActive, 1),
            info("EG_2", "b", EgressStatus::EgressStarting, 2),
            info("EG_3", "a", EgressStatus::EgressComplete, 3),
        ];
        let book = EgressBook::new(kept, 10);
        let resumed = book.resume("a");
        assert_eq!(resumed.len(), 1);
        assert_eq!(resumed[0].egress_id, "EG_1");
        assert!(book.resume("a").is_empty(), "once");
        let ended = book.give_up();
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].status(), EgressStatus::EgressAborted);
        assert!(ended[0].ended_at > 0);
        assert!(!is_over(&book.find("EG_1").expect("still there")));
    }
}
