//! One UDP socket that reads and writes in batches, and several datagrams in one message.
//!
//! A batch is sent in the order in which the shard laid it out, receiver by receiver; `runs`
//! says which datagrams leave together. What the kernel has joined on the way in is taken apart
//! again where it lies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::mmsg::{self, BATCH_MAX, Message, Received};
pub use super::runs::Sent;
use super::runs::{Run, Sending};
use super::sys::{self, Interest};
use crate::config::Segmentation;
use crate::pages::Pages;
use crate::shard::Batch;

/// What the kernel may hold for us in each direction: at 10,000 packets a second of 1,200 bytes a
/// third of a second. The system's own limit may make it less.
const KERNEL_BUFFER_BYTES: usize = 4 << 20;
/// A datagram on the internet is shorter; what is longer is cut out and counted.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// A message that the kernel has joined has up to 64 KB. The rest sets the slots apart, so that
/// their beginnings do not fall into the same few places of the processor's caches.
const JOINED_SLOT_BYTES: usize = (64 << 10) + 2_112;
/// Messages that are made room for when few have come lately.
const MESSAGES_MIN: usize = 4;
/// How long a full send buffer may hold up a turn. It drains in microseconds where it drains at
/// all; after this the rest of the batch is given up, as a network would.
const SEND_PATIENCE: Duration = Duration::from_millis(1);

/// A bound socket that never waits.
#[derive(Debug)]
pub struct Socket {
    raw: RawSocket,
    local: SocketAddr,
    sending: Sending,
    is_joining: bool,
}

/// Datagrams that were read, and the room for them.
#[derive(Debug)]
pub struct RecvBatch {
    /// What is opened is opened where it lies.
    buffer: Pages,
    slot_bytes: usize,
    received: Vec<Option<Received>>,
    /// Which message is taken apart now, and from where on.
    message: usize,
    offset: usize,
    /// Datagrams that may be given out in one turn, and still in this one.
    datagrams_max: usize,
    left: usize,
    /// The kernel may have more.
    was_full: bool,
}

/// What waits for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Datagrams.
    pub(crate) is_readable: bool,
    /// The bell has been rung.
    pub(crate) is_rung: bool,
}

impl Ready {
    /// Whatever there may be.
    pub(crate) const ALL: Self = Self {
        is_readable: true,
        is_rung: true,
    };
}

impl Socket {
    /// Binds to `address`; port 0 lets the system choose. At most `segments_max` datagrams leave as
    /// one message, if `segmentation` and the kernel allow it.
    pub fn bind(
        address: SocketAddr,
        segmentation: Segmentation,
        segments_max: usize,
    ) -> io::Result<Self> {
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
        let is_wanted = segmentation == Segmentation::Auto;
        let can_segment = is_wanted && mmsg::can_segment(raw.as_fd());
        // A kernel that cannot join gives every datagram on its own, which is as good.
        let is_joining = is_wanted && mmsg::join_received(raw.as_fd()).is_ok();
        Ok(Self {
            raw,
            local,
            sending: Sending::new(if can_segment { segments_max } else { 1 }),
            is_joining,
        })
    }

    /// Where it is bound.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Whether several datagrams leave as one message: so it was wanted, and neither kernel nor
    /// device has refused it.
    pub fn is_segmenting(&self) -> bool {
        self.sending.is_segmenting()
    }

    /// Room for what is read in one turn, at most `datagrams_max`.
    pub fn recv_room(&self, datagrams_max: usize) -> RecvBatch {
        let slot_bytes = match self.is_joining {
            true => JOINED_SLOT_BYTES,
            false => DATAGRAM_BYTES_MAX,
        };
        RecvBatch::new(datagrams_max, slot_bytes)
    }

    /// Reads what has arrived, at most one batch, unless some of the last one is left. False:
    /// nothing has.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<bool> {
        batch.left = batch.datagrams_max;
        if batch.is_some_left() {
            return Ok(true);
        }
        let count = batch.count();
        batch.rewind();
        let result = mmsg::recv_batch(
            self.raw.as_fd(),
            &mut batch.buffer,
            batch.slot_bytes,
            count,
            &mut batch.received,
        );
        batch.was_full = batch.received.len() == count;
        match result {
            Ok(()) => Ok(!batch.received.is_empty()),
            Err(error) if is_nothing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a batch as far as the kernel takes it, and says how far that was.
    pub fn send_batch(&mut self, batch: &Batch<'_>) -> Sent {
        let Self {
            raw,
            local,
            sending,
            ..
        } = self;
        let fd = raw.as_fd();
        let message = |run: &Run| Message {
            to: wire(*local, run.to),
            bytes: &batch.arena[run.bytes.clone()],
            segment: (run.datagrams > 1).then_some(run.segment as u16),
        };
        sending.send(
            batch.datagrams,
            |runs| mmsg::send_batch(fd, runs.iter().map(message)),
            || {
                // If it fails, the next attempt to send says why.
                let _told_by_send = sys::wait(fd, Interest::Writable, SEND_PATIENCE);
            },
        )
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

/// A socket of both families knows IPv4 addresses as mapped ones.
fn wire(local: SocketAddr, to: SocketAddr) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(ip) if local.is_ipv6() => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
        _ => to,
    }
}

impl RecvBatch {
    fn new(datagrams_max: usize, slot_bytes: usize) -> Self {
        let slots = datagrams_max.clamp(1, BATCH_MAX);
        Self {
            buffer: Pages::new(slots * slot_bytes).expect("the system has memory at the start"),
            slot_bytes,
            received: Vec::with_capacity(slots),
            message: 0,
            offset: 0,
            datagrams_max: datagrams_max.max(1),
            left: 0,
            was_full: false,
        }
    }

