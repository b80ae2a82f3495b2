//! Paths that are no datagrams: connections over which a front door carries a peer's packets.
//!
//! Where UDP is barred, packets come over TCP: framed one by one (RFC 6544), or inside a TURN
//! connection. Whoever holds the socket takes the packets out and hands them to the worker through a
//! [`StreamEnd`]; to the shard a stream is one more source address, which has to be validated by
//! connectivity checks like any other and which media may be moved to and from. Here is how such an
//! address is written, how packets are framed, and the rings between both sides. No socket is here.

pub mod frame;
mod line;

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;

pub use line::{Bell, Full, StreamEnd, StreamReceiver, StreamSender};
pub(crate) use line::{Stream, stream};

/// Bytes that a packet on a stream may have: what a slab holds. A path's MTU is far below.
pub const PACKET_BYTES_MAX: usize = crate::slab::SLAB_BYTES;

/// The address of stream `id`, whose peer is seen at `seen_at`.
///
/// The id stands in the flow label, which no socket's address has: whatever a datagram's sender
/// writes into its source, it cannot take a stream's place.
pub fn address(id: NonZeroU32, seen_at: SocketAddr) -> SocketAddr {
    let ip = match seen_at.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    SocketAddrV6::new(ip, seen_at.port(), id.get(), 0).into()
}

/// Whether an address is that of a stream.
pub fn is_stream(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.flowinfo() != 0)
}

/// Where the peer behind an address is seen: what connectivity checks tell it.
pub fn seen_at(address: SocketAddr) -> SocketAddr {
    match is_stream(address) {
        true => SocketAddr::new(address.ip().to_canonical(), address.port()),
        false => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_remembers_where_its_peer_is_seen_and_is_no_datagrams_source() {
        let id = NonZeroU32::new(7).expect("not zero");
        for text in ["192.0.2.1:50000", "[2001:db8::1]:443"] {
            let seen: SocketAddr = text.parse().expect("an address");
            let named = address(id, seen);
            assert!(is_stream(named) && !is_stream(seen));
            assert_eq!(seen_at(named), seen);
            assert_eq!(seen_at(seen), seen);
            assert_ne!(named, address(NonZeroU32::MIN, seen));
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:50000".parse().expect("an address");
        assert_ne!(address(id, "192.0.2.1:50000".parse().expect("one")), mapped);
    }
}
