//! Verifies a recording without any key: is every byte what was signed when it was recorded, is
//! nothing missing, nothing added, nothing moved?
//!
//! Works on the bytes of the files alone (section 13 of the format), wherever they lie, and reports
//! everything that is wrong, each with file, segment and chunk, instead of stopping at the first.
//! What a stolen node key could forge is found only with a log, or a checkpoint of it, that was kept
//! elsewhere; the report says what it was held against. Segments are hashed by several threads.

mod chunks;
mod closed;
mod difference;
pub mod links;
mod log;
mod report;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::digest::Digest;
use crate::folder::Part;
use crate::header::{FILE_BYTES_MAX, Header, Writer};
use crate::id::RecordingId;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, State};
use crate::sign::{Kind, PublicKey, SIG_FILE_LEN, check_sig_file};
use crate::source::{Listed, Source};
use crate::tlog::note::Checkpoint;

use chunks::Chunks;
use links::{CHAIN_BYTES_MAX, Links};
use segment::{Checked, Expected};

pub use log::{LogChecked, verify_log};
pub use report::{Finding, LogReport, Problem, Report, SegmentReport, Verdict, Weight};

/// What a recording is held against besides itself.
#[derive(Default)]
pub struct Against<'a> {
    /// The name that it should have: that of its folder.
    pub name: Option<&'a str>,
    /// The node key, from somewhere else than the recording.
    pub node_key: Option<PublicKey>,
    /// The transparency log.
    pub log: Option<&'a dyn Source>,
    /// Checkpoints of that log that were kept elsewhere.
    pub checkpoints: &'a [Checkpoint],
    /// Threads that hash; 0 for two, which is what keeps a disk busy.
    pub threads: usize,
}

/// Verifies the recording at `source`. An error means that it could not even be listed.
pub fn verify(source: &dyn Source, against: &Against<'_>) -> io::Result<Report> {
    let files = source.list()?;
    let mut verifier = Verifier::new(source, against, &files);
    verifier.header();
    verifier.manifest();
    verifier.writers();
    verifier.segments();
    verifier.compare_manifest();
    verifier.other_files();
    verifier.log();
    Ok(verifier.finish())
}

/// A certificate and whether it is proven.
#[derive(Clone, Debug)]
struct Certificate {
    writer: Writer,
    digest: Digest,
    is_proven: bool,
}

/// The files of one segment, read.
type ReadSegment = (Result<Links, String>, io::Result<(Chunks, u32)>);

struct Verifier<'a> {
    source: &'a dyn Source,
    against: &'a Against<'a>,
    sizes: BTreeMap<Part, u64>,
    strangers: Vec<String>,
    report: Report,
    node: Option<PublicKey>,
    header: Option<(Header, Digest)>,
    manifest: Option<(Manifest, Digest, bool)>,
    certificates: BTreeMap<u32, Certificate>,
    checked: BTreeMap<u32, Checked>,
    proof: Option<Checkpoint>,
}

impl<'a> Verifier<'a> {
    fn new(source: &'a dyn Source, against: &'a Against<'a>, files: &[Listed]) -> Self {
        let (mut sizes, mut strangers) = (BTreeMap::new(), Vec::new());
        for file in files {
            match file.name.parse::<Part>() {
                Ok(part) => drop(sizes.insert(part, file.size)),
                Err(_) => strangers.push(file.name.clone()),
            }
        }
        strangers.sort_unstable();
        let report = Report {
            recording: None,
            verdict: Verdict::Broken,
            node_key: None,
            is_key_given: against.node_key.is_some(),
            state: None,
            segments: Vec::new(),
            log: None,
            bytes: 0,
            findings: Vec::new(),
        };
        Self {
            source,
            against,
            sizes,
            strangers,
            report,
            node: against.node_key,
            header: None,
            manifest: None,
            certificates: BTreeMap::new(),
            checked: BTreeMap::new(),
            proof: None,
        }
    }

    fn find(
        &mut self,
        weight: Weight,
        problem: Problem,
        file: impl ToString + Copy,
        mut words: String,
    ) {
        let file = file.to_string();
        words.insert_str(0, &format!("{file}: "));
        let (segment, chunk, last_chunk, entry) = (None, None, None, None);
        self.report.findings.push(Finding {
            weight,
            problem,
            file,
            segment,
            chunk,
            last_chunk,
            entry,
            words,
        });
    }

