//! The bare relay: a process that forwards packets from N sources to their destinations.
//!
//! It does what no media server can avoid (wait, receive a batch, open, copy, write a header,
//! seal, send) and nothing that makes a media server: no handshake, no feedback, no selection,
//! no resending. It is a process of its own so that it can be measured from outside exactly as a
//! server is. It waits with epoll, because a server also has more to watch than one socket.

use std::io::{BufRead, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::cipher::{Cipher, HEADER, Profile, write_header};
use crate::sys::{self, Message, Poll, Receiver, Sender};

/// What the relay is told on its standard input, one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Protection on both sides.
    pub(crate) profile: Profile,
    /// Whether runs of equal length to one destination leave as one GSO message.
    pub(crate) gso: bool,
    /// Messages in one `recvmmsg` and one `sendmmsg`.
    pub(crate) batch: usize,
    /// Addresses of all participants; their index is the number of their key.
    pub(crate) participants: Vec<SocketAddr>,
    /// For each participant, who gets what it sends.
    pub(crate) routes: Vec<Vec<u32>>,
}

/// Runs until it is killed: a plan in, the relay's address out, then packets.
pub(crate) fn run() -> Result<()> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("reading the plan")?;
    let plan: Plan = serde_json::from_str(&line).context("understanding the plan")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{}", socket.local_addr()?)?;
    std::io::stdout().flush()?;
    Relay::new(plan, socket)?.forward_forever()
}

/// One received packet, opened, in the arena of the turn.
struct Packet {
    source: usize,
    payload_type: u8,
    start: usize,
    len: usize,
}

struct Relay {
    plan: Plan,
    socket: UdpSocket,
    by_port: Vec<u32>,
    inbound: Vec<Cipher>,
    outbound: Vec<Cipher>,
    counters: Vec<u32>,
    received: Vec<u8>,
    packets: Vec<Packet>,
    wanted: Vec<Vec<u32>>,
    dirty: Vec<u32>,
    flush: Flush,
}

/// The batch on its way out.
struct Flush {
    arena: Vec<u8>,
    messages: Vec<Message>,
    sender: Sender,
    gso: bool,
    batch: usize,
}

const UNKNOWN: u32 = u32::MAX;
/// The kernel's own bound on segments of one message.
const SEGMENTS_MAX: usize = 64;
/// The longest UDP payload over IPv4.
const MESSAGE_MAX: usize = 65_507;

impl Relay {
    fn new(plan: Plan, socket: UdpSocket) -> Result<Self> {
        ensure!(
            plan.routes.len() == plan.participants.len(),
            "one route per participant"
        );
        let options = socket2::SockRef::from(&socket);
        options.set_recv_buffer_size(4 << 20)?;
        options.set_send_buffer_size(4 << 20)?;
        sys::join_received_trains(socket.as_fd())?;
        let mut by_port = vec![UNKNOWN; 65_536];
        for (i, address) in plan.participants.iter().enumerate() {
            by_port[usize::from(address.port())] = i as u32;
        }
        let count = plan.participants.len() as u32;
        let key = |n| Cipher::new(plan.profile, n);
        Ok(Self {
            socket,
            by_port,
            inbound: (0..count).map(key).collect(),
            outbound: (0..count)
                .map(|n| Cipher::new(plan.profile, n | OUTBOUND))
                .collect(),
            counters: vec![0; count as usize],
            received: Vec::new(),
            packets: Vec::new(),
            wanted: vec![Vec::new(); count as usize],
            dirty: Vec::new(),
            flush: Flush {
                arena: Vec::new(),
                messages: Vec::new(),
                sender: Sender::new(plan.batch),
                gso: plan.gso,
                batch: plan.batch,
            },
            plan,
        })
    }

    fn forward_forever(mut self) -> Result<()> {
        let mut poll = Poll::new(4)?;
        poll.add(self.socket.as_fd(), 0)?;
        let mut receiver = Receiver::new(self.plan.batch, 65_535);
        loop {
            poll.wait(None)?;
            loop {
                let count = receiver.recv(self.socket.as_fd())?;
                (0..count).for_each(|i| self.take(&mut receiver, i));
                self.flush_all()?;
                if count < receiver.batch() {
                    break;
                }
            }
        }
    }

    fn take(&mut self, receiver: &mut Receiver, index: usize) {
        let Some(message) = receiver.message(index) else {
            return;
        };
        let source = self.by_port[usize::from(message.from.port())];
        if source == UNKNOWN {
            return;
        }
        for datagram in message.bytes.chunks_mut(message.segment.max(1)) {
            let Some(len) = self.inbound[source as usize].open(datagram) else {
                continue;
            };
            if len < HEADER {
                continue;
            }
            let (packet, start) = (self.packets.len() as u32, self.received.len());
            self.received.extend_from_slice(&datagram[..len]);
            let (source, payload_type) = (source as usize, datagram[1]);
            self.packets.push(Packet {
                source,
                payload_type,
                start,
                len,
            });
            for &to in &self.plan.routes[source] {
                if self.wanted[to as usize].is_empty() {
                    self.dirty.push(to);
                }
                self.wanted[to as usize].push(packet);
            }
        }
    }

