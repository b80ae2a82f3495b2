//! One peer of a room as the shard sees it: its transport, and beside it the media state.
//!
//! The two halves know nothing of each other. The transport is ICE, DTLS, SRTP and SCTP; the media
//! half is which sources the peer sends from, what it is sent, and what waits to leave in this
//! turn.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::StableHash;
use super::bandwidth::Downlink;
use super::pending::Chain;
use crate::congestion::feedback::ArrivalFeedback;
use crate::congestion::sent::SentRecord;
use crate::id::TransportId;
use crate::quality::Meter;
use crate::transport::Transport;
use crate::transport::params::ExtensionIds;
use crate::transport::srtp::Outbound;
use crate::unit::{NtpTime, Ssrc};

/// Addresses of one peer that are bound at once.
pub(super) const ADDRESSES_MAX: usize = 8;

/// What a round trip is taken for until one has been measured.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// A peer of a room.
pub(super) struct Peer {
    pub(super) id: TransportId,
    /// The place of its room.
    pub(super) room: usize,
    pub(super) transport: Transport,
    pub(super) media: PeerMedia,
    /// Where it has been heard from, the oldest first.
    pub(super) addresses: ArrayVec<SocketAddr, ADDRESSES_MAX>,
    /// It has been reported as silent and not been heard since.
    pub(super) is_silent: bool,
}

/// Where the packets of a source belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The place of the publication.
    pub(super) publication: usize,
    pub(super) rank: u8,
    /// It carries retransmissions.
    pub(super) is_repair: bool,
}

/// The media half of a peer.
pub(super) struct PeerMedia {
    pub(super) extensions: ExtensionIds,
    /// What it sends, by source; bounded by `Limits::ssrcs_per_transport_max`.
    pub(super) sources: HashMap<Ssrc, Source, StableHash>,
    /// What it is sent: places of subscriptions by our source.
    pub(super) sent: HashMap<Ssrc, usize, StableHash>,
    /// Places of its publications.
    pub(super) publications: Vec<usize>,
    /// Places of its subscriptions.
    pub(super) subscriptions: Vec<usize>,
    pub(super) allowance: Allowance,
    pub(super) arrivals: ArrivalFeedback,
    /// How much fits on the way to it, where it is sent what it can report about.
    pub(super) downlink: Option<Box<Downlink>>,
    /// When it was last heard speaking.
    pub(super) spoke_at: Option<Instant>,
    /// How good its connection is.
    pub(super) quality: Meter,
    /// Our own source for RTCP that belongs to no subscription.
    pub(super) local: Ssrc,
    pub(super) round_trip: Duration,
    /// Our wall clock minus the peer's, in units of [`NtpTime`]; the same for all it publishes,
    /// which is what keeps lips and voice together.
    pub(super) clock_offset: Option<i64>,
    /// What it publishes may go to the archive.
    pub(super) may_be_recorded: bool,
    /// It is being removed: that its transport ends is no news.
    pub(super) is_leaving: bool,
    /// Once a second: receiver and sender reports.
    pub(super) report_at: Instant,
}

/// How many packets a peer has sent of late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    until: Instant,
    taken: u32,
}

/// Packets are counted over this, so that nobody spends a second's share in an instant.
const ALLOWANCE_SPAN: Duration = Duration::from_millis(100);

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            until: now + ALLOWANCE_SPAN,
            taken: 0,
        }
    }

    /// When packets last came, to within a tenth of a second.
    pub(super) fn used_at(&self) -> Instant {
        self.until
    }

    /// Whether one more packet is allowed, of so many in a second.
    pub(super) fn take(&mut self, now: Instant, per_second: u32) -> bool {
        if now >= self.until {
            *self = Self::new(now);
        }
        self.taken += 1;
        self.taken <= per_second.div_ceil(10)
    }
}

/// What every packet to a peer touches, side by side and apart from the rest of it: with two
/// thousand subscribers each of them is cold when its turn comes, and what counts is how many cache
/// lines and pages are fetched.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Hot {
    /// What leaves in this turn.
    pub(super) pending: Chain,
    /// Where it goes: what the transport says, noted whenever that has been stirred.
    pub(super) destination: Option<SocketAddr>,
    /// What it is sealed with, once the transport is connected.
    pub(super) outbound: Option<Outbound>,
    /// What was sent with numbers, for those who report about it.
    pub(super) sent: Option<Box<SentRecord>>,
    /// The earliest time at which RTCP must be written.
    pub(super) feedback_at: Option<Instant>,
    pub(super) is_connected: bool,
    /// It is in the list of those to be flushed.
    pub(super) is_dirty: bool,
    /// It is in the list of those whose sounds wait.
    pub(super) is_held: bool,
    /// It is in the list of those whose deadline must be found anew.
    pub(super) is_touched: bool,
    /// Its transport may have something to say.
    pub(super) is_stirred: bool,
}

/// Time between two receiver or sender reports.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A publisher's clock that is off by more than this has been set anew.
const CLOCK_JUMP: i64 = 5 << 32;

impl PeerMedia {
    pub(super) fn new(now: Instant, extensions: ExtensionIds, local: Ssrc) -> Self {
        Self {
            extensions,
            sources: HashMap::default(),
            sent: HashMap::default(),
            publications: Vec::new(),
            subscriptions: Vec::new(),
            allowance: Allowance::new(now),
            arrivals: ArrivalFeedback::new(now),
            downlink: None,
            spoke_at: None,
            quality: Meter::new(now),
            local,
            round_trip: ROUND_TRIP,
            clock_offset: None,
            may_be_recorded: false,
            is_leaving: false,
            report_at: now,
        }
    }

    /// Notes a measured round trip; a single one counts an eighth (RFC 6298 section 2.3).
    pub(super) fn note_round_trip(&mut self, sample: Duration) {
        self.round_trip = (self.round_trip * 7 + sample) / 8;
    }

    /// Compares clocks. The report with the shortest way here is the closest to the truth.
    pub(super) fn note_clock(&mut self, ours: NtpTime, theirs: NtpTime) {
        let offset = ours.0.wrapping_sub(theirs.0) as i64;
        self.clock_offset = Some(match self.clock_offset {
            Some(known) if known.abs_diff(offset) < CLOCK_JUMP as u64 => known.min(offset),
            _ => offset,
        });
    }
}
