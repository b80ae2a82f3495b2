//! What a shard gives back when it is polled: batches of datagrams, events, and the time at which
//! it wants to be called again.
//!
//! A batch is ordered receiver by receiver and lies in one arena, so that a sender may join a
//! receiver's run of equally long datagrams into one system call. It is only good until the next
//! call of the shard; nothing here owns a byte.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use super::event::Event;
use crate::relay::RelayBatch;

/// One thing that a shard has to say.
#[derive(Debug)]
pub enum Output<'a> {
    /// Datagrams to be sent now, in this order.
    Transmit(Batch<'a>),
    /// Frames for another shard, to be handed on now, in this order.
    Relay(RelayBatch<'a>),
    /// Something happened.
    Event(Event),
    /// Nothing more until there is input, or until this instant.
    Timeout(Option<Instant>),
}

/// Datagrams ordered receiver by receiver.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The bytes of all of them.
    pub arena: &'a [u8],
    /// Where each lies and where it goes.
    pub datagrams: &'a [Datagram],
}

impl<'a> Batch<'a> {
    /// Every datagram with its receiver.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &'a [u8])> + use<'a> {
        let arena = self.arena;
        self.datagrams
            .iter()
            .map(move |datagram| (datagram.to, &arena[datagram.bytes()]))
    }
}

/// One datagram of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The receiver.
    pub to: SocketAddr,
    /// Its place in the arena.
    pub range: Range<u32>,
}

impl Datagram {
    /// Its place in the arena as an index.
    pub fn bytes(&self) -> Range<usize> {
        self.range.start as usize..self.range.end as usize
    }
}
