//! Rooms, participants and the LiveKit protocol: the single front door.
//!
//! The life of a join: `http` accepts a connection, bounds it by address and checks the token;
//! `session` speaks the protocol over the upgraded socket; `room` decides, one task and one inbox
//! for each room; what it decides about media reaches `sfu` as plain values. Whatever a browser, a
//! phone or a hospital system asks for comes in through [`http`], so that authentication, limits
//! and refusals are in one place.
//!
//! Modules may use those above them in this list, never those below.

pub mod config;
pub mod error;
pub mod limits;
pub mod metrics;
pub mod placement;
pub mod sdp;
pub mod token;
pub mod wire;

pub mod consent;
pub mod egress;
pub mod sid;
pub mod store;
pub mod tcp;

pub mod outbox;
pub mod webhook;

pub mod revocation;
pub mod room;

pub mod registry;
pub mod session;

pub mod http;

pub mod app;

pub mod fuzz;