    /// The next datagram with its sender, until the turn has had its share. `Some(None)` stands for
    /// one that was too long.
    pub fn pop(&mut self) -> Option<Option<(SocketAddr, &mut [u8])>> {
        let received = *self.received.get(self.message)?;
        self.left = self.left.checked_sub(1)?;
        let Some(received) = received.filter(|received| !received.is_truncated) else {
            self.message += 1;
            return Some(None);
        };
        let start = self.message * self.slot_bytes + self.offset;
        let len = received.segment.min(received.len - self.offset);
        self.offset += len;
        if self.offset >= received.len {
            self.message += 1;
            self.offset = 0;
        }
        if len > DATAGRAM_BYTES_MAX {
            return Some(None);
        }
        let from = SocketAddr::new(received.from.ip().to_canonical(), received.from.port());
        Some(Some((from, &mut self.buffer[start..start + len])))
    }

    /// Whether there is, or may be, more than this turn has had.
    pub fn has_more(&self) -> bool {
        self.was_full || self.is_some_left()
    }

    fn is_some_left(&self) -> bool {
        self.message < self.received.len()
    }

    /// How many messages are asked for: twice as many as have come the last time, because room that
    /// is not used costs something too, and a call of one message an hour is the most common one.
    fn count(&self) -> usize {
        let slots = self.buffer.len() / self.slot_bytes;
        (2 * self.received.len()).max(MESSAGES_MIN).min(slots)
    }

    fn rewind(&mut self) {
        self.message = 0;
        self.offset = 0;
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
        bind(ip, Segmentation::Auto)
    }