    fn fault(&mut self, problem: Problem, file: impl ToString + Copy, words: impl Into<String>) {
        self.find(Weight::Fault, problem, file, words.into());
    }

    fn segment_fault(&mut self, problem: Problem, file: Part, segment: u32, words: String) {
        self.fault(problem, file, words);
        if let Some(finding) = self.report.findings.last_mut() {
            finding.segment = Some(segment);
        }
    }

    fn has(&self, part: Part) -> bool {
        self.sizes.contains_key(&part)
    }

    /// A recording is closed when its manifest is there.
    fn is_closed(&self) -> bool {
        self.has(Part::Manifest) || self.has(Part::ManifestSig) || self.has(Part::ManifestProof)
    }

    /// A small file, whole. Says so if it is missing or cannot be read.
    fn read(&mut self, part: Part, max: usize) -> Option<Vec<u8>> {
        if !self.has(part) {
            self.fault(Problem::Missing, part, "it is missing");
            return None;
        }
        match self.source.read(&part.to_string(), max) {
            Ok(bytes) => {
                self.report.bytes += bytes.len() as u64;
                Some(bytes)
            }
            Err(error) => {
                self.fault(
                    Problem::Unreadable,
                    part,
                    format!("it cannot be read: {error}"),
                );
                None
            }
        }
    }

    /// A file and whether the node key signed it. The first good signature says which key that is,
    /// if none was given.
    fn signed(&mut self, kind: Kind, part: Part, sig: Part, max: usize) -> Option<(Vec<u8>, bool)> {
        let bytes = self.read(part, max)?;
        let Some(signature) = self.read(sig, SIG_FILE_LEN) else {
            return Some((bytes, false));
        };
        let is_signed = match check_sig_file(kind, &bytes, &signature) {
            Ok(key) if *self.node.get_or_insert(key) == key => true,
            Ok(key) => {
                self.fault(
                    Problem::ForeignKey,
                    sig,
                    format!("{part} was signed by another key than the node's: {key}"),
                );
                false
            }
            Err(error) => {
                let words =
                    format!("its bytes and its signature in {sig} do not belong together: {error}");
                self.fault(Problem::Altered, part, words);
                false
            }
        };
        Some((bytes, is_signed))
    }

    fn header(&mut self) {
        let Some((bytes, is_signed)) =
            self.signed(Kind::Header, Part::Header, Part::HeaderSig, FILE_BYTES_MAX)
        else {
            return;
        };
        let digest = Digest::of(&bytes);
        let header = match Header::parse(&bytes) {
            Ok(header) => header,
            Err(error) => {
                self.fault(
                    Problem::Malformed,
                    Part::Header,
                    format!("it cannot be understood: {error}"),
                );
                return;
            }
        };
        if is_signed && self.node.is_some_and(|key| key != header.node) {
            self.fault(
                Problem::ForeignKey,
                Part::Header,
                format!("it names {} as the node key", header.node),
            );
        }
        let named = header.recording.to_string();
        if let Some(name) = self.against.name.filter(|name| *name != named) {
            let words = format!("it is of recording {named}, and its folder is called {name}");
            self.fault(Problem::Misplaced, Part::Header, words);
        }
        let by_folder = self.against.name.and_then(|name| name.parse().ok());
        self.report.recording = if is_signed {
            Some(header.recording)
        } else {
            by_folder.or(Some(header.recording))
        };
        self.header = Some((header, digest));
    }

    fn recording(&self) -> Option<RecordingId> {
        self.report
            .recording
            .or_else(|| self.against.name?.parse().ok())
    }

