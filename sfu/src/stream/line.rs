//! The two rings of one stream, between whoever holds its socket and the worker.
//!
//! Each carries whole packets behind their lengths, and neither side ever waits for the other: a
//! packet that finds no room is refused and counted by who wanted to send it. Either side ends the
//! stream by dropping its end.
#![expect(
    clippy::disallowed_types,
    reason = "both sides share whether something waits for the worker"
)]

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::frame::{self, HEADER_BYTES};
use crate::net::Wake;

/// Tells the holder of a socket that packets wait for it, or that the worker has ended the stream.
pub type Bell = Box<dyn Fn() + Send>;

/// A packet found no room, or is longer than any may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A stream as the holder of its socket has it. Dropping it ends the stream.
#[derive(Debug)]
pub struct StreamEnd {
    sender: StreamSender,
    receiver: StreamReceiver,
}

/// The half of a [`StreamEnd`] that packets of the peer go into. Dropping it ends the stream.
pub struct StreamSender {
    to_worker: Producer<u8>,
    /// Dropped last, so that the worker finds the ring abandoned when it is woken by it.
    worker: WorkerBell,
}

/// The half of a [`StreamEnd`] that packets for the peer come out of.
pub struct StreamReceiver {
    from_worker: Consumer<u8>,
}

struct WorkerBell {
    has_input: Arc<AtomicBool>,
    wake: Arc<Wake>,
}

/// A stream as its worker has it. Dropping it ends the stream.
pub(crate) struct Stream {
    to_peer: Producer<u8>,
    from_peer: Consumer<u8>,
    /// Where connectivity checks tell the peer that it is seen.
    pub(crate) seen_at: SocketAddr,
    /// Dropped last: the holder finds the rings abandoned when it is woken by it.
    holder: HolderBell,
}

struct HolderBell(Bell);

/// A stream with `queue_bytes` for each direction. `has_input` and `wake` are the worker's.
pub(crate) fn stream(
    seen_at: SocketAddr,
    queue_bytes: usize,
    bell: Bell,
    has_input: &Arc<AtomicBool>,
    wake: &Arc<Wake>,
) -> (StreamEnd, Stream) {
    let (to_worker, from_peer) = RingBuffer::new(queue_bytes);
    let (to_peer, from_worker) = RingBuffer::new(queue_bytes);
    let worker = WorkerBell {
        has_input: Arc::clone(has_input),
        wake: Arc::clone(wake),
    };
    let end = StreamEnd {
        sender: StreamSender { to_worker, worker },
        receiver: StreamReceiver { from_worker },
    };
    let stream = Stream {
        to_peer,
        from_peer,
        seen_at,
        holder: HolderBell(bell),
    };
    (end, stream)
}

impl StreamEnd {
    /// Both halves, for those who read and write at the same time.
    pub fn split(self) -> (StreamSender, StreamReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`StreamSender::send`].
    pub fn send(&mut self, packet: &[u8]) -> Result<(), Full> {
        self.sender.send(packet)
    }

    /// See [`StreamReceiver::receive`].
    pub fn receive(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        self.receiver.receive(out)
    }

    /// See [`StreamReceiver::is_over`].
    pub fn is_over(&self) -> bool {
        self.receiver.is_over()
    }
}

impl StreamSender {
    /// Hands a packet of the peer to the worker.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), Full> {
        push(&mut self.to_worker, packet)?;
        self.worker.ring();
        Ok(())
    }
}

impl StreamReceiver {
    /// Appends the next packet for the peer to `out` and says how long it is.
    pub fn receive(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let start = out.len();
        let len = waiting(&mut self.from_worker)?;
        out.resize(start + len, 0);
        take(&mut self.from_worker, &mut out[start..]);
        Some(len)
    }

    /// Appends the next packet for the peer to `out`, behind its length. False: there is none.
    pub fn receive_framed(&mut self, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend([0; HEADER_BYTES]);
        let len = self.receive(out);
        match len {
            Some(len) => out[start..start + HEADER_BYTES].copy_from_slice(&frame::header(len)),
            None => out.truncate(start),
        }
        len.is_some()
    }

    /// Whether the worker has ended the stream.
    pub fn is_over(&self) -> bool {
        self.from_worker.is_abandoned()
    }
}

impl WorkerBell {
    fn ring(&self) {
        if !self.has_input.swap(true, Ordering::SeqCst) {
            self.wake.ring();
        }
    }
}

impl Drop for WorkerBell {
    fn drop(&mut self) {
        self.ring();
    }
}

impl Stream {
    /// Takes the next packet of the peer into `packet` and says how long it is.
    pub(crate) fn receive(&mut self, packet: &mut [u8]) -> Option<usize> {
        let len = waiting(&mut self.from_peer)?;
        take(&mut self.from_peer, &mut packet[..len]);
        Some(len)
    }

    /// Whether a packet of the peer waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.from_peer.is_empty()
    }

    /// Queues a packet for the peer. Its holder is not told before [`Stream::ring`].
    pub(crate) fn send(&mut self, packet: &[u8]) -> Result<(), Full> {
        push(&mut self.to_peer, packet)
    }

    /// Tells the holder of the socket that packets wait for it.
    pub(crate) fn ring(&self) {
        (self.holder.0)();
    }

    /// Whether the holder has ended the stream and everything of it has been taken.
    pub(crate) fn is_over(&self) -> bool {
        self.from_peer.is_abandoned() && self.from_peer.is_empty()
    }
}

