//! The end-to-end tests: one binary, one module per part of the product's promise.
//!
//! Run by `tests/run-e2e.sh`, one test at a time: what is measured here is time and sound, and two
//! browsers at once on a small machine would measure each other.

mod attacks;
mod binary;
mod churn;
mod connections;
mod disk;
mod export;
mod firefox;
mod hostile;
mod insiders;
mod matrix;
mod networks;
mod opened;
mod page;
mod products;
mod python;
mod quality;
mod recording;
mod refusals;
mod replay;
mod resume;
mod retention;
mod rooms;
mod secrecy;
mod suites;
mod whip;
