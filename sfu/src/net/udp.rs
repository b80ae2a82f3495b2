//! One UDP socket that reads and writes in batches.
//!
//! A batch is sent in the order in which the shard laid it out, receiver by receiver, so that runs
//! to one receiver can later leave as one segmented datagram. One receiver that cannot be reached
//! costs its own datagrams and nobody else's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::sys::{self, BATCH_MAX, Interest, Received, Wake};
use crate::shard::Batch;

/// What the kernel may hold for us in each direction: at 10,000 packets a second of 1,200 bytes a
/// third of a second. The system's own limit may make it less.
const KERNEL_BUFFER_BYTES: usize = 4 << 20;
/// A datagram on the internet is shorter; what is longer is cut and counted.
const SLOT_BYTES: usize = 2_048;
/// How long a full send buffer may hold up a turn. It drains in microseconds where it drains at
/// all; after this the rest of the batch is given up, as a network would.
const SEND_PATIENCE: Duration = Duration::from_millis(1);

/// A bound socket that never waits.
#[derive(Debug)]
pub struct Socket {
    raw: RawSocket,
    local: SocketAddr,
}

/// Datagrams that were read, and the room for them.
#[derive(Debug)]
pub struct RecvBatch {
    buffer: Vec<u8>,
    received: Vec<Option<Received>>,
}

/// What became of the datagrams of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Handed to the kernel.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Given up because the kernel's buffers were full (EAGAIN, ENOBUFS).
    pub blocked: u64,
    /// Given up because of where they should go (EPERM, ECONNREFUSED, EHOSTUNREACH and the like).
    pub refused: u64,
}

impl Socket {
    /// Binds to `address`; port 0 lets the system choose.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let raw = RawSocket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            raw.set_only_v6(!address.ip().is_unspecified())?;
        }
        raw.set_recv_buffer_size(KERNEL_BUFFER_BYTES)?;
        raw.set_send_buffer_size(KERNEL_BUFFER_BYTES)?;
        raw.bind(&address.into())?;
        let local = raw.local_addr()?.as_socket();
        let local = local.ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { raw, local })
    }

    /// Where it is bound.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Reads what has arrived, at most one batch. False: nothing has.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<bool> {
        let fd = self.raw.as_fd();
        match sys::recv_batch(fd, &mut batch.buffer, SLOT_BYTES, &mut batch.received) {
            Ok(()) => Ok(!batch.received.is_empty()),
            Err(error) if is_nothing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a batch as far as the kernel takes it, and says how far that was.
    pub fn send_batch(&self, batch: &Batch<'_>) -> Sent {
        let mut sent = Sent::default();
        let mut at = 0;
        let mut is_patient = true;
        while at < batch.datagrams.len() {
            let rest = &batch.datagrams[at..];
            let pairs = rest
                .iter()
                .map(|datagram| (self.wire(datagram.to), &batch.arena[datagram.bytes()]));
            match sys::send_batch(self.raw.as_fd(), pairs) {
                Ok(count) => {
                    at += count;
                    sent.datagrams += count as u64;
                    let lengths = rest[..count].iter().map(|datagram| datagram.bytes().len());
                    sent.bytes += lengths.sum::<usize>() as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_patient => {
                    is_patient = false;
                    self.wait_for_room();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sent.blocked += rest.len() as u64;
                    return sent;
                }
                // An error is that of the first datagram; the others have not been tried.
                Err(error) => {
                    at += 1;
                    match error.raw_os_error() {
                        Some(libc::ENOBUFS | libc::ENOMEM) => sent.blocked += 1,
                        _ => sent.refused += 1,
                    }
                }
            }
        }
        sent
    }

    /// Waits for a datagram, for `wake` or for `timeout`; `None` waits for ever.
    pub(crate) fn wait(&self, wake: &Wake, timeout: Option<Duration>) -> io::Result<()> {
        let socket = (self.raw.as_fd(), Interest::Readable);
        sys::wait([socket, (wake.file(), Interest::Readable)], timeout)
    }

    fn wait_for_room(&self) {
        // If it fails, the next attempt to send says why.
        let socket = (self.raw.as_fd(), Interest::Writable);
        let _told_by_send = sys::wait([socket], Some(SEND_PATIENCE));
    }

    /// A socket of both families knows IPv4 addresses as mapped ones.
    fn wire(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.local.is_ipv6() => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())
            }
            _ => to,
        }
    }
}

impl RecvBatch {
    /// Room for at most `datagrams`; one system call fills 64.
    pub fn new(datagrams: usize) -> Self {
        let slots = datagrams.clamp(1, BATCH_MAX);
        Self {
            buffer: vec![0; slots * SLOT_BYTES],
            received: Vec::with_capacity(slots),
        }
    }

