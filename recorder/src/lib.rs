//! The sealed archive: what a recording is on disk and how it is written, verified and replayed.
//!
//! Recordings are encrypted while they are written, in one append-only journal per recording, so
//! that no plaintext ever reaches a disk. `docs/archive-format.md` draws every byte. This crate owns
//! packets, frames, files and keys; it deliberately knows no HTTP, no async runtime and no rooms
//! beyond an id. Calls into it block; whoever has a runtime calls from a thread of its own.

pub mod access;
pub mod age;
pub mod archive;
pub mod audit;
pub mod catalogue;
pub mod config;
pub mod confirmation;
pub mod container;
pub mod contents;
pub mod counters;
pub mod depacketize;
pub mod digest;
pub mod durable;
pub mod export;
pub mod folder;
pub mod fuzz;
pub mod header;
pub mod id;
pub mod journal;
pub mod keys;
pub mod manifest;
pub mod mixdown;
pub mod notes;
pub mod presentation;
pub mod recording;
pub mod release;
pub mod replay;
pub mod retention;
pub mod salvage;
#[cfg(test)]
mod sample;
pub mod sign;
pub mod source;
pub mod store;
pub mod timeline;
pub mod tlog;
pub mod upload;
pub mod verify;
pub mod wall;