    fn manifest(&mut self) {
        if !self.is_closed() {
            return;
        }
        let Some((bytes, is_signed)) = self.signed(
            Kind::Manifest,
            Part::Manifest,
            Part::ManifestSig,
            MANIFEST_BYTES_MAX,
        ) else {
            return;
        };
        match Manifest::parse(&bytes) {
            Ok(manifest) => {
                self.report.recording = self.report.recording.or(Some(manifest.recording));
                let state = match manifest.state {
                    State::Complete => "complete",
                    State::Incomplete => "incomplete",
                };
                self.report.state = Some(state.to_owned());
                self.manifest = Some((manifest, Digest::of(&bytes), is_signed));
            }
            Err(error) => self.fault(Problem::Malformed, Part::Manifest, error.to_string()),
        }
    }

    fn writers(&mut self) {
        let numbers: BTreeSet<u32> = self
            .sizes
            .keys()
            .filter_map(|part| match part {
                Part::Writer(number) | Part::WriterSig(number) => Some(*number),
                _ => None,
            })
            .collect();
        for missing in holes(&numbers, 1) {
            self.fault(
                Problem::Dropped,
                Part::Writer(missing),
                "the certificate of this writer was dropped",
            );
        }
        let mut before: Option<Writer> = None;
        for number in numbers {
            let part = Part::Writer(number);
            let Some((bytes, is_signed)) =
                self.signed(Kind::Writer, part, Part::WriterSig(number), FILE_BYTES_MAX)
            else {
                continue;
            };
            let writer = match Writer::parse(&bytes) {
                Ok(writer) => writer,
                Err(error) => {
                    self.fault(
                        Problem::Malformed,
                        part,
                        format!("it cannot be understood: {error}"),
                    );
                    continue;
                }
            };
            let mut is_proven = is_signed;
            if is_signed && self.recording().is_some_and(|id| id != writer.recording) {
                self.fault(
                    Problem::Misplaced,
                    part,
                    format!("it is of recording {}", writer.recording),
                );
                is_proven = false;
            }
            if is_signed && writer.writer != number {
                self.fault(
                    Problem::Misplaced,
                    part,
                    format!("it is the certificate of writer {}", writer.writer),
                );
                is_proven = false;
            }
            let rises = before
                .as_ref()
                .is_none_or(|before| before.first_segment < writer.first_segment);
            if is_proven && !rises {
                self.fault(
                    Problem::Contradiction,
                    part,
                    "it does not begin after the writer before it",
                );
            }
            if is_proven {
                before = Some(writer.clone());
            }
            self.certificates.insert(
                number,
                Certificate {
                    writer,
                    digest: Digest::of(&bytes),
                    is_proven,
                },
            );
        }
    }

    /// The certificate in force for a segment: the last one that begins at or before it.
    fn writer_of(&self, segment: u32) -> Option<&Certificate> {
        let in_force = |certificate: &&Certificate| certificate.writer.first_segment <= segment;
        let proven = self
            .certificates
            .values()
            .filter(|certificate| certificate.is_proven)
            .rfind(in_force);
        // With one that is not proven in between, who may sign is not known.
        let any = self.certificates.values().rfind(in_force);
        match (proven, any) {
            (Some(proven), Some(any)) if proven.writer.writer < any.writer.writer => Some(any),
            (proven, any) => proven.or(any),
        }
    }

    fn segments(&mut self) {
        let numbers: BTreeSet<u32> = self
            .sizes
            .keys()
            .filter_map(|part| match part {
                Part::Segment(number) | Part::Chain(number) => Some(*number),
                _ => None,
            })
            .collect();
        let Some(recording) = self.recording() else {
            self.fault(
                Problem::Unreadable,
                Part::Header,
                "nothing says which recording this is, so no segment can be proven",
            );
            return;
        };
        let signed = self
            .manifest
            .as_ref()
            .filter(|(_, _, is_signed)| *is_signed);
        let by_manifest = signed.map_or(0, |(manifest, ..)| manifest.segments.len() as u32);
        let last = numbers.last().copied();
        let read = self.read_segments(&numbers);
        let header = self.header.as_ref().map(|(_, digest)| *digest);
        // With a header that was altered, what segment 0 follows is its writer's word.
        let first_prev = self
            .certificates
            .get(&0)
            .filter(|first| first.is_proven)
            .map(|first| first.writer.prev);
        let mut prev = first_prev.or(header);
        if let (Some(said), Some(is)) = (first_prev, header)
            && said != is
            && self.report.first_fault().is_none()
        {
            self.fault(
                Problem::Misplaced,
                Part::Header,
                "it is not the header that the first writer began from",
            );
        }
        let missing = holes(&numbers, by_manifest);
        let mut next = 0;
        for number in numbers
            .iter()
            .chain(&missing)
            .copied()
            .collect::<BTreeSet<u32>>()
        {
            if missing.contains(&number) {
                self.segment_fault(
                    Problem::Dropped,
                    Part::Segment(number),
                    number,
                    "the segment is missing".into(),
                );
                continue;
            }
            if number != next {
                prev = None;
            }
            next = number.saturating_add(1);
            let may_be_torn = !self.is_closed() && Some(number) == last;
            self.writer_begins(number, prev);
            let expected = Expected {
                recording,
                number,
                prev,
                t0_us: self.t0_by_manifest(number),
                writer: self
                    .writer_of(number)
                    .map(|found| (found.writer.key, found.is_proven)),
                node: self.node,
                may_be_torn,
            };
            prev = self.segment(&expected, &read);
        }
        self.replayed_from_elsewhere(&read);
    }

