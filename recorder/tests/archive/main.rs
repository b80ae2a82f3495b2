//! The archive through its public face: replays, retention, the end of recordings, and the way into an
//! object store.
//!
//! The clock is an argument, so decades pass in a test; that the binary behaves so too under a wrong
//! system clock is shown in `tests/`. Tests with `against_moto` in their names need `moto_server`,
//! which `deploy/setup.sh` installs; without it they are skipped by name (tests/unit.sh).

mod double;
mod house;
mod moto;
mod objects;
mod replays;
mod retention;
