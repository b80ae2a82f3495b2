//! What a shard reports to the control plane: the whole upward half of its interface.

use bytes::Bytes;

use super::command::DataChannel;
use crate::error::CommandError;
use crate::id::{PublicationId, RoomId, SubscriptionId, TransportId};
use crate::quality::Rating;
use crate::stats::StatsSnapshot;
use crate::transport::srtp::Profile;

/// Something that happened to a room.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where. `None` for what concerns the whole worker.
    pub room: Option<RoomId>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// ICE found a path and DTLS is done: media may flow.
    Connected {
        /// Which one.
        transport: TransportId,
        /// How its media is protected.
        profile: Profile,
    },
    /// A data channel is open in both directions.
    DataChannelOpen {
        /// Which transport.
        transport: TransportId,
        /// Which channel.
        channel: DataChannel,
    },
    /// Nothing has come from the peer for
    /// [`silence_timeout`](crate::config::Limits::silence_timeout), although it was asked, or its path is
    /// gone. Said once, until it is heard again.
    Silent {
        /// Which one.
        transport: TransportId,
    },
    /// The transport is gone and has been forgotten; its publications ended with it.
    Disconnected {
        /// Which one.
        transport: TransportId,
        /// Why.
        reason: DisconnectReason,
    },
    /// The first packet of a publication has arrived.
    PublicationLive {
        /// Which one.
        publication: PublicationId,
    },
    /// A subscription is now sent another layer (its rank, 0 the smallest), or none.
    LayerChanged {
        /// Which one.
        subscription: SubscriptionId,
        /// The layer that is sent now.
        rank: Option<u8>,
    },
    /// A subscription is sent nothing because not even its smallest picture fits through the path to
    /// the subscriber, or something again.
    PictureHeld {
        /// Which one.
        subscription: SubscriptionId,
        /// It is sent nothing.
        is_held: bool,
    },
    /// Who speaks in the room: everybody whose level changed since the last time. A publication
    /// that fell silent is listed once with `is_active` false.
    Speakers {
        /// The changes.
        speakers: Vec<Speaker>,
    },
    /// A connection is better or worse than it was. It begins as excellent.
    Quality {
        /// Whose.
        transport: TransportId,
        /// How good it is now.
        rating: Rating,
    },
    /// A message arrived over a data channel.
    Data {
        /// From whom.
        transport: TransportId,
        /// Over which channel.
        channel: DataChannel,
        /// The message.
        payload: Bytes,
    },
    /// The recorder does not keep up: packets of the room are missing from the recording from now
    /// on. Said once, until `TapResumed`.
    TapOverflowed,
    /// What was dropped has been told to the recorder, and recording goes on with keyframes.
    TapResumed,
    /// Nobody reads the tap of the room any more. It has been detached.
    TapLost,
    /// The room and everything in it is gone because of a bug of ours, which was caught. The
    /// control plane may place it anew.
    RoomLost,
    /// A command was not carried out.
    Refused {
        /// Why.
        error: CommandError,
    },
    /// Once a second: everything that the worker has counted since it started.
    Stats {
        /// The counters, cumulative.
        snapshot: Box<StatsSnapshot>,
    },
}

/// Why a transport ended without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// No connectivity check ever succeeded.
    NeverConnected,
    /// The peer no longer consents to receive (RFC 7675), and has not come back in time.
    ConsentLost,
    /// The peer's certificate is not the announced one, or the handshake failed.
    HandshakeFailed,
    /// The peer said goodbye (DTLS close or SCTP abort).
    ClosedByPeer,
    /// A limit of [`Limits`](crate::config::Limits) was exceeded.
    LimitExceeded,
}

/// How loud a publication is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speaker {
    /// Which one.
    pub publication: PublicationId,
    /// 0 silent to 1 loudest, in steps of one eighth.
    pub level: f32,
    /// Loud enough for long enough to count as speaking.
    pub is_active: bool,
}
