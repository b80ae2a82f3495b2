//! The parsers of what a recording is made of, for any bytes: no panic, and whatever must hold of
//! everything that was accepted.
//!
//! `recorder/tests/fuzz.rs` feeds them mutations of real files, and many more under `make fuzz`.

use std::io::Cursor;

use crate::age::header::Header as AgeHeader;
use crate::age::stream::CHUNK_LEN;
use crate::age::{self, Identity};
use crate::contents::{Gap, OpenSummary};
use crate::header::{Header, Writer};
use crate::id::RecordingId;
use crate::journal::body::{Event, SegmentEnd, SegmentHead, Track};
use crate::journal::reader::SegmentReader;
use crate::journal::record::{HEAD_LEN, Record, SenderReport};
use crate::keys::secret::Secret;
use crate::keys::share::{Half, Share};
use crate::wall::Wall;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// Every function of this module, by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("record", record),
    ("age_header", age_header),
    ("segment", segment),
    ("header_json", header_json),
    ("bodies", bodies),
    ("share", share),
    ("texts", texts),
];

/// A recording for the parsers that compare with one.
fn recording() -> RecordingId {
    RecordingId::new(Wall::from_millis(1), [1; 10])
}

/// Whose key opens the seeds of [`segment`].
pub fn identity() -> Identity {
    Identity::new(Secret::filled(|bytes| bytes.fill(7)))
}

/// Records one behind the other.
pub fn record(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((record, len))) = Record::parse(rest) {
        assert!(
            len >= HEAD_LEN + record.body.len(),
            "a record takes its head and its body"
        );
        let mut again = Vec::new();
        record.encode(&mut again);
        assert!(rest[..len].ends_with(&again), "is written as it was read");
        // What a reader makes of a body, whatever its kind.
        let _none_if_short = SenderReport::parse(record.body);
        rest = &rest[len..];
    }
}

/// The header of an age file.
pub fn age_header(bytes: &[u8]) {
    if let Ok(header) = AgeHeader::parse(bytes) {
        assert!(header.len <= bytes.len() && !header.stanzas.is_empty());
        let cut = AgeHeader::parse(&bytes[..header.len]);
        assert_eq!(cut.as_ref(), Ok(&header), "nothing behind it counts");
    }
}

/// A segment, or any other age file, in the hands of somebody who has its key.
pub fn segment(bytes: &[u8]) {
    let identity = identity();
    if let Ok(mut reader) = SegmentReader::open(Cursor::new(bytes), &identity) {
        let mut read = 0;
        while let Ok(Some(record)) = reader.next_record() {
            read += HEAD_LEN + record.body.len();
        }
        assert!(
            read <= bytes.len().next_multiple_of(CHUNK_LEN),
            "no more than was there"
        );
    }
    if let Ok(plaintext) = age::open(bytes, &identity) {
        assert!(plaintext.len() < bytes.len());
    }
    // A costly passphrase would take the time of all other inputs together.
    if !bytes.windows(8).any(|window| window == b"-> scryp") {
        assert!(age::open_by_passphrase(bytes, "passphrase").is_err());
    }
}

/// `header.json`, `writer-NNNNNN.json` and `summary.json`.
pub fn header_json(bytes: &[u8]) {
    if let Ok(header) = Header::parse(bytes) {
        // Times are written to the millisecond, so it is what was written that comes again.
        let again = Header::parse(&header.to_bytes()).expect("what was written is read");
        assert_eq!(again.to_bytes(), header.to_bytes());
    }
    if let Ok(writer) = Writer::parse(bytes) {
        let again = Writer::parse(&writer.to_bytes()).expect("what was written is read");
        assert_eq!(again.to_bytes(), writer.to_bytes());
    }
    let _none_of_another = OpenSummary::parse(bytes, recording());
}

/// The JSON bodies of records.
pub fn bodies(bytes: &[u8]) {
    let _track: Result<Track, _> = serde_json::from_slice(bytes);
    let _head: Result<SegmentHead, _> = serde_json::from_slice(bytes);
    let _end: Result<SegmentEnd, _> = serde_json::from_slice(bytes);
    let _gap: Result<Gap, _> = serde_json::from_slice(bytes);
    if let Ok(event) = serde_json::from_slice::<Event>(bytes) {
        let text = serde_json::to_vec(&event).expect("plain values can be written");
        let again: Event = serde_json::from_slice(&text).expect("what was written is read");
        assert_eq!(again.what, event.what);
    }
}

/// The plaintext of a share.
pub fn share(bytes: &[u8]) {
    for half in [Half::Compliance, Half::Release] {
        if let Ok(share) = Share::from_json(bytes, recording(), half) {
            assert!(share.index > 0 && share.threshold > 0);
        }
    }
}

/// Short texts: ids, times, keys, names of files.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(id) = text.parse::<RecordingId>() {
        assert_eq!(id.to_string(), text, "one recording, one name");
    }
    if let Ok(part) = text.parse::<crate::folder::Part>() {
        assert_eq!(part.to_string(), text, "one file, one name");
        assert!(!text.contains(['/', '\0']));
    }
    if let Ok(recipient) = text.parse::<age::Recipient>() {
        assert_eq!(recipient.to_string(), text, "one key, one text");
    }
    if let Ok(wall) = text.parse::<Wall>() {
        assert_eq!(
            wall.to_string().parse::<Wall>().map(Wall::millis),
            Ok(wall.millis())
        );
    }
    let _none_of_ours = Identity::from_text(text);
    let _likewise = crate::keys::officer::read_plain_file(bytes);
}