impl Drop for HolderBell {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Writes a packet whole, so that a reader who finds its length finds all of it.
fn push(ring: &mut Producer<u8>, packet: &[u8]) -> Result<(), Full> {
    if packet.len() > super::PACKET_BYTES_MAX {
        return Err(Full);
    }
    let mut chunk = ring
        .write_chunk(HEADER_BYTES + packet.len())
        .map_err(|_| Full)?;
    let (first, second) = chunk.as_mut_slices();
    let header = frame::header(packet.len());
    let (first, second) = lay(&header, first, second);
    lay(packet, first, second);
    chunk.commit_all();
    Ok(())
}

/// Copies `bytes` to where the two parts of a ring begin, and returns what is left of those.
fn lay<'a>(
    bytes: &[u8],
    first: &'a mut [u8],
    second: &'a mut [u8],
) -> (&'a mut [u8], &'a mut [u8]) {
    let fits = bytes.len().min(first.len());
    let (here, first) = first.split_at_mut(fits);
    let (there, second) = second.split_at_mut(bytes.len() - fits);
    here.copy_from_slice(&bytes[..fits]);
    there.copy_from_slice(&bytes[fits..]);
    (first, second)
}

/// Takes the length of the next packet out of the ring.
fn waiting(ring: &mut Consumer<u8>) -> Option<usize> {
    let mut header = [0; HEADER_BYTES];
    let chunk = ring.read_chunk(HEADER_BYTES).ok()?;
    copy(&chunk, &mut header);
    chunk.commit_all();
    Some(usize::from(u16::from_be_bytes(header)))
}

fn take(ring: &mut Consumer<u8>, packet: &mut [u8]) {
    let chunk = ring
        .read_chunk(packet.len())
        .expect("a packet is written together with its length");
    copy(&chunk, packet);
    chunk.commit_all();
}

fn copy(chunk: &rtrb::chunks::ReadChunk<'_, u8>, out: &mut [u8]) {
    let (first, second) = chunk.as_slices();
    out[..first.len()].copy_from_slice(first);
    out[first.len()..].copy_from_slice(second);
}

impl fmt::Debug for StreamSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSender").finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReceiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn ends(queue_bytes: usize) -> (StreamEnd, Stream, Arc<AtomicUsize>) {
        let rung = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&rung);
        let bell = Box::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        let wake = Arc::new(Wake::new().expect("a bell"));
        let seen_at = "192.0.2.1:1".parse().expect("an address");
        let (end, stream) = stream(seen_at, queue_bytes, bell, &Arc::default(), &wake);
        (end, stream, rung)
    }

    #[test]
    fn packets_cross_in_both_directions_around_the_end_of_the_rings() {
        let (mut end, mut stream, _) = ends(100);
        let mut packet = [0; 100];
        for round in 0..200_usize {
            let sent = vec![round as u8; round % 90];
            end.send(&sent).expect("there is room");
            let len = stream.receive(&mut packet).expect("it has come");
            assert_eq!(&packet[..len], sent);
            stream.send(&sent).expect("there is room");
            let mut out = vec![9];
            assert_eq!(end.receive(&mut out), Some(sent.len()));
            assert_eq!(&out[1..], sent);
        }
        assert_eq!(stream.receive(&mut packet), None);
        assert_eq!(end.receive(&mut Vec::new()), None);
        stream.send(b"framed").expect("there is room");
        let (_sender, mut receiver) = end.split();
        let mut out = vec![9];
        assert!(receiver.receive_framed(&mut out));
        assert!(!receiver.receive_framed(&mut out));
        assert_eq!(out, b"\x09\x00\x06framed");
    }

    #[test]
    fn what_finds_no_room_is_refused_whole() {
        let (mut end, mut stream, _) = ends(100);
        assert_eq!(end.send(&[1; 60]), Ok(()));
        assert_eq!(end.send(&[2; 60]), Err(Full));
        assert_eq!(end.send(&[3; 30]), Ok(()));
        let mut packet = [0; 100];
        assert_eq!(stream.receive(&mut packet), Some(60));
        assert_eq!(stream.receive(&mut packet), Some(30));
        assert_eq!(packet[0], 3);
        let too_long = vec![0; super::super::PACKET_BYTES_MAX + 1];
        let (mut end, _stream, _) = ends(1 << 16);
        assert_eq!(end.send(&too_long), Err(Full));
    }

    #[test]
    fn the_worker_is_woken_once_until_it_has_looked() {
        let (mut end, stream, rung) = ends(100);
        let has_input = Arc::clone(&end.sender.worker.has_input);
        assert!(!has_input.load(Ordering::SeqCst));
        end.send(b"one").expect("there is room");
        assert!(has_input.swap(false, Ordering::SeqCst));
        drop(end);
        assert!(has_input.load(Ordering::SeqCst), "the end is news");
        assert!(!stream.is_over(), "a packet still waits");
        assert_eq!(rung.load(Ordering::Relaxed), 0);
        drop(stream);
        assert_eq!(rung.load(Ordering::Relaxed), 1);
    }
}
