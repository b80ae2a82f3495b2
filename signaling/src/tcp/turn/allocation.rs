//! What a client of TURN has been given, and until when (RFC 8656 sections 9 and 12): a relayed address
//! that exists by name only, peers that may be reached, channels to them.
//!
//! Who may be given anything is decided before, in `server`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::passes::AllocationSlot;
use super::refusal::Refusal;

const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Peers of one allocation: a worker has an address of each family, and a participant two transports.
pub const PEERS_MAX: usize = 8;

/// What a client may do until it is over, or refreshed.
pub struct Allocation {
    pub(super) username: String,
    pub(super) sid: String,
    pub(super) relayed: SocketAddr,
    pub(super) until: Instant,
    permissions: ArrayVec<(IpAddr, Instant), PEERS_MAX>,
    channels: ArrayVec<(u16, SocketAddr, Instant), PEERS_MAX>,
    _slot: AllocationSlot,
}

impl Allocation {
    /// For a participant's pass, until it is refreshed.
    pub fn new(
        username: &str,
        sid: &str,
        relayed: SocketAddr,
        until: Instant,
        slot: AllocationSlot,
    ) -> Self {
        Self {
            username: username.to_owned(),
            sid: sid.to_owned(),
            relayed,
            until,
            permissions: ArrayVec::new(),
            channels: ArrayVec::new(),
            _slot: slot,
        }
    }

    /// Packets may go to that address and come from it.
    pub fn permit(&mut self, now: Instant, ip: IpAddr) -> Result<(), Refusal> {
        let until = now + PERMISSION_LIFETIME;
        self.permissions.retain(|(_, until)| now < *until);
        if let Some(known) = self.permissions.iter_mut().find(|known| known.0 == ip) {
            known.1 = until;
            return Ok(());
        }
        let permission = (ip, until);
        let added = self.permissions.try_push(permission);
        added.map_err(|_| Refusal::Capacity)
    }

    /// Whether they may.
    pub fn is_permitted(&self, now: Instant, ip: IpAddr) -> bool {
        let mut permissions = self.permissions.iter();
        now < self.until && permissions.any(|(known, until)| *known == ip && now < *until)
    }

    /// A channel is a number for one peer, and a peer has one.
    pub fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<(), Refusal> {
        let until = now + CHANNEL_LIFETIME;
        self.channels.retain(|(_, _, until)| now < *until);
        for known in &mut self.channels {
            match (known.0 == number, known.1 == peer) {
                (true, true) => {
                    known.2 = until;
                    return Ok(());
                }
                (false, false) => {}
                _ => return Err(Refusal::BadRequest),
            }
        }
        let added = self.channels.try_push((number, peer, until));
        added.map_err(|_| Refusal::Capacity)
    }

    /// Who is at the other end of a channel.
    pub fn peer(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        let mut channels = self.channels.iter();
        let found = channels.find(|(bound, _, until)| *bound == number && now < *until);
        found.map(|(_, peer, _)| *peer)
    }
}