    /// A certificate names the chain value that its first segment follows.
    fn writer_begins(&mut self, number: u32, prev: Option<Digest>) {
        let begins = |certificate: &&Certificate| {
            certificate.is_proven && certificate.writer.first_segment == number
        };
        let wrong = self
            .certificates
            .values()
            .find(begins)
            .filter(|found| prev.is_some_and(|prev| prev != found.writer.prev));
        if let Some(writer) = wrong
            .map(|found| found.writer.writer)
            .filter(|_| number > 0)
        {
            self.fault(
                Problem::Misplaced,
                Part::Writer(writer),
                format!("it does not follow segment {}", number - 1),
            );
        }
    }

    fn t0_by_manifest(&self, number: u32) -> Option<u64> {
        let (manifest, _, is_signed) = self.manifest.as_ref()?;
        manifest
            .segments
            .get(number as usize)
            .filter(|_| *is_signed)
            .map(|segment| segment.t0_us)
    }

    fn segment(&mut self, expected: &Expected, read: &HashMap<u32, ReadSegment>) -> Option<Digest> {
        let number = expected.number;
        let (age, chain) = (Part::Segment(number), Part::Chain(number));
        for part in [age, chain] {
            if !self.has(part) {
                self.segment_fault(Problem::Missing, part, number, "it is missing".into());
            }
        }
        let (links, chunks) = read.get(&number)?;
        let links = match links {
            Ok(links) => links,
            Err(_) if !self.has(chain) => return None,
            Err(words) => {
                if expected.may_be_torn
                    && self
                        .sizes
                        .get(&chain)
                        .is_some_and(|size| *size < crate::journal::chain::HEAD_LEN as u64)
                {
                    self.find(
                        Weight::Tear,
                        Problem::Truncated,
                        chain,
                        "it is cut off within its head; the segment had hardly begun".into(),
                    );
                } else {
                    self.segment_fault(Problem::Malformed, chain, number, words.clone());
                }
                return None;
            }
        };
        let empty = Chunks {
            head: Vec::new(),
            digests: Vec::new(),
            last_len: 0,
            bytes: 0,
        };
        let (chunks, offset) = match chunks {
            Ok((chunks, offset)) => (chunks, *offset),
            Err(error) => {
                if self.has(age) {
                    self.segment_fault(
                        Problem::Unreadable,
                        age,
                        number,
                        format!("it cannot be read: {error}"),
                    );
                }
                (&empty, links.head.data_offset)
            }
        };
        if !self.has(age) {
            return None;
        }
        let mut checked = segment::check(expected, links, chunks, offset);
        self.report.findings.append(&mut checked.findings);
        let end = checked.end;
        self.report.segments.push(checked.report.clone());
        self.checked.insert(number, checked);
        end
    }

