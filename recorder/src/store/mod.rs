//! Where recordings lie: always in a folder while they are made, and if configured in an object
//! store afterwards.
//!
//! The folder is the queue: what the object store does not have yet is still in it. Neither store
//! knows keys or what is in the files.

pub mod local;
pub mod s3;
