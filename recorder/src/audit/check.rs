//! Verifies an audit offline: every link, every day's signature, every day's leaf in the log.
//!
//! Needs no key to find an altered, dropped, swapped or added line; the node's public key to know
//! that nobody else wrote the whole anew; the log to know that the node did not either. What it
//! cannot tell is whether lines were cut off the end of the newest day, and it says so.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

use serde::Serialize;

use super::{LINE_BYTES_MAX, Line};
use crate::digest::{Digest, Hasher};
use crate::sign::{Kind, PublicKey, SIG_FILE_LEN, check_sig_digest};
use crate::source::Source;
use crate::tlog::Entry;
use crate::wall::Wall;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditProblem {
    /// A file cannot be read.
    Unreadable,
    /// A line is no line of an audit.
    Malformed,
    /// The file ends within a line.
    Torn,
    /// A line does not hold the digest of the one before.
    Unlinked,
    /// The number of a line is not the one after the line before.
    Numbering,
    /// A finished day has no signature.
    Unsigned,
    /// The signature is not over these bytes.
    Signature,
    /// Another key signed it.
    ForeignKey,
    /// A day is not in the log, or with another digest.
    NotLogged,
    /// The log knows a day that is not there.
    DayMissing,
    /// The file has no business here.
    Unexpected,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditFinding {
    /// In which file.
    pub file: String,
    /// In which line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What.
    pub problem: AuditProblem,
    /// The same for people.
    pub words: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Days that have a file.
    pub days: u64,
    /// Lines in them.
    pub lines: u64,
    /// The newest day, if it is not signed yet: nothing proves that its end is all there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_day: Option<String>,
    /// The time of the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Wall>,
    /// The key that signed the days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_key: Option<PublicKey>,
    /// Whether the log was at hand.
    pub compared_with_log: bool,
    /// Everything that is wrong.
    pub findings: Vec<AuditFinding>,
}

impl AuditReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Verifies the audit at `source`. With `node`, only that key's signatures count. `log` are the
/// entries of the verified transparency log, if it is at hand.
pub fn verify(
    source: &dyn Source,
    node: Option<&PublicKey>,
    log: Option<&[Entry]>,
) -> io::Result<AuditReport> {
    let mut names: Vec<String> = source.list()?.into_iter().map(|file| file.name).collect();
    names.sort_unstable();
    let days: Vec<&str> = names.iter().filter_map(|name| day_of_file(name)).collect();
    let mut check = Check {
        source,
        report: AuditReport::default(),
        link: None,
        node,
    };
    check.strangers(&names, &days);
    let mut digests = HashMap::new();
    for (at, day) in days.iter().enumerate() {
        let is_newest = at + 1 == days.len();
        let is_signed = names.iter().any(|name| *name == format!("{day}.sig"));
        if let Some(digest) = check.day(day) {
            digests.insert(*day, digest);
            check.signature(day, digest, is_signed, is_newest);
        }
    }
    if let Some(log) = log {
        check.log(&digests, log);
    }
    Ok(check.report)
}

struct Check<'a> {
    source: &'a dyn Source,
    report: AuditReport,
    /// Number and digest of the last line that was read.
    link: Option<(u64, Digest)>,
    node: Option<&'a PublicKey>,
}

