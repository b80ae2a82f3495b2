//! One segment: does its chain hold, and are its chunks those of the chain?
//!
//! The chain is cumulative, so one good signature vouches for everything before it. Where one fails,
//! this looks for the plainest alteration that makes it hold again, names that, and goes on with
//! what was restored; so one flipped byte is one finding and the rest stays proven. Pure: what was
//! read comes in, findings go out.

use std::ops::Range;

use super::chunks::Chunks;
use super::difference::{self, Difference};
use super::links::{Ending, Links, Sealed};
use super::report::{Finding, Problem, SegmentReport, Weight};
use crate::digest::Digest;
use crate::folder::Part;
use crate::id::RecordingId;
use crate::journal::chain::{Chain, Head, Seal};
use crate::sign::PublicKey;

/// What a segment is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// The recording that the signatures must name.
    pub recording: RecordingId,
    /// The number in the file's name.
    pub number: u32,
    /// The chain value before it, if that is proven.
    pub prev: Option<Digest>,
    /// Its `t0` by a manifest that is signed.
    pub t0_us: Option<u64>,
    /// Who may sign, and whether his certificate is proven.
    pub writer: Option<(PublicKey, bool)>,
    /// The node key.
    pub node: Option<PublicKey>,
    /// Whether it may lack its end: the last segment of a recording that is not closed.
    pub may_be_torn: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// For the report.
    pub report: SegmentReport,
    /// The digests that the chain names, restored where that was possible.
    pub digests: Vec<Digest>,
    /// The value that the next segment goes on from, if it is proven to the end.
    pub end: Option<Digest>,
    /// How its end was signed.
    pub seal: Option<Seal>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Checks a segment. `true_offset` is where the chunks begin by the `.age` file itself.
pub(super) fn check(
    expected: &Expected,
    links: &Links,
    chunks: &Chunks,
    true_offset: u32,
) -> Checked {
    let mut check = Check {
        expected,
        links,
        chunks,
        digests: links.links.iter().map(|link| link.digest).collect(),
        head: links.head,
        proven: 0,
        findings: Vec::new(),
    };
    check.numbers();
    check.chain(true_offset);
    check.ending();
    let matching = check.compare();
    let end = links
        .end()
        .filter(|_| check.proven == links.links.len() && links.ending == Ending::Clean);
    let value = check.value(links.links.len());
    let is_ended = end.is_some_and(|sealed| check.holds(sealed));
    let report = SegmentReport {
        segment: expected.number,
        bytes: chunks.bytes,
        chunks: count(links.links.len()),
        proven: count(matching),
        is_ended,
        t0_us: check.head.t0_us,
        chain: value,
    };
    let seal = links.end().map(|sealed| sealed.seal);
    Checked {
        report,
        digests: check.digests,
        end: is_ended.then_some(value),
        seal,
        findings: check.findings,
    }
}

