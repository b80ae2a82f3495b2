//! Reads the records of a sealed segment, given the recording's identity.
//!
//! It begins at any chunk that follows a flush, goes on across chunks, and stops where a segment is
//! torn. What it gives is authentic chunk by chunk; that no chunk is missing or moved to another
//! segment is proved by the chain, which is the verifier's to check.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use crate::age::header::HEADER_BYTES_MAX;
use crate::age::stream::{NONCE_BYTES, SEALED_LEN, Stream, TAG_LEN};
use crate::age::{self, AgeError, Identity};
use crate::journal::record::{Record, RecordError};
use zeroize::Zeroizing;

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last chunk.
    Closed,
    /// In the middle: its writer was lost, or is still at it. So many chunks are whole.
    Torn {
        /// Whole chunks.
        chunks: u32,
    },
}

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its head cannot be opened, or a chunk in its middle is damaged.
    #[error("{0}")]
    Age(#[from] AgeError),
    /// What was sealed is no record.
    #[error("chunk {chunk}: {error}")]
    Record {
        /// In which chunk it begins.
        chunk: u32,
        /// What is wrong.
        error: RecordError,
    },
}

/// A segment that is being read.
pub struct SegmentReader<R> {
    input: R,
    stream: Stream,
    data_offset: usize,
    /// The next chunk to be read.
    next_chunk: u32,
    /// Plaintext from the beginning of a record on.
    plaintext: Zeroizing<Vec<u8>>,
    /// Where the next record begins in it.
    at: usize,
    /// The chunk that was last opened, and where its plaintext begins.
    chunk_start: (u32, usize),
    sealed: Vec<u8>,
    end: Option<End>,
}

impl<R> fmt::Debug for SegmentReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentReader(chunk {})", self.next_chunk)
    }
}

impl<R: Read + Seek> SegmentReader<R> {
    /// Opens the segment that `input` stands at the first byte of.
    pub fn open(mut input: R, identity: &Identity) -> Result<Self, ReadError> {
        let mut head = Vec::new();
        input
            .by_ref()
            .take((HEADER_BYTES_MAX + NONCE_BYTES) as u64)
            .read_to_end(&mut head)?;
        let (stream, data_offset) = age::open_head(&head, identity)?;
        let mut reader = Self {
            input,
            stream,
            data_offset,
            next_chunk: 0,
            plaintext: Zeroizing::new(Vec::new()),
            at: 0,
            chunk_start: (0, 0),
            sealed: Vec::with_capacity(SEALED_LEN),
            end: None,
        };
        reader.seek(0)?;
        Ok(reader)
    }

    /// Goes to chunk `number`, which must follow a flush or be the first.
    pub fn seek(&mut self, number: u32) -> io::Result<()> {
        let at = self.data_offset as u64 + u64::from(number) * SEALED_LEN as u64;
        self.input.seek(SeekFrom::Start(at))?;
        self.next_chunk = number;
        self.plaintext.clear();
        self.at = 0;
        self.end = None;
        Ok(())
    }

    /// The next record; `None` at the end, whose kind [`SegmentReader::end`] tells. A record that
    /// is cut off by a tear is not given.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        loop {
            match Record::parse(&self.plaintext[self.at..]) {
                Ok(Some((_, len))) => {
                    let from = self.at;
                    self.at += len;
                    let parsed = Record::parse(&self.plaintext[from..self.at]);
                    let (record, _) = parsed
                        .expect("it was parsed a moment ago")
                        .expect("and was there");
                    return Ok(Some(record));
                }
                Ok(None) => self.at = self.plaintext.len(),
                Err(RecordError::Short) => {}
                Err(error) => {
                    let chunk = self.chunk_start.0;
                    return Err(ReadError::Record { chunk, error });
                }
            }
            if self.end.is_some() || !self.read_chunk()? {
                return Ok(None);
            }
        }
    }

    /// How the segment ended, once it has.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The chunk in which the record that was given last ended.
    pub fn chunk(&self) -> u32 {
        self.chunk_start.0
    }

    /// Opens the next chunk behind what is left. False: there is none.
    fn read_chunk(&mut self) -> Result<bool, ReadError> {
        let number = self.next_chunk;
        self.sealed.clear();
        let read = self
            .input
            .by_ref()
            .take(SEALED_LEN as u64)
            .read_to_end(&mut self.sealed)?;
        let Some((is_last, opened)) = self.open_chunk(number) else {
            // A damaged chunk that others follow is no tear.
            let has_more = read == SEALED_LEN && self.input.read(&mut [0])? > 0;
            self.end = Some(End::Torn { chunks: number });
            return if has_more {
                Err(AgeError::Chunk(number).into())
            } else {
                Ok(false)
            };
        };
        self.plaintext.drain(..self.at);
        self.at = 0;
        self.chunk_start = (number, self.plaintext.len());
        self.plaintext.extend_from_slice(&self.sealed[..opened]);
        self.sealed[..opened].fill(0);
        self.next_chunk += 1;
        if is_last {
            self.end = Some(End::Closed);
            if self.input.read(&mut [0])? > 0 {
                return Err(AgeError::Chunk(number + 1).into());
            }
        }
        Ok(true)
    }

    /// Opens what was read, in place: whether it was the last chunk, and its length.
    fn open_chunk(&mut self, number: u32) -> Option<(bool, usize)> {
        if self.sealed.len() <= TAG_LEN {
            return None;
        }
        // A chunk that does not open has been overwritten by the attempt.
        let copy = (self.sealed.len() == SEALED_LEN).then(|| self.sealed.clone());
        if let Some(copy) = copy {
            if let Ok(opened) = self.stream.open(number, false, &mut self.sealed) {
                return Some((false, opened.len()));
            }
            self.sealed = copy;
        }
        let opened = self.stream.open(number, true, &mut self.sealed).ok()?;
        Some((true, opened.len()))
    }
}
