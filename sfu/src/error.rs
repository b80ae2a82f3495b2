//! What can go wrong in the media plane, by whose fault it is.
//!
//! A datagram that cannot be used is dropped for a [`Reject`] reason, which is counted and never
//! logged: whoever floods us must not be able to fill a disk. A command that cannot be carried out
//! is answered with a [`CommandError`]. A broken invariant of our own is a bug and panics.

use std::fmt;

use crate::id::{PublicationId, RoomId, SubscriptionId, TransportId};

macro_rules! rejects {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// Why a datagram, or a part of one, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reject {
            $($(#[$doc])* $name,)*
        }

        impl Reject {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Reject] = &[$(Reject::$name,)*];

            /// The reason's name in metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $(Reject::$name => $label,)*
                }
            }
        }
    };
}

rejects! {
    /// The first byte is none of STUN, DTLS, RTP or RTCP (RFC 7983).
    UnknownProtocol => "unknown_protocol",
    /// Shorter than its own header, or longer than a datagram may be.
    Length => "length",
    /// STUN that does not parse.
    StunMalformed => "stun_malformed",
    /// STUN for a user name fragment that we do not have.
    StunUnknownUser => "stun_unknown_user",
    /// STUN whose message integrity or fingerprint is wrong.
    StunIntegrity => "stun_integrity",
    /// STUN of a kind that a lite agent does not answer.
    StunUnexpected => "stun_unexpected",
    /// Not STUN, from an address that no connectivity check has validated.
    SourceUnvalidated => "source_unvalidated",
    /// DTLS that does not parse or does not fit the handshake.
    Dtls => "dtls",
    /// RTP or RTCP before the handshake is done.
    NoKeys => "no_keys",
    /// An RTP header that lies about versions, contributors, extensions or padding.
    RtpMalformed => "rtp_malformed",
    /// RTP or RTCP whose authentication tag is wrong.
    SrtpAuthentication => "srtp_authentication",
    /// RTP or RTCP that was received before, or is too old to tell.
    SrtpReplay => "srtp_replay",
    /// RTCP that does not parse.
    RtcpMalformed => "rtcp_malformed",
    /// RTCP of a kind that we do not use.
    RtcpUnused => "rtcp_unused",
    /// RTP that belongs to no publication.
    UnknownSource => "unknown_source",
    /// RTP of a payload type that was not agreed.
    UnknownPayloadType => "unknown_payload_type",
    /// More packets of a transport than it may send in a second.
    TooManyPackets => "too_many_packets",
    /// One source more than a transport may have.
    TooManySources => "too_many_sources",
    /// An RTX packet without an original, or for a packet that had arrived.
    RtxUseless => "rtx_useless",
    /// RTP of a publication that is muted.
    Muted => "muted",
    /// Padding only: nothing to forward.
    PaddingOnly => "padding_only",
    /// RTP that arrived when no slab was free to hold it.
    NoSlab => "no_slab",
    /// A data channel message above the size limit, or SCTP that does not parse.
    Sctp => "sctp",
    /// A data channel that is not ours to serve.
    UnknownChannel => "unknown_channel",
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The room's placement has moved on.
    StaleEpoch(RoomId),
    /// No such room.
    UnknownRoom(RoomId),
    /// No such transport in the room.
    UnknownTransport(TransportId),
    /// No such publication in the room.
    UnknownPublication(PublicationId),
    /// No such subscription in the room.
    UnknownSubscription(SubscriptionId),
    /// The id is already in use.
    AlreadyExists,
    /// Both sides have no codec in common.
    NoCommonCodec(SubscriptionId),
    /// A bound of [`Limits`](crate::config::Limits), by its name.
    Limit(&'static str),
    /// A data channel message to a transport whose channel is not open or whose queue is full.
    NotSent(TransportId),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleEpoch(room) => write!(f, "{room} has been placed anew"),
            Self::UnknownRoom(room) => write!(f, "there is no {room}"),
            Self::UnknownTransport(id) => write!(f, "there is no {id}"),
            Self::UnknownPublication(id) => write!(f, "there is no {id}"),
            Self::UnknownSubscription(id) => write!(f, "there is no {id}"),
            Self::AlreadyExists => f.write_str("the id is in use"),
            Self::NoCommonCodec(id) => write!(f, "{id} has no codec in common"),
            Self::Limit(name) => write!(f, "the limit {name} is reached"),
            Self::NotSent(id) => write!(f, "the data channel of {id} takes no more"),
        }
    }
}

impl std::error::Error for CommandError {}