struct Check<'a> {
    expected: &'a Expected,
    links: &'a Links,
    chunks: &'a Chunks,
    digests: Vec<Digest>,
    head: Head,
    /// Chunks before the last good signature.
    proven: usize,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn find(
        &mut self,
        weight: Weight,
        problem: Problem,
        file: Part,
        chunks: Range<usize>,
        mut words: String,
    ) {
        words.insert_str(0, &format!("{file}: "));
        let (first, last) = (count(chunks.start), count(chunks.end.saturating_sub(1)));
        self.findings.push(Finding {
            weight,
            problem,
            file: file.to_string(),
            segment: Some(self.expected.number),
            chunk: (!chunks.is_empty()).then_some(first),
            last_chunk: (chunks.len() > 1).then_some(last),
            entry: None,
            words,
        });
    }

    fn fault(&mut self, problem: Problem, file: Part, chunks: Range<usize>, words: String) {
        self.find(Weight::Fault, problem, file, chunks, words);
    }

    fn chain_file(&self) -> Part {
        Part::Chain(self.expected.number)
    }

    fn age_file(&self) -> Part {
        Part::Segment(self.expected.number)
    }

    /// Entries that do not count up were dropped, doubled or swapped.
    fn numbers(&mut self) {
        let numbers = self.links.links.iter().map(|link| link.number as usize);
        let wrong: Vec<(usize, usize)> = numbers
            .enumerate()
            .filter(|(place, number)| place != number)
            .collect();
        // Behind the first one everything may be shifted: that is one finding.
        if let Some(&(place, number)) = wrong.first() {
            let words = format!("the entry of chunk {place} says that it is of chunk {number}");
            let until = wrong.last().map_or(place, |last| last.0) + 1;
            self.fault(Problem::Altered, self.chain_file(), place..until, words);
        }
    }

    /// Finds out which signatures hold, and names what keeps the others from it.
    fn chain(&mut self, true_offset: u32) {
        if self.head.data_offset != true_offset {
            let (said, is) = (self.head.data_offset, true_offset);
            let words =
                format!("its head says that chunks begin at byte {said}, and they begin at {is}");
            self.fault(Problem::Altered, self.chain_file(), 0..0, words);
        }
        let Some((_, is_trusted)) = self.expected.writer else {
            let words =
                "no certificate names the key that may sign it, so it cannot be proven".to_owned();
            let all = 0..self.links.links.len();
            self.find(
                Weight::Consequence,
                Problem::Unproven,
                self.chain_file(),
                all,
                words,
            );
            return;
        };
        if !is_trusted {
            let words = "the certificate of its writer is not proven, so neither is this segment"
                .to_owned();
            let all = 0..self.links.links.len();
            self.find(
                Weight::Consequence,
                Problem::Unproven,
                self.chain_file(),
                all,
                words,
            );
            return;
        }
        // Without the header's bytes no value of the chain can be computed.
        if self.is_cut_in_its_head() {
            return;
        }
        self.choose_head();
        self.restore();
    }

    fn is_cut_in_its_head(&self) -> bool {
        self.chunks.head.len() < self.head.data_offset as usize && self.chunks.digests.is_empty()
    }

    /// Takes the head as it is if any signature holds with it, else the one that should be there.
    fn choose_head(&mut self) {
        let (is, expected) = (self.links.head, self.expected);
        let should = Head {
            segment: expected.number,
            t0_us: expected.t0_us.unwrap_or(is.t0_us),
            prev: expected.prev.unwrap_or(is.prev),
            data_offset: is.data_offset,
        };
        let holds_any = |check: &mut Self, head| {
            check.head = head;
            check.links.seals.iter().any(|sealed| check.holds(sealed))
        };
        if holds_any(self, is) {
            if is.segment != expected.number {
                let words = format!(
                    "it is the chain of segment {}, under another name",
                    is.segment
                );
                self.fault(Problem::Misplaced, self.chain_file(), 0..0, words);
            } else if expected.prev.is_some_and(|prev| prev != is.prev) {
                let words = "it does not follow what stands before it: something between was dropped, added or changed".to_owned();
                self.fault(Problem::Misplaced, self.chain_file(), 0..0, words);
            }
            return;
        }
        if should != is && holds_any(self, should) {
            let fields = [
                ("number", is.segment != should.segment),
                ("t0", is.t0_us != should.t0_us),
                ("link to the segment before", is.prev != should.prev),
            ];
            for (field, _) in fields.into_iter().filter(|(_, differs)| *differs) {
                let words = format!("its head was altered: {field}");
                self.fault(Problem::Altered, self.chain_file(), 0..0, words);
            }
            return;
        }
        self.head = is;
    }

    /// Goes from signature to signature.
    fn restore(&mut self) {
        let seals = &self.links.seals;
        loop {
            let holds: Vec<bool> = seals.iter().map(|sealed| self.holds(sealed)).collect();
            let good = holds.iter().rposition(|holds| *holds);
            self.proven = good.map_or(0, |at| seals[at].chunks);
            let Some(bad) = (good.map_or(0, |at| at + 1)..seals.len()).next() else {
                self.bad_signatures(&holds);
                return;
            };
            let range = self.proven..seals[bad].chunks;
            if self.restore_digests(&seals[bad], range.clone()) {
                continue;
            }
            self.bad_signatures(&holds[..bad]);
            self.broken(&seals[bad], range, good.is_none());
            return;
        }
    }

    /// Signatures that fail although a later one holds: they themselves were altered.
    fn bad_signatures(&mut self, holds: &[bool]) {
        let bad = holds
            .iter()
            .zip(&self.links.seals)
            .filter(|(holds, _)| !**holds);
        let bad: Vec<usize> = bad.map(|(_, sealed)| sealed.chunks).collect();
        for chunks in bad {
            let words = format!(
                "the signature after chunk {} was altered",
                chunks.saturating_sub(1)
            );
            self.fault(
                Problem::Altered,
                self.chain_file(),
                chunks.saturating_sub(1)..chunks,
                words,
            );
        }
    }

    /// Whether the signature holds with the digests of the chunks that are really there: then the
    /// entries were altered and not the chunks.
    fn restore_digests(&mut self, sealed: &Sealed, range: Range<usize>) -> bool {
        let differs = |place: &usize| self.chunks.digests.get(*place) != self.digests.get(*place);
        let altered: Vec<usize> = range.filter(differs).collect();
        if altered.is_empty()
            || altered
                .iter()
                .any(|place| *place >= self.chunks.digests.len())
        {
            return false;
        }
        let before = self.digests.clone();
        for &place in &altered {
            self.digests[place] = self.chunks.digests[place];
        }
        if !self.holds(sealed) {
            self.digests = before;
            return false;
        }
        for place in altered {
            let words = format!(
                "the digest in the entry of chunk {place} was altered; the chunk itself is what was signed"
            );
            self.fault(Problem::Altered, self.chain_file(), place..place + 1, words);
        }
        true
    }

    fn broken(&mut self, sealed: &Sealed, range: Range<usize>, is_beginning: bool) {
        if let Some(node) = sealed.node.filter(|_| sealed.seal == Seal::Salvaged)
            && self.expected.node.is_some_and(|key| key != node)
        {
            let words = format!("its end was signed by another key than the node's: {node}");
            self.fault(Problem::ForeignKey, self.chain_file(), range.clone(), words);
        } else {
            let (from, until) = (range.start, range.end.saturating_sub(1));
            let what = if is_beginning {
                format!(
                    "its head, the header of {}, or its entries up to chunk {until} were altered, or it is of another recording",
                    self.age_file()
                )
            } else if range.is_empty() {
                format!("the signature after chunk {until} was altered")
            } else if from == until {
                format!("the entry of chunk {from} or the signature after it was altered")
            } else {
                format!(
                    "an entry of chunks {from} to {until} or the signature after them was altered"
                )
            };
            let named = if range.is_empty() {
                until..until + 1
            } else {
                range.clone()
            };
            self.fault(Problem::Altered, self.chain_file(), named, what);
        }
        let rest = range.end..self.links.links.len();
        if !rest.is_empty() {
            let words = format!(
                "the chunks from {} on cannot be proven any more",
                rest.start
            );
            self.find(
                Weight::Consequence,
                Problem::Unproven,
                self.chain_file(),
                rest,
                words,
            );
        }
    }

    /// How the file ends.
    fn ending(&mut self) {
        let chunks = self.links.links.len();
        let at = chunks..chunks + 1;
        let tear = if self.expected.may_be_torn {
            Weight::Tear
        } else {
            Weight::Fault
        };
        match self.links.ending {
            Ending::Clean => {}
            Ending::Torn => {
                let words = format!("it is cut off after the entry of chunk {}", last(chunks));
                self.find(tear, Problem::Truncated, self.chain_file(), at, words);
            }
            Ending::Unknown(byte) => {
                let words = format!(
                    "what follows the entry of chunk {} begins with the byte {byte}, as no entry does",
                    last(chunks)
                );
                self.fault(Problem::Malformed, self.chain_file(), at, words);
            }
            Ending::AfterEnd => {
                let words = "something follows its end".to_owned();
                self.fault(Problem::Surplus, self.chain_file(), at, words);
            }
        }
        if self.links.end().is_none()
            && !self.expected.may_be_torn
            && self.links.ending == Ending::Clean
        {
            let words = format!(
                "it ends after chunk {} without having been closed",
                last(chunks)
            );
            self.fault(
                Problem::Truncated,
                self.chain_file(),
                at_last(chunks),
                words,
            );
        }
        let unsigned = self.signed()..chunks;
        if !unsigned.is_empty() && self.links.ending != Ending::AfterEnd {
            let words = format!(
                "the chunks from {} on were written, and not signed yet",
                unsigned.start
            );
            let weight = if self.expected.may_be_torn {
                Weight::Note
            } else {
                Weight::Fault
            };
            self.find(
                weight,
                Problem::Unsigned,
                self.chain_file(),
                unsigned,
                words,
            );
        }
    }

    /// Compares the chunks with the chain; returns how many proven ones are there.
    fn compare(&mut self) -> usize {
        if self.is_cut_in_its_head() && !self.digests.is_empty() {
            let tear = if self.expected.may_be_torn {
                Weight::Tear
            } else {
                Weight::Fault
            };
            let all = 0..self.digests.len();
            self.find(
                tear,
                Problem::Truncated,
                self.age_file(),
                all,
                "it is cut off before its first chunk".to_owned(),
            );
            return 0;
        }
        let differences = difference::compare(&self.digests, &self.chunks.digests);
        let mut wrong = vec![false; self.digests.len()];
        for difference in &differences {
            for range in touched(difference) {
                wrong[range].fill(true);
            }
            self.tell(difference);
        }
        wrong[..self.proven.min(self.digests.len())]
            .iter()
            .filter(|wrong| !**wrong)
            .count()
    }

    fn tell(&mut self, difference: &Difference) {
        let file = self.age_file();
        let is_there = self.chunks.digests.len();
        match difference {
            Difference::Altered(range) => {
                let range = place(range.start)..place(range.end);
                let is_cut = range.end == is_there && self.chunks.ends_short() && range.len() == 1;
                if self.expected.may_be_torn && range.start >= self.signed() {
                    // What was never signed was never promised: a crash leaves it like this.
                    let words = format!(
                        "what stands from chunk {} on was not signed and does not count",
                        range.start
                    );
                    self.find(Weight::Note, Problem::Unsigned, file, range, words);
                } else if is_cut {
                    let words = format!("it is cut off within chunk {}", range.start);
                    self.truncated(range, words);
                } else {
                    let words = match range.len() {
                        1 => format!("chunk {} was altered", range.start),
                        _ => format!("chunks {} to {} were altered", range.start, range.end - 1),
                    };
                    self.fault(Problem::Altered, file, range, words);
                }
            }
            Difference::Dropped(range) => {
                let range = place(range.start)..place(range.end);
                let words = match range.len() {
                    1 => format!("chunk {} was dropped", range.start),
                    _ => format!("chunks {} to {} were dropped", range.start, range.end - 1),
                };
                self.fault(Problem::Dropped, file, range, words);
            }
            Difference::Swapped(low, high) => {
                let words = format!("chunks {low} and {high} changed places");
                self.fault(Problem::Swapped, file, place(*low)..place(*low) + 1, words);
            }
            Difference::Inserted { at, of: Some(of) } => {
                let words = format!("chunk {of} stands once more before chunk {at}");
                self.fault(Problem::Replayed, file, place(*at)..place(*at) + 1, words);
            }
            Difference::Inserted { at, of: None } => {
                let words = format!("something stands before chunk {at} that was never recorded");
                self.fault(Problem::Surplus, file, place(*at)..place(*at) + 1, words);
            }
            Difference::Replaced { at, of } => {
                let words = format!("in the place of chunk {at} stands chunk {of} once more");
                self.fault(Problem::Replayed, file, place(*at)..place(*at) + 1, words);
            }
            Difference::Missing(range) => {
                let range = place(range.start)..place(range.end);
                let words = format!(
                    "it ends before chunk {}; the chain has {} chunks",
                    range.start, range.end
                );
                self.truncated(range, words);
            }
            Difference::Surplus(more) => self.surplus(place(*more)),
        }
    }

    /// Chunks before the last signature, be it good or not.
    fn signed(&self) -> usize {
        self.links.seals.last().map_or(0, |sealed| sealed.chunks)
    }

    /// The end of the file is missing: a tear if that is how a recording may be left.
    fn truncated(&mut self, range: Range<usize>, words: String) {
        let was_signed = range.start < self.signed();
        let weight = match (self.expected.may_be_torn, was_signed) {
            (true, false) => Weight::Note,
            (true, true) => Weight::Tear,
            (false, _) => Weight::Fault,
        };
        self.find(weight, Problem::Truncated, self.age_file(), range, words);
    }

    fn surplus(&mut self, more: usize) {
        let chunks = self.digests.len();
        let is_torn_chunk = more == 1 && self.chunks.ends_short();
        let is_salvaged = self
            .links
            .end()
            .is_some_and(|sealed| sealed.seal == Seal::Salvaged);
        if self.expected.may_be_torn && self.links.end().is_none() || is_salvaged && is_torn_chunk {
            let words = format!("{more} chunks behind the last entry of the chain do not count");
            self.find(
                Weight::Note,
                Problem::Unsigned,
                self.age_file(),
                chunks..chunks + more,
                words,
            );
        } else {
            let words = format!("{more} chunks stand behind its end");
            self.fault(
                Problem::Surplus,
                self.age_file(),
                chunks..chunks + more,
                words,
            );
        }
    }

    /// Whether a signature holds with the head and the digests as they are now.
    fn holds(&self, sealed: &Sealed) -> bool {
        let key = match sealed.seal {
            Seal::Salvaged => self.expected.node.filter(|node| sealed.node == Some(*node)),
            Seal::Flushed | Seal::Closed => self.expected.writer.map(|(key, _)| key),
        };
        key.is_some_and(|key| {
            self.chain_up_to(sealed.chunks)
                .verifies(sealed.seal, &key, &sealed.signature)
        })
    }

    fn chain_up_to(&self, chunks: usize) -> Chain {
        let mut chain = Chain::start(self.expected.recording, &self.head, &self.chunks.head);
        for (link, digest) in self.links.links.iter().zip(&self.digests).take(chunks) {
            chain.push_digest(link.time_us, *digest);
        }
        chain
    }

    fn value(&self, chunks: usize) -> Digest {
        self.chain_up_to(chunks).value()
    }
}

/// The chunks whose place in the file does not hold what it should.
fn touched(difference: &Difference) -> Vec<Range<usize>> {
    let one = |chunk: &u32| place(*chunk)..place(*chunk) + 1;
    let all = |range: &Range<u32>| place(range.start)..place(range.end);
    match difference {
        Difference::Altered(range) | Difference::Dropped(range) | Difference::Missing(range) => {
            vec![all(range)]
        }
        Difference::Swapped(low, high) => vec![one(low), one(high)],
        Difference::Replaced { at, .. } => vec![one(at)],
        Difference::Inserted { .. } | Difference::Surplus(_) => Vec::new(),
    }
}

fn last(chunks: usize) -> String {
    chunks
        .checked_sub(1)
        .map_or("none".to_owned(), |last| last.to_string())
}

fn at_last(chunks: usize) -> Range<usize> {
    chunks.saturating_sub(1)..chunks
}

fn place(chunk: u32) -> usize {
    chunk as usize
}

fn count(chunks: usize) -> u32 {
    u32::try_from(chunks).expect("a chain file holds far fewer than 2^32 entries")
}
