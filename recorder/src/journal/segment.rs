//! The writer of one segment: records in, sealed chunks and their chain out.
//!
//! A chunk's ciphertext and its chain entry are written together; a flush pads, syncs, and signs. It
//! does not know when to flush or when a segment is full, and after an error it is of no more use
//! but for [`SegmentWriter::retreat`], which cuts back to what is known to be safe.

use std::fmt;
use std::io;
use std::path::Path;

use crate::age::stream::{CHUNK_LEN, SEALED_LEN, Stream};
use crate::age::{self, Recipient};
use crate::digest::Digest;
use crate::id::RecordingId;
use crate::journal::chain::{Chain, Entry, Head, Seal};
use crate::journal::chunk::Chunk;
use crate::journal::disk::{Disk, DiskFile};
use crate::journal::record::{HEAD_LEN, Kind, PAD_BYTE, Record};
use crate::keys::Random;
use crate::sign::SigningKey;

/// What a chain file is reserved for a segment of `bytes`: an entry for each chunk, a signature for
/// each of `flushes`.
pub fn chain_bytes(bytes: u64, flushes: u64) -> u64 {
    let chunks = bytes / SEALED_LEN as u64 + 1;
    super::chain::HEAD_LEN as u64 + (chunks + flushes) * 41 + (flushes + 2) * 97
}

/// What a segment begins with.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Which recording.
    pub recording: RecordingId,
    /// The segment's number.
    pub number: u32,
    /// Microseconds since the start of the recording.
    pub t0_us: u64,
    /// What the chain goes on from.
    pub prev: Digest,
    /// To whom it is sealed.
    pub recipients: &'a [Recipient],
}

/// Two files with room in them.
#[derive(Debug)]
pub struct Files {
    /// The ciphertext's.
    pub data: Box<dyn DiskFile>,
    /// The chain's.
    pub chain: Box<dyn DiskFile>,
}

impl Files {
    /// Makes both under their unfinished names and takes room for them.
    pub fn reserve(
        disk: &mut dyn Disk,
        data: &Path,
        chain: &Path,
        bytes: u64,
        chain_bytes: u64,
    ) -> io::Result<Self> {
        let mut files = Self {
            data: disk.create(data)?,
            chain: disk.create(chain)?,
        };
        files.data.reserve(bytes)?;
        files.chain.reserve(chain_bytes)?;
        Ok(files)
    }
}

/// How far a segment is known to be safe.
#[derive(Clone, Copy, Debug)]
struct Safe {
    chain: Chain,
    data_len: u64,
    chain_len: u64,
}

/// What a segment has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its number.
    pub number: u32,
    /// Its `t0`.
    pub t0_us: u64,
    /// Bytes of the `.age` file.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: u32,
    /// Its last chain value: the next segment's `prev`.
    pub chain: Digest,
}

/// A segment that is being written.
pub struct SegmentWriter {
    number: u32,
    t0_us: u64,
    files: Files,
    stream: Stream,
    chain: Chain,
    chunk: Chunk,
    /// The time of the first record that begins in the open chunk.
    chunk_time: Option<u32>,
    /// The time of the record that was last begun.
    time: u32,
    /// What is written to the chain next.
    entries: Vec<u8>,
    data_len: u64,
    chain_len: u64,
    /// Chunks were written since the last signature.
    is_unsigned: bool,
    safe: Safe,
}

impl fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentWriter({})", self.number)
    }
}

impl SegmentWriter {
    /// Writes both heads. Nothing is durable before the first flush.
    pub fn begin(
        mut files: Files,
        opening: &Opening<'_>,
        random: &mut Random<'_>,
    ) -> io::Result<Self> {
        let (age_head, stream) = age::begin(opening.recipients, random)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let head = Head {
            segment: opening.number,
            t0_us: opening.t0_us,
            prev: opening.prev,
            data_offset: age_head.len() as u32,
        };
        let chain = Chain::start(opening.recording, &head, &age_head);
        files.data.append(&age_head)?;
        files.chain.append(&head.encode())?;
        let (data_len, chain_len) = (age_head.len() as u64, head.encode().len() as u64);
        Ok(Self {
            number: opening.number,
            t0_us: opening.t0_us,
            files,
            stream,
            chain,
            chunk: Chunk::new().ok_or(io::ErrorKind::OutOfMemory)?,
            chunk_time: None,
            time: 0,
            entries: Vec::new(),
            data_len,
            chain_len,
            is_unsigned: false,
            safe: Safe {
                chain,
                data_len,
                chain_len,
            },
        })
    }