    fn bind(ip: IpAddr, segmentation: Segmentation) -> Socket {
        Socket::bind(SocketAddr::new(ip, 0), segmentation, 16).expect("a free port")
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

    fn send(socket: &mut Socket, arena: &[u8], datagrams: &[Datagram]) -> Sent {
        socket.send_batch(&Batch { arena, datagrams })
    }

    fn recv_all(socket: &Socket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut batch = socket.recv_room(64);
        let mut all = Vec::new();
        while all.len() < count {
            if !batch.has_more() {
                let patience = Duration::from_secs(10);
                sys::wait(socket.file(), Interest::Readable, patience).expect("it can wait");
            }
            socket.recv_batch(&mut batch).expect("it can read");
            while let Some(datagram) = batch.pop() {
                let (from, bytes) = datagram.expect("none is too long");
                all.push((from, bytes.to_vec()));
            }
        }
        all
    }

    #[test]
    fn a_batch_arrives_in_order_and_says_where_it_came_from() {
        let (mut a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let (arena, datagrams) = batch_of(&[b.local_address(); 200]);
        let sent = send(&mut a, &arena, &datagrams);
        assert_eq!((sent.datagrams, sent.bytes), (200, 800));
        let expected: Vec<_> = arena
            .chunks(4)
            .map(|bytes| (a.local_address(), bytes.to_vec()))
            .collect();
        assert_eq!(recv_all(&b, 200), expected);
    }

    #[test]
    fn one_bad_receiver_costs_only_its_own_datagrams() {
        let (mut a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let good = b.local_address();
        // A broadcast that was not asked for, and an address of the other family.
        let bad: SocketAddr = "255.255.255.255:9".parse().expect("an address");
        let other: SocketAddr = "[::1]:9".parse().expect("an address");
        let (arena, datagrams) = batch_of(&[bad, good, good, other, bad, good]);
        let sent = send(&mut a, &arena, &datagrams);
        assert_eq!((sent.datagrams, sent.refused, sent.blocked), (3, 3, 0));
        assert_eq!(recv_all(&b, 3).len(), 3);
    }

    #[test]
    fn a_datagram_that_is_too_long_is_cut_out() {
        const MAX: usize = DATAGRAM_BYTES_MAX;
        for segmentation in [Segmentation::Auto, Segmentation::Off] {
            let mut a = socket("127.0.0.1");
            let b = bind([127, 0, 0, 1].into(), segmentation);
            let arena = vec![7; MAX + 1];
            let to = b.local_address();
            let of_len = |len: usize| Datagram {
                to,
                range: 0..len as u32,
            };
            send(&mut a, &arena, &[of_len(MAX + 1), of_len(MAX)]);
            let mut batch = b.recv_room(64);
            assert!(b.recv_batch(&mut batch).expect("it can read"));
            let mut lengths = Vec::new();
            while let Some(datagram) = batch.pop() {
                lengths.push(datagram.map(|(_, bytes)| bytes.len()));
            }
            assert_eq!(lengths, [None, Some(MAX)]);
        }
    }

    /// Two receivers' datagrams of several lengths: what leaves together must arrive apart.
    fn mixed(to: [SocketAddr; 2]) -> (Vec<u8>, Vec<Datagram>) {
        let lengths = [1200, 1200, 1200, 900, 1100, 1100, 160, 160, 200, 1];
        let mut datagrams = Vec::new();
        let mut start = 0;
        for to in to {
            for len in lengths {
                let range = start..start + len;
                start += len;
                datagrams.push(Datagram { to, range });
            }
        }
        let arena = (0..start).map(|i| ((i * 7) >> 3) as u8).collect();
        (arena, datagrams)
    }

    #[test]
    fn what_leaves_as_one_message_arrives_as_separate_datagrams() {
        let all = [Segmentation::Auto, Segmentation::Off];
        let pairs = all.map(|sending| all.map(|receiving| (sending, receiving)));
        for (sending, receiving) in pairs.into_iter().flatten() {
            for ip in ["127.0.0.1", "::1"] {
                let ip: IpAddr = ip.parse().expect("an address");
                let mut a = bind(ip, sending);
                let receivers = [bind(ip, receiving), bind(ip, receiving)];
                let (arena, datagrams) = mixed(receivers.each_ref().map(Socket::local_address));
                let sent = send(&mut a, &arena, &datagrams);
                assert_eq!(sent.datagrams as usize, datagrams.len());
                let runs = if sending == Segmentation::Auto { 6 } else { 0 };
                assert_eq!((sent.runs, sent.runs_refused), (runs, 0));
                for receiver in &receivers {
                    let to = receiver.local_address();
                    let expected: Vec<_> = datagrams
                        .iter()
                        .filter(|datagram| datagram.to == to)
                        .map(|datagram| (a.local_address(), arena[datagram.bytes()].to_vec()))
                        .collect();
                    assert_eq!(recv_all(receiver, expected.len()), expected);
                }
            }
        }
    }

    #[test]
    fn a_run_that_the_kernel_refuses_still_arrives() {
        // More datagrams than the kernel cuts a message into.
        let ip = [127, 0, 0, 1].into();
        let mut a = Socket::bind(SocketAddr::new(ip, 0), Segmentation::Auto, 200).expect("free");
        let b = bind(ip, Segmentation::Auto);
        let (arena, datagrams) = batch_of(&[b.local_address(); 200]);
        for round in 0..10 {
            let sent = send(&mut a, &arena, &datagrams);
            assert_eq!((sent.datagrams, sent.refused, sent.blocked), (200, 0, 0));
            assert_eq!(sent.runs_refused, u64::from(round < 8), "round {round}");
            let arrived = recv_all(&b, 200);
            let bytes: Vec<_> = arrived.into_iter().flat_map(|(_, bytes)| bytes).collect();
            assert_eq!(bytes, arena);
        }
        assert!(!a.is_segmenting());
    }

    #[test]
    fn a_turn_has_its_share_and_the_next_one_the_rest() {
        let (mut a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let (arena, datagrams) = batch_of(&[b.local_address(); 40]);
        assert_eq!(send(&mut a, &arena, &datagrams).runs, 3);
        let mut batch = b.recv_room(15);
        let mut shares = Vec::new();
        while b.recv_batch(&mut batch).expect("it can read") {
            let mut share = 0;
            while batch.pop().is_some() {
                share += 1;
            }
            assert_eq!(batch.has_more(), shares.len() < 2, "{shares:?}");
            shares.push(share);
        }
        assert_eq!(shares, [15, 15, 10]);
    }

    #[test]
    fn a_socket_of_both_families_hides_the_mapping() {
        let mut both = socket("::");
        for ip in ["127.0.0.1", "::1"] {
            let mut client = socket(ip);
            let to = SocketAddr::new(client.local_address().ip(), both.local_address().port());
            let (arena, datagrams) = batch_of(&[to]);
            send(&mut client, &arena, &datagrams);
            let (from, _) = recv_all(&both, 1).remove(0);
            assert_eq!(from, client.local_address());
            let (arena, datagrams) = batch_of(&[from]);
            assert_eq!(send(&mut both, &arena, &datagrams).datagrams, 1);
            assert_eq!(recv_all(&client, 1)[0].0, to);
        }
    }
}