    /// Destination by destination, so that a frame leaves as one run.
    fn flush_all(&mut self) -> Result<()> {
        for to in self.dirty.drain(..) {
            let (address, cipher) = (
                self.plan.participants[to as usize],
                &self.outbound[to as usize],
            );
            for &packet in &self.wanted[to as usize] {
                let packet = &self.packets[packet as usize];
                let plain = &self.received[packet.start..packet.start + packet.len];
                let counter = &mut self.counters[to as usize];
                *counter = counter.wrapping_add(1);
                let wire = packet.len + self.plan.profile.overhead();
                let range = self.flush.room(wire);
                let out = &mut self.flush.arena[range.clone()];
                out[HEADER..packet.len].copy_from_slice(&plain[HEADER..]);
                write_header(out, packet.payload_type, packet.source as u32, *counter);
                cipher.seal(out);
                self.flush.push(address, range.start, wire);
            }
            self.wanted[to as usize].clear();
            self.flush.send_if_full(&self.socket)?;
        }
        self.flush.send(&self.socket)?;
        self.packets.clear();
        self.received.clear();
        Ok(())
    }
}

/// Keys of the relay's sending direction are numbered apart from those of its receiving one.
pub(crate) const OUTBOUND: u32 = 1 << 31;

impl Flush {
    fn room(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.arena.len();
        self.arena.resize(start + len, 0);
        start..start + len
    }

    /// Adds a datagram, to the last message where it continues a run of equal lengths.
    fn push(&mut self, to: SocketAddr, start: usize, len: usize) {
        if self.gso
            && let Some(last) = self.messages.last_mut()
            && last.to == Some(to)
        {
            let segment = usize::from(last.segment);
            let whole = last.range.len().is_multiple_of(segment);
            let bytes = last.range.len() + len;
            if whole && len <= segment && bytes <= SEGMENTS_MAX.min(MESSAGE_MAX / segment) * segment
            {
                last.range.end = start + len;
                return;
            }
        }
        let segment = if self.gso { len as u16 } else { 0 };
        self.messages.push(Message {
            to: Some(to),
            range: start..start + len,
            segment,
        });
    }

    fn send_if_full(&mut self, socket: &UdpSocket) -> Result<()> {
        if self.messages.len() >= self.batch {
            self.send(socket)
        } else {
            Ok(())
        }
    }

    fn send(&mut self, socket: &UdpSocket) -> Result<()> {
        let mut done = 0;
        while done < self.messages.len() {
            done += self
                .sender
                .send(socket.as_fd(), &self.arena, &self.messages[done..])?;
        }
        self.messages.clear();
        self.arena.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flush(gso: bool) -> Flush {
        let sender = Sender::new(1);
        Flush {
            arena: Vec::new(),
            messages: Vec::new(),
            sender,
            gso,
            batch: 8,
        }
    }

    fn lengths(flush: &Flush) -> Vec<usize> {
        flush.messages.iter().map(|m| m.range.len()).collect()
    }

    #[test]
    fn a_run_ends_after_a_shorter_packet_or_with_another_receiver() {
        let (a, b) = (
            "127.0.0.1:1".parse().expect("a"),
            "127.0.0.1:2".parse().expect("b"),
        );
        let mut flush = flush(true);
        let mut at = 0;
        for (to, len) in [
            (a, 100),
            (a, 100),
            (a, 60),
            (a, 60),
            (a, 70),
            (b, 70),
            (b, 70),
        ] {
            flush.push(to, at, len);
            at += len;
        }
        assert_eq!(lengths(&flush), [260, 60, 70, 140]);
    }

    #[test]
    fn without_gso_every_packet_is_a_message() {
        let a = "127.0.0.1:1".parse().expect("a");
        let mut flush = flush(false);
        (0..3).for_each(|i| flush.push(a, i * 100, 100));
        assert_eq!(lengths(&flush), [100, 100, 100]);
        assert!(flush.messages.iter().all(|m| m.segment == 0));
    }

    #[test]
    fn a_run_stays_below_the_kernels_bound() {
        let a = "127.0.0.1:1".parse().expect("a");
        let mut flush = flush(true);
        (0..100).for_each(|i| flush.push(a, i * 10, 10));
        assert_eq!(lengths(&flush), [640, 360]);
        flush.messages.clear();
        (0..60).for_each(|i| flush.push(a, i * 1216, 1216));
        assert_eq!(lengths(&flush), [53 * 1216, 7 * 1216]);
    }
}
