//! Whose datagram is it: the first byte and the source address.
//!
//! The first byte tells protocols apart (RFC 7983). Addresses are bound to peers by connectivity
//! checks only; an address in use stays with its peer until that has been silent for a while, so
//! that somebody who can forge a source address cannot take over another participant's path.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::StableHash;

/// A peer that was heard from an address so recently keeps it.
const KEPT: Duration = Duration::from_secs(3);

/// What a datagram claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

/// Tells protocols apart (RFC 7983 section 7, RFC 5761 section 4).
pub(super) fn protocol(datagram: &[u8]) -> Option<Protocol> {
    match datagram {
        [0..=3, ..] => Some(Protocol::Stun),
        [20..=63, ..] => Some(Protocol::Dtls),
        [128..=191, 192..=223, ..] => Some(Protocol::Rtcp),
        [128..=191, _, ..] => Some(Protocol::Rtp),
        _ => None,
    }
}

struct Binding {
    peer: usize,
    heard_at: Instant,
}

/// Addresses and the places of the peers behind them.
#[derive(Default)]
pub(super) struct Demux {
    bindings: HashMap<SocketAddr, Binding, StableHash>,
}

impl Demux {
    /// The peer behind an address; it has been heard now.
    pub(super) fn peer(&mut self, now: Instant, from: SocketAddr) -> Option<usize> {
        let binding = self.bindings.get_mut(&from)?;
        binding.heard_at = now;
        Some(binding.peer)
    }

    /// The peer behind an address that somebody else may have written into a datagram.
    pub(super) fn peek(&self, from: SocketAddr) -> Option<usize> {
        self.bindings.get(&from).map(|binding| binding.peer)
    }

    /// When something last came from an address that is bound.
    pub(super) fn heard_at(&self, from: SocketAddr) -> Option<Instant> {
        self.bindings.get(&from).map(|binding| binding.heard_at)
    }

    /// Counts every address as heard: it was we who did not listen.
    pub(super) fn excuse_silence(&mut self, now: Instant) {
        for binding in self.bindings.values_mut() {
            binding.heard_at = now;
        }
    }

    /// Whether an address may be bound to a peer.
    pub(super) fn is_free_for(&self, now: Instant, from: SocketAddr, peer: usize) -> bool {
        self.bindings.get(&from).is_none_or(|binding| {
            binding.peer == peer || now.saturating_duration_since(binding.heard_at) > KEPT
        })
    }

    /// Binds an address to a peer. Returns the peer that it belonged to before.
    pub(super) fn bind(&mut self, now: Instant, from: SocketAddr, peer: usize) -> Option<usize> {
        let binding = Binding {
            peer,
            heard_at: now,
        };
        self.bindings
            .insert(from, binding)
            .map(|before| before.peer)
            .filter(|&before| before != peer)
    }

    /// Forgets an address if it belongs to that peer.
    pub(super) fn unbind(&mut self, from: SocketAddr, peer: usize) {
        if self.peek(from) == Some(peer) {
            self.bindings.remove(&from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_protocols_apart() {
        for (bytes, expected) in [
            (&[][..], None),
            (&[0, 1], Some(Protocol::Stun)),
            (&[3], Some(Protocol::Stun)),
            (&[4, 0], None),
            (&[22, 254], Some(Protocol::Dtls)),
            (&[64, 0], None),
            (&[127, 200], None),
            (&[128], None),
            (&[0x80, 111], Some(Protocol::Rtp)),
            (&[0x90, 0xef], Some(Protocol::Rtp)),
            (&[0x81, 200], Some(Protocol::Rtcp)),
            (&[0x8f, 206], Some(Protocol::Rtcp)),
            (&[192, 0], None),
        ] {
            assert_eq!(protocol(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_address_in_use_is_kept() {
        let start = crate::testing::instant();
        let from: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
        let mut demux = Demux::default();
        assert_eq!(demux.bind(start, from, 1), None);
        let soon = start + Duration::from_secs(2);
        assert!(!demux.is_free_for(soon, from, 2));
        assert_eq!(demux.peer(soon, from), Some(1));
        let later = soon + Duration::from_secs(2);
        assert!(!demux.is_free_for(later, from, 2), "it was heard meanwhile");
        let silent = later + Duration::from_secs(2);
        assert!(demux.is_free_for(silent, from, 2));
        assert_eq!(demux.bind(silent, from, 2), Some(1));
        demux.unbind(from, 1);
        assert_eq!(demux.peek(from), Some(2), "only its peer can unbind it");
    }
}