    /// Reads and hashes all segments, several at a time.
    fn read_segments(&mut self, numbers: &BTreeSet<u32>) -> HashMap<u32, ReadSegment> {
        let numbers: Vec<u32> = numbers.iter().copied().collect();
        let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        let read = Mutex::new(HashMap::new());
        let threads = if self.against.threads == 0 {
            2
        } else {
            self.against.threads
        };
        let source = self.source;
        thread::scope(|scope| {
            for _ in 0..threads.min(numbers.len()) {
                scope.spawn(|| {
                    while let Some(&number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let segment = read_segment(source, number);
                        if let Ok((chunks, _)) = &segment.1 {
                            bytes.fetch_add(chunks.bytes, Ordering::Relaxed);
                        }
                        read.lock()
                            .expect("no thread panics with it")
                            .insert(number, segment);
                    }
                });
            }
        });
        self.report.bytes += bytes.into_inner();
        read.into_inner().expect("no thread panicked with it")
    }

    /// A chunk that was altered may be one of another segment.
    fn replayed_from_elsewhere(&mut self, read: &HashMap<u32, ReadSegment>) {
        let altered = |finding: &Finding| {
            finding.problem == Problem::Altered && finding.file.ends_with(".age")
        };
        if !self.report.findings.iter().any(altered) {
            return;
        }
        let mut places = HashMap::new();
        for (number, checked) in &self.checked {
            for (chunk, digest) in checked.digests.iter().enumerate() {
                places.insert(*digest, (*number, chunk));
            }
        }
        for finding in self
            .report
            .findings
            .iter_mut()
            .filter(|finding| altered(finding))
        {
            let (Some(segment), Some(chunk)) = (finding.segment, finding.chunk) else {
                continue;
            };
            let is = read
                .get(&segment)
                .and_then(|(_, chunks)| chunks.as_ref().ok()?.0.digests.get(chunk as usize));
            let Some((of, place)) = is
                .and_then(|digest| places.get(digest))
                .filter(|(of, _)| *of != segment)
            else {
                continue;
            };
            finding.problem = Problem::Replayed;
            finding.words = format!(
                "{}: from chunk {chunk} on stands what belongs to segment {of}, from its chunk {place} on",
                finding.file
            );
        }
    }

    fn finish(mut self) -> Report {
        self.report.node_key = self.node;
        let is_closed = self.is_closed();
        self.report.decide(is_closed);
        self.report
    }
}

/// Missing segments and writers that are named one by one; of a number like 4,000,000,000 in a
/// file's name the rest is not.
const MISSING_NAMED_MAX: usize = 1_000;

/// The numbers that are missing below `count` and between those that are there.
fn holes(there: &BTreeSet<u32>, count: u32) -> BTreeSet<u32> {
    let mut holes = BTreeSet::new();
    let mut next = 0;
    for &number in there.iter().chain([&count]) {
        holes.extend((next..number).take(MISSING_NAMED_MAX - holes.len()));
        next = next.max(number.saturating_add(1));
    }
    holes
}

fn read_segment(source: &dyn Source, number: u32) -> ReadSegment {
    // The chain first: in a recording that goes on, the chunks that it names are there by then.
    let chain = source.read(&Part::Chain(number).to_string(), CHAIN_BYTES_MAX);
    let links = chain.map_err(|error| format!("it cannot be read: {error}"));
    let links = links.and_then(|bytes| Links::parse(&bytes).map_err(|error| error.to_string()));
    let chunks = links.as_ref().ok().map_or_else(
        || {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its chain cannot be read",
            ))
        },
        |links| read_chunks(source, number, links),
    );
    (links, chunks)
}

/// The chunks, which begin where the file itself says if it says so, else where the chain says.
fn read_chunks(source: &dyn Source, number: u32, links: &Links) -> io::Result<(Chunks, u32)> {
    let name = Part::Segment(number).to_string();
    let mut from = source.open(&name)?;
    let mut head = vec![0; HEAD_PEEKED];
    let mut filled = 0;
    while filled < head.len() {
        match io::Read::read(&mut from, &mut head[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    head.truncate(filled);
    let offset = chunks::data_offset(&head).unwrap_or(links.head.data_offset);
    let whole = io::Read::chain(io::Cursor::new(head), from);
    Ok((Chunks::read(whole, offset, links.links.len())?, offset))
}

/// Enough for the header of any segment of ours: two hundred recipients.
const HEAD_PEEKED: usize = 32 * 1024;
