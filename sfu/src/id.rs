//! Names of the things the media plane knows.
//!
//! The control plane chooses every id and never uses one twice in the life of the process, so a
//! command needs no answer before the next one may refer to what it made. Ids are plain numbers:
//! they carry no name, no address and no identity, and may appear in logs.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A room as the media plane sees it: a set of transports that may subscribe to each other.
    RoomId,
    "room-"
);
id!(
    /// One peer connection of one participant.
    TransportId,
    "transport-"
);
id!(
    /// A track as we receive it.
    PublicationId,
    "publication-"
);
id!(
    /// A publication as one transport receives it.
    SubscriptionId,
    "subscription-"
);

/// Bits of a [`TransportId`] below the number of its worker.
const WORKER_SHIFT: u32 = 48;

impl TransportId {
    /// The `number`th transport, on `worker`. Whoever carries a first connectivity check to its worker
    /// finds that in the id, so it needs no table of all transports.
    pub fn on(worker: WorkerId, number: u64) -> Self {
        debug_assert!(number >> WORKER_SHIFT == 0, "2^48 transports are not made");
        Self(u64::from(worker.0) << WORKER_SHIFT | number)
    }

    /// The worker that it is on.
    pub fn worker(self) -> WorkerId {
        WorkerId((self.0 >> WORKER_SHIFT) as u16)
    }
}

/// How often a room has been placed. A command of an older epoch is refused, so that a worker or
/// node that lost a room cannot be steered by somebody who has not heard of it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A media thread, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker-{}", self.0)
    }
}
