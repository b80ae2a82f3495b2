//! The streams of a worker: packets of peers who come over connections that somebody else holds.
//!
//! A worker without streams pays one look at a flag per turn. Packets of all streams go the same way
//! as datagrams from there on; what the shard sends to a stream is taken out of its batch here, before
//! the rest goes to the socket. A stream whose queue is full loses packets, as a socket does.
#![expect(
    clippy::disallowed_types,
    reason = "the holders of sockets share whether something waits for the worker"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use crate::shard::{Batch, Datagram, StableHash};
use crate::stream::{self, PACKET_BYTES_MAX, Stream};

/// Packets of one stream before the next has its turn.
const PACKETS_PER_STREAM_MAX: usize = 16;
/// Packets of all streams in one turn: as many as a turn takes from the socket, four times.
const PACKETS_PER_TURN_MAX: usize = 256;

/// What comes over a stream.
pub(crate) enum Arrival<'a> {
    /// A packet.
    Packet(&'a mut [u8]),
    /// The end of the stream.
    End,
}

/// The streams of one worker.
pub(crate) struct Streams {
    opened: Receiver<Stream>,
    has_input: Arc<AtomicBool>,
    streams_max: usize,
    open: Vec<Open>,
    places: HashMap<SocketAddr, usize, StableHash>,
    /// Whose turn it is.
    next: usize,
    last_id: u32,
    packet: Box<[u8; PACKET_BYTES_MAX]>,
    /// What is left of a batch for the socket.
    rest: Vec<Datagram>,
    /// Places of streams that got something in this batch.
    fed: Vec<usize>,
    pub(crate) counted: Counted,
}

struct Open {
    address: SocketAddr,
    stream: Stream,
    is_fed: bool,
}

/// What only the streams can count.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) packets_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) packets_dropped: u64,
}

