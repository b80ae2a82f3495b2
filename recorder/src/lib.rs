//! The sealed archive: what a recording is on disk and how it is written, verified and replayed.
//!
//! Recordings will be encrypted while they are written, in one append-only journal per recording,
//! so that no plaintext ever reaches a disk. This crate owns packets, frames, files and keys; it
//! deliberately knows no HTTP and no rooms beyond an id. Nothing is recorded yet.