    /// Its `t0`, microseconds since the start of the recording.
    pub fn t0_us(&self) -> u64 {
        self.t0_us
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes that the `.age` file has, or will have when the open chunk is written.
    pub fn bytes(&self) -> u64 {
        self.data_len
            + if self.chunk.is_empty() {
                0
            } else {
                SEALED_LEN as u64
            }
    }

    /// The chunk in which the next record begins.
    pub fn next_chunk(&self) -> u32 {
        self.chain.chunks() + u32::from(self.chunk.len() == CHUNK_LEN)
    }

    /// Whether nothing has come since the last flush.
    pub fn is_clean(&self) -> bool {
        self.chunk.is_empty() && !self.is_unsigned
    }

    /// Appends a record.
    pub fn append(&mut self, record: &Record<'_>) -> io::Result<()> {
        if self.chunk.len() == CHUNK_LEN {
            self.write_chunk(false)?;
        }
        self.time = record.time_us;
        self.chunk_time.get_or_insert(record.time_us);
        self.push(&record.head().encode())?;
        self.push(record.body)
    }

    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // A full chunk waits for what follows it, because the last one is sealed otherwise.
            if self.chunk.len() == CHUNK_LEN {
                self.write_chunk(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.chunk.room()));
            self.chunk.push(now);
            bytes = later;
        }
        Ok(())
    }

    fn write_chunk(&mut self, is_last: bool) -> io::Result<()> {
        let time = self.chunk_time.take().unwrap_or(self.time);
        let number = self.chain.chunks();
        let sealed = self.chunk.seal(&self.stream, number, is_last);
        let entry = self.chain.push(time, sealed);
        self.files.data.append(sealed)?;
        self.data_len += sealed.len() as u64;
        self.is_unsigned = true;
        self.write_entry(&entry)
    }

    fn write_entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.entries.clear();
        entry.encode(&mut self.entries);
        self.files.chain.append(&self.entries)?;
        self.chain_len += self.entries.len() as u64;
        Ok(())
    }

    /// Makes everything so far durable and signs it. False: there was nothing new.
    pub fn flush(&mut self, key: &SigningKey) -> io::Result<bool> {
        if self.is_clean() {
            return Ok(false);
        }
        if !self.chunk.is_empty() {
            self.pad()?;
            self.write_chunk(false)?;
        }
        self.sign(Seal::Flushed, key)?;
        Ok(true)
    }

    /// Fills the open chunk, so that the next record begins a new one.
    fn pad(&mut self) -> io::Result<()> {
        let room = self.chunk.room();
        if room < HEAD_LEN {
            self.chunk.fill(PAD_BYTE);
            return Ok(());
        }
        let padding = Record {
            kind: Kind::Padding,
            flags: Default::default(),
            track: 0,
            time_us: self.time,
            body: &ZEROS[..room - HEAD_LEN],
        };
        self.append(&padding)
    }

    fn sign(&mut self, seal: Seal, key: &SigningKey) -> io::Result<()> {
        // The signature says that the chunks are durable, so they are made so first.
        self.files.data.sync()?;
        self.write_entry(&self.chain.seal(seal, key))?;
        self.files.chain.sync()?;
        self.is_unsigned = false;
        self.safe = Safe {
            chain: self.chain,
            data_len: self.data_len,
            chain_len: self.chain_len,
        };
        Ok(())
    }

    /// Writes the rest as the last chunk of the file and closes it durably. There must be a record
    /// since the last flush: the segment's end.
    pub fn close(&mut self, key: &SigningKey) -> io::Result<Finished> {
        assert!(!self.chunk.is_empty(), "a segment ends with a record");
        self.write_chunk(true)?;
        self.sign(Seal::Closed, key)?;
        self.files.data.truncate(self.data_len)?;
        self.files.chain.truncate(self.chain_len)?;
        Ok(self.finished())
    }

    /// After an error: cuts both files back to the last signature and has `node` vouch for that.
    /// May be tried again while it fails.
    pub fn retreat(&mut self, node: &SigningKey) -> io::Result<Finished> {
        let safe = self.safe;
        self.files.data.truncate(safe.data_len)?;
        self.files.data.sync()?;
        self.files.chain.truncate(safe.chain_len)?;
        self.chain = safe.chain;
        self.data_len = safe.data_len;
        self.chain_len = safe.chain_len;
        self.chunk.clear();
        self.write_entry(&self.chain.seal(Seal::Salvaged, node))?;
        self.files.chain.sync()?;
        Ok(self.finished())
    }

    /// Whether anything of it is durable.
    pub fn is_begun(&self) -> bool {
        self.safe.chain.chunks() > 0
    }

    fn finished(&self) -> Finished {
        Finished {
            number: self.number,
            t0_us: self.t0_us,
            bytes: self.data_len,
            chunks: self.chain.chunks(),
            chain: self.chain.value(),
        }
    }
}

static ZEROS: [u8; CHUNK_LEN] = [0; CHUNK_LEN];