impl Streams {
    /// No streams yet; they come over `opened`, and `has_input` says when to look.
    pub(crate) fn new(
        opened: Receiver<Stream>,
        has_input: Arc<AtomicBool>,
        streams_max: usize,
    ) -> Self {
        Self {
            opened,
            has_input,
            streams_max,
            open: Vec::new(),
            places: HashMap::default(),
            next: 0,
            last_id: 0,
            packet: Box::new([0; PACKET_BYTES_MAX]),
            rest: Vec::new(),
            fed: Vec::new(),
            counted: Counted::default(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Hands over what has come. Returns whether there is more.
    pub(crate) fn receive(&mut self, take: impl FnMut(SocketAddr, Arrival<'_>)) -> bool {
        // A load first: a swap would take the line from the holders of sockets in every turn.
        if !self.has_input.load(Ordering::Relaxed) {
            return false;
        }
        self.has_input.swap(false, Ordering::SeqCst);
        self.admit();
        let has_more = self.take_turns(take);
        if has_more {
            self.has_input.store(true, Ordering::SeqCst);
        }
        has_more
    }

    /// Takes in the streams that were opened. One too many is dropped, and so ended.
    fn admit(&mut self) {
        while let Ok(stream) = self.opened.try_recv() {
            if self.open.len() >= self.streams_max {
                continue;
            }
            self.last_id = self.last_id.wrapping_add(1).max(1);
            let id = NonZeroU32::new(self.last_id).expect("at least one");
            let address = stream::address(id, stream.seen_at);
            self.places.insert(address, self.open.len());
            self.open.push(Open {
                address,
                stream,
                is_fed: false,
            });
        }
    }

    fn take_turns(&mut self, mut take: impl FnMut(SocketAddr, Arrival<'_>)) -> bool {
        let mut left = PACKETS_PER_TURN_MAX;
        let mut is_some_waiting = false;
        for _ in 0..self.open.len() {
            if left == 0 {
                return true;
            }
            if self.next >= self.open.len() {
                self.next = 0;
            }
            let open = &mut self.open[self.next];
            for _ in 0..PACKETS_PER_STREAM_MAX.min(left) {
                let Some(len) = open.stream.receive(&mut self.packet[..]) else {
                    break;
                };
                left -= 1;
                self.counted.packets_in += 1;
                take(open.address, Arrival::Packet(&mut self.packet[..len]));
            }
            is_some_waiting |= open.stream.is_waiting();
            if open.stream.is_over() {
                take(open.address, Arrival::End);
                self.forget(self.next);
            } else {
                self.next += 1;
            }
        }
        is_some_waiting
    }

    fn forget(&mut self, place: usize) {
        let gone = self.open.swap_remove(place);
        self.places.remove(&gone.address);
        if let Some(moved) = self.open.get(place) {
            self.places.insert(moved.address, place);
        }
    }

    /// Takes what is for streams out of a batch and returns the rest.
    pub(crate) fn send<'a>(&'a mut self, batch: Batch<'a>) -> Batch<'a> {
        let is_stream = |datagram: &Datagram| stream::is_stream(datagram.to);
        if !batch.datagrams.iter().any(is_stream) {
            return batch;
        }
        self.rest.clear();
        for datagram in batch.datagrams {
            if is_stream(datagram) {
                self.queue(datagram.to, &batch.arena[datagram.bytes()]);
            } else {
                self.rest.push(datagram.clone());
            }
        }
        // Once for all that a stream has got.
        for place in self.fed.drain(..) {
            let open = &mut self.open[place];
            open.is_fed = false;
            open.stream.ring();
        }
        Batch {
            arena: batch.arena,
            datagrams: &self.rest,
        }
    }

    fn queue(&mut self, to: SocketAddr, packet: &[u8]) {
        let place = self.places.get(&to).copied();
        let sent = place.is_some_and(|place| {
            let open = &mut self.open[place];
            let sent = open.stream.send(packet);
            if !std::mem::replace(&mut open.is_fed, true) {
                self.fed.push(place);
            }
            sent.is_ok()
        });
        self.counted.packets_out += u64::from(sent);
        self.counted.packets_dropped += u64::from(!sent);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::net::Wake;
    use crate::stream::{StreamEnd, stream};

    struct Bench {
        streams: Streams,
        open: Box<dyn Fn(u8) -> StreamEnd>,
    }

    fn bench(streams_max: usize) -> Bench {
        let (open, opened) = sync_channel(100);
        let has_input = Arc::<AtomicBool>::default();
        let wake = Arc::new(Wake::new().expect("a bell"));
        let streams = Streams::new(opened, Arc::clone(&has_input), streams_max);
        let open = Box::new(move |last: u8| {
            let seen_at = SocketAddr::from(([192, 0, 2, last], 1_000));
            let (end, stream) = stream(seen_at, 60_000, Box::new(|| {}), &has_input, &wake);
            open.send(stream).expect("there is room");
            end
        });
        Bench { streams, open }
    }

    /// From where, and the packet; none at a stream's end.
    type Taken = Vec<(SocketAddr, Option<Vec<u8>>)>;

    fn received(streams: &mut Streams) -> (Taken, bool) {
        let mut all = Vec::new();
        let has_more = streams.receive(|from, arrival| {
            all.push(match arrival {
                Arrival::Packet(packet) => (from, Some(packet.to_vec())),
                Arrival::End => (from, None),
            });
        });
        (all, has_more)
    }

    fn batch(streams: &mut Streams, to: &[SocketAddr]) -> Vec<SocketAddr> {
        let one = |(n, to): (u32, &SocketAddr)| Datagram {
            to: *to,
            range: n..n + 1,
        };
        let datagrams: Vec<_> = (0..).zip(to).map(one).collect();
        let batch = Batch {
            arena: b"abcdefgh",
            datagrams: &datagrams,
        };
        let rest = streams.send(batch);
        rest.datagrams.iter().map(|datagram| datagram.to).collect()
    }

    #[test]
    fn a_stream_is_a_source_and_a_receiver_until_its_holder_ends_it() {
        let Bench { mut streams, open } = bench(10);
        assert_eq!(received(&mut streams), (vec![], false));
        let (mut one, mut other) = (open(1), open(2));
        one.send(b"hello").expect("there is room");
        other.send(b"there").expect("there is room");
        let (got, has_more) = received(&mut streams);
        assert!(!has_more);
        let [(first, Some(hello)), (second, Some(there))] = &got[..] else {
            panic!("{got:?}");
        };
        assert_eq!((&hello[..], &there[..]), (&b"hello"[..], &b"there"[..]));
        let seen = |address: SocketAddr| stream::seen_at(address).to_string();
        assert_eq!(seen(*first), "192.0.2.1:1000");
        assert_eq!(seen(*second), "192.0.2.2:1000");

        let udp: SocketAddr = "192.0.2.1:1000".parse().expect("an address");
        let rest = batch(&mut streams, &[udp, *first, udp, *second, *first]);
        assert_eq!(rest, [udp, udp]);
        let mut out = Vec::new();
        while one.receive(&mut out).is_some() {}
        assert_eq!(out, b"be");

        drop(one);
        assert_eq!(received(&mut streams), (vec![(*first, None)], false));
        assert_eq!(batch(&mut streams, &[*first, *second]), []);
        assert_eq!(streams.counted.packets_dropped, 1, "it is gone");
        other.receive(&mut out).expect("it is still there");
        assert_eq!(other.receive(&mut out), Some(1), "and has its new place");
    }

    #[test]
    fn no_stream_keeps_another_from_its_turn() {
        let Bench { mut streams, open } = bench(10);
        let (mut loud, mut quiet) = (open(1), open(2));
        for _ in 0..500 {
            loud.send(b"again").expect("there is room");
        }
        quiet.send(b"once").expect("there is room");
        let (got, has_more) = received(&mut streams);
        assert!(has_more);
        assert_eq!(got.len(), PACKETS_PER_STREAM_MAX + 1);
        assert_eq!(got[PACKETS_PER_STREAM_MAX].1.as_deref(), Some(&b"once"[..]));
        let mut packets = got.len();
        while let (more, true) = received(&mut streams) {
            packets += more.len();
        }
        assert!(packets > 450, "{packets}");
    }

    #[test]
    fn a_turn_is_bounded_and_goes_on_where_it_stopped() {
        let Bench { mut streams, open } = bench(100);
        let mut ends: Vec<StreamEnd> = (0..40).map(|last| (*open)(last)).collect();
        for end in &mut ends {
            for _ in 0..PACKETS_PER_STREAM_MAX {
                end.send(b"one").expect("there is room");
            }
        }
        let (first, has_more) = received(&mut streams);
        assert_eq!((first.len(), has_more), (PACKETS_PER_TURN_MAX, true));
        let (second, _) = received(&mut streams);
        assert!(first.iter().all(|(from, _)| *from != second[0].0));
    }

    #[test]
    fn one_stream_too_many_is_ended() {
        let Bench { mut streams, open } = bench(1);
        let (mut one, other) = (open(1), open(2));
        one.send(b"here").expect("there is room");
        received(&mut streams);
        assert!(!one.is_over());
        assert!(other.is_over());
        assert_eq!(streams.len(), 1);
    }
}