    /// Every datagram with its sender. `None` stands for one that was too long.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = Option<(SocketAddr, &mut [u8])>> {
        let slots = self.buffer.chunks_exact_mut(SLOT_BYTES);
        slots.zip(&self.received).map(|(slot, received)| {
            let received = received.filter(|received| !received.is_truncated)?;
            let from = SocketAddr::new(received.from.ip().to_canonical(), received.from.port());
            Some((from, &mut slot[..received.len]))
        })
    }
}

/// Nothing to read, or the echo of something that we sent and that found nobody.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Datagram;

    fn socket(ip: &str) -> Socket {
        let ip: IpAddr = ip.parse().expect("an address");
        Socket::bind(SocketAddr::new(ip, 0)).expect("a free port")
    }

    fn batch_of(to: &[SocketAddr]) -> (Vec<u8>, Vec<Datagram>) {
        let arena: Vec<u8> = (0..to.len() as u32 * 4).map(|i| i as u8).collect();
        let place = |(i, &to): (usize, &SocketAddr)| Datagram {
            to,
            range: i as u32 * 4..i as u32 * 4 + 4,
        };
        let datagrams = to.iter().enumerate().map(place).collect();
        (arena, datagrams)
    }

    fn send(socket: &Socket, arena: &[u8], datagrams: &[Datagram]) -> Sent {
        socket.send_batch(&Batch { arena, datagrams })
    }

    fn recv_all(socket: &Socket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let wake = Wake::new().expect("a bell");
        let mut batch = RecvBatch::new(64);
        let mut all = Vec::new();
        while all.len() < count {
            let patience = Some(Duration::from_secs(10));
            socket.wait(&wake, patience).expect("it can wait");
            assert!(socket.recv_batch(&mut batch).expect("it can read"), "none");
            let datagrams = batch.iter_mut().flatten();
            all.extend(datagrams.map(|(from, bytes)| (from, bytes.to_vec())));
        }
        all
    }

    #[test]
    fn a_batch_arrives_in_order_and_says_where_it_came_from() {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let (arena, datagrams) = batch_of(&[b.local_address(); 200]);
        let sent = send(&a, &arena, &datagrams);
        assert_eq!((sent.datagrams, sent.bytes), (200, 800));
        let expected: Vec<_> = arena
            .chunks(4)
            .map(|bytes| (a.local_address(), bytes.to_vec()))
            .collect();
        assert_eq!(recv_all(&b, 200), expected);
    }

    #[test]
    fn one_bad_receiver_costs_only_its_own_datagrams() {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let good = b.local_address();
        // A broadcast that was not asked for, and an address of the other family.
        let bad: SocketAddr = "255.255.255.255:9".parse().expect("an address");
        let other: SocketAddr = "[::1]:9".parse().expect("an address");
        let (arena, datagrams) = batch_of(&[bad, good, good, other, bad, good]);
        let sent = send(&a, &arena, &datagrams);
        assert_eq!((sent.datagrams, sent.refused, sent.blocked), (3, 3, 0));
        assert_eq!(recv_all(&b, 3).len(), 3);
    }

    #[test]
    fn a_datagram_that_is_too_long_is_cut_out() {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let arena = vec![7; SLOT_BYTES + 1];
        let to = b.local_address();
        let of_len = |len: usize| Datagram {
            to,
            range: 0..len as u32,
        };
        send(&a, &arena, &[of_len(SLOT_BYTES + 1), of_len(SLOT_BYTES)]);
        let mut batch = RecvBatch::new(64);
        assert!(b.recv_batch(&mut batch).expect("it can read"));
        let lengths: Vec<_> = batch
            .iter_mut()
            .map(|datagram| datagram.map(|(_, bytes)| bytes.len()))
            .collect();
        assert_eq!(lengths, [None, Some(SLOT_BYTES)]);
    }

    #[test]
    fn a_socket_of_both_families_hides_the_mapping() {
        let both = socket("::");
        for ip in ["127.0.0.1", "::1"] {
            let client = socket(ip);
            let to = SocketAddr::new(client.local_address().ip(), both.local_address().port());
            let (arena, datagrams) = batch_of(&[to]);
            send(&client, &arena, &datagrams);
            let (from, _) = recv_all(&both, 1).remove(0);
            assert_eq!(from, client.local_address());
            let (arena, datagrams) = batch_of(&[from]);
            assert_eq!(send(&both, &arena, &datagrams).datagrams, 1);
            assert_eq!(recv_all(&client, 1)[0].0, to);
        }
    }

    #[test]
    fn a_bell_ends_a_wait() {
        let socket = socket("127.0.0.1");
        let wake = Wake::new().expect("a bell");
        wake.try_clone().expect("a rope").ring();
        wake.ring();
        socket.wait(&wake, None).expect("it can wait");
        wake.hear();
        let mut batch = RecvBatch::new(1);
        assert!(!socket.recv_batch(&mut batch).expect("it can read"));
        let no_time = Some(Duration::ZERO);
        socket.wait(&wake, no_time).expect("it does not wait");
    }
}