impl Check<'_> {
    fn find(
        &mut self,
        file: &str,
        line: Option<u64>,
        problem: AuditProblem,
        words: impl Into<String>,
    ) {
        let (file, words) = (file.to_owned(), words.into());
        self.report.findings.push(AuditFinding {
            file,
            line,
            problem,
            words,
        });
    }

    fn strangers(&mut self, names: &[String], days: &[&str]) {
        for name in names {
            let sig = name
                .strip_suffix(".sig")
                .is_some_and(|day| days.contains(&day));
            if day_of_file(name).is_none() && !sig && name != "lock" {
                self.find(
                    name,
                    None,
                    AuditProblem::Unexpected,
                    format!("{name} has no business here"),
                );
            }
        }
    }

    /// Checks the lines of a day and returns the digest of its file.
    fn day(&mut self, day: &str) -> Option<Digest> {
        let file = format!("{day}.jsonl");
        let from = match self.source.open(&file) {
            Ok(from) => from,
            Err(error) => {
                self.find(
                    &file,
                    None,
                    AuditProblem::Unreadable,
                    format!("{file} cannot be read: {error}"),
                );
                return None;
            }
        };
        let mut hashed = Hashing {
            hasher: Hasher::default(),
            length: 0,
            from,
        };
        self.report.days += 1;
        let mut length = 0;
        let read = each_line(&mut hashed, |number, bytes| {
            length += bytes.len() as u64 + 1;
            self.line(&file, number, bytes);
        });
        if let Err(error) = read {
            self.find(
                &file,
                None,
                AuditProblem::Unreadable,
                format!("{file} cannot be read: {error}"),
            );
            return None;
        }
        if hashed.length > length {
            let torn = hashed.length - length;
            self.find(
                &file,
                None,
                AuditProblem::Torn,
                format!("{file} ends with {torn} bytes of a torn line"),
            );
        }
        Some(hashed.hasher.finish())
    }

    fn line(&mut self, file: &str, number: u64, bytes: &[u8]) {
        self.report.lines += 1;
        let digest = Digest::of(bytes);
        let Ok(line) = Line::parse(bytes) else {
            self.find(
                file,
                Some(number),
                AuditProblem::Malformed,
                format!("line {number} of {file} cannot be read"),
            );
            self.link = self.link.map(|(seq, _)| (seq + 1, digest));
            return;
        };
        let (expected, prev) = self
            .link
            .map_or((0, Digest::ZERO), |(seq, digest)| (seq + 1, digest));
        if line.prev != prev {
            let words = format!(
                "line {number} of {file} does not follow the line before: one of the two was altered, or lines between them were removed, added or swapped"
            );
            self.find(file, Some(number), AuditProblem::Unlinked, words);
        }
        if line.seq != expected {
            let words = format!(
                "line {number} of {file} has the number {} instead of {expected}",
                line.seq
            );
            self.find(file, Some(number), AuditProblem::Numbering, words);
        }
        self.link = Some((line.seq, digest));
        self.report.last_at = Some(line.at);
    }

    fn signature(&mut self, day: &str, digest: Digest, is_signed: bool, is_newest: bool) {
        let file = format!("{day}.sig");
        if !is_signed {
            if is_newest {
                self.report.open_day = Some(day.to_owned());
            } else {
                self.find(
                    &file,
                    None,
                    AuditProblem::Unsigned,
                    format!("{day} is finished and not signed"),
                );
            }
            return;
        }
        let sig = match self.source.read(&file, SIG_FILE_LEN) {
            Ok(sig) => sig,
            Err(error) => {
                self.find(
                    &file,
                    None,
                    AuditProblem::Unreadable,
                    format!("{file} cannot be read: {error}"),
                );
                return;
            }
        };
        match check_sig_digest(Kind::Audit, digest, &sig) {
            Ok(key) if self.node.is_some_and(|node| *node != key) => {
                self.find(
                    &file,
                    None,
                    AuditProblem::ForeignKey,
                    format!("{day} was signed by another key: {key}"),
                );
            }
            Ok(key) => {
                let first = *self.report.node_key.get_or_insert(key);
                if first != key {
                    self.find(
                        &file,
                        None,
                        AuditProblem::ForeignKey,
                        format!("{day} was signed by another key than the days before: {key}"),
                    );
                }
            }
            Err(_) => {
                self.find(
                    &file,
                    None,
                    AuditProblem::Signature,
                    format!("the signature of {day} is not over these lines"),
                );
            }
        }
    }

    fn log(&mut self, digests: &HashMap<&str, Digest>, log: &[Entry]) {
        self.report.compared_with_log = true;
        let mut logged = HashMap::new();
        for entry in log {
            if let Entry::Audit { day, sha256, .. } = entry {
                logged.insert(day.as_str(), *sha256);
            }
        }
        let mut days: Vec<_> = digests.iter().collect();
        days.sort_unstable();
        for (day, digest) in days {
            let file = format!("{day}.jsonl");
            match logged.get(day) {
                Some(known) if known == digest => {}
                None if self.report.open_day.as_deref() == Some(*day) => {}
                None => self.find(
                    &file,
                    None,
                    AuditProblem::NotLogged,
                    format!("{day} is not in the log"),
                ),
                Some(_) => {
                    let words =
                        format!("{day} is in the log with another digest: it was rewritten since");
                    self.find(&file, None, AuditProblem::NotLogged, words);
                }
            }
        }
        let mut missing: Vec<_> = logged
            .keys()
            .filter(|day| !digests.contains_key(**day))
            .collect();
        missing.sort_unstable();
        for day in missing {
            let words = format!("the log knows {day}, and its file is missing");
            self.find(
                &format!("{day}.jsonl"),
                None,
                AuditProblem::DayMissing,
                words,
            );
        }
    }
}

/// The day of a file `2026-11-22.jsonl`.
pub(super) fn day_of_file(name: &str) -> Option<&str> {
    let day = name.strip_suffix(".jsonl")?;
    let noon: Wall = format!("{day}T12:00:00Z").parse().ok()?;
    (noon.day() == day).then_some(day)
}

/// Calls `each` with the number (from 1) and the bytes of every whole line, without its newline.
/// What follows the last newline is no line. A longer line than any of ours is an error.
pub(super) fn each_line(from: impl Read, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let mut from = BufReader::with_capacity(256 * 1024, from);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = (&mut from)
            .take(LINE_BYTES_MAX as u64)
            .read_until(b'\n', &mut line)?;
        if line.pop_if(|byte| *byte == b'\n').is_some() {
            each(number, &line);
        } else if read == LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line is longer than it may be",
            ));
        } else {
            break;
        }
    }
    Ok(())
}

/// Hashes what passes.
struct Hashing<R> {
    hasher: Hasher,
    length: u64,
    from: R,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}
