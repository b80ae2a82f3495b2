//! The bare sender: writes, seals and sends packets to many destinations, and nothing else.
//!
//! What a media server's last steps must cost at least: copy the payload, write the header, seal,
//! hand a batch to the kernel. Receivers drain in a second thread that is not counted; the sender
//! waits for them after each pass, outside the counted time.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Sample;
use super::cipher::{Cipher, HEADER, Profile, write_header};
use crate::sys::{self, Message, Poll, Receiver, Sender};

/// Enough for a burst to every socket that the reader has not yet come to.
const SOCKET_BUFFER: usize = 1 << 20;
/// How long the sender waits for packets that may have been lost.
const DRAIN_PATIENCE: Duration = Duration::from_millis(50);

/// One case of the sending floor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendCase {
    /// How many receivers.
    pub(crate) destinations: usize,
    /// Packets for one receiver at a time.
    pub(crate) run: usize,
    /// Whether a run leaves as one GSO message.
    pub(crate) gso: bool,
    /// RTP packet before protection.
    pub(crate) packet_size: usize,
    /// Messages in one `sendmmsg`.
    pub(crate) batch: usize,
    /// Protection.
    pub(crate) profile: Profile,
}

/// Where the packets go.
pub(crate) struct Destinations {
    addresses: Vec<SocketAddr>,
    drained: Option<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Destinations {
    /// Loopback sockets that a second thread reads.
    pub(crate) fn drained(count: usize) -> Result<Self> {
        let drained = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let sockets = (0..count)
            .map(|_| bind_receiver())
            .collect::<Result<Vec<_>>>()?;
        let addresses = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<std::io::Result<_>>()?;
        let reader = thread::Builder::new().name("drain".into()).spawn({
            let (drained, stop) = (drained.clone(), stop.clone());
            move || drain(&sockets, &drained, &stop).expect("loopback sockets can be read")
        })?;
        Ok(Self {
            addresses,
            drained: Some(drained),
            stop,
            reader: Some(reader),
        })
    }

    /// Addresses behind a device that nobody answers for, as an `ifb` that drops everything.
    pub(crate) fn sink(ip: IpAddr, count: usize) -> Self {
        let port = |i: usize| 20_000 + (i % 40_000) as u16;
        let addresses = (0..count).map(|i| SocketAddr::new(ip, port(i))).collect();
        Self {
            addresses,
            drained: None,
            stop: Arc::default(),
            reader: None,
        }
    }

    /// Waits until the readers have seen `expected` packets; gives up on lost ones.
    fn wait(&self, expected: u64) {
        let Some(drained) = &self.drained else { return };
        let patience = Instant::now() + DRAIN_PATIENCE;
        while drained.load(Ordering::Relaxed) < expected && Instant::now() < patience {
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn seen(&self) -> Option<u64> {
        self.drained.as_ref().map(|d| d.load(Ordering::Relaxed))
    }
}

impl Drop for Destinations {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
    }
}

/// A loopback socket as a receiver of media has it: large buffer, joined trains.
pub(crate) fn bind_receiver() -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("binding a loopback socket")?;
    sys::join_received_trains(socket.as_fd()).context("UDP_GRO")?;
    let options = socket2::SockRef::from(&socket);
    options
        .set_recv_buffer_size(SOCKET_BUFFER)
        .context("SO_RCVBUF")?;
    Ok(socket)
}

fn drain(sockets: &[UdpSocket], drained: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    let mut poll = Poll::new(64)?;
    for (token, socket) in sockets.iter().enumerate() {
        poll.add(socket.as_fd(), token as u64)?;
    }
    let mut receiver = Receiver::new(4, 65_535);
    while !stop.load(Ordering::Relaxed) {
        for ready in 0..poll.wait(Some(Duration::from_millis(20)))? {
            let socket = &sockets[poll.token(ready) as usize];
            for i in 0..receiver.recv(socket.as_fd())? {
                let Some(message) = receiver.message(i) else {
                    continue;
                };
                let packets = message.bytes.len().div_ceil(message.segment.max(1));
                drained.fetch_add(packets as u64, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// The sender of one case.
pub(crate) struct BareSender {
    case: SendCase,
    socket: UdpSocket,
    ciphers: Vec<Cipher>,
    payload: Vec<u8>,
    arena: Vec<u8>,
    messages: Vec<Message>,
    sender: Sender,
    counter: u32,
}

impl BareSender {
    /// Keys once, binds once.
    pub(crate) fn new(case: SendCase, sink: Option<IpAddr>) -> Result<Self> {
        let any = sink.map_or(
            "127.0.0.1",
            |ip| if ip.is_ipv4() { "0.0.0.0" } else { "::" },
        );
        let socket = UdpSocket::bind((any, 0)).context("binding the sender")?;
        socket2::SockRef::from(&socket)
            .set_send_buffer_size(4 << 20)
            .context("SO_SNDBUF")?;
        let wire = case.packet_size + case.profile.overhead();
        Ok(Self {
            case,
            socket,
            ciphers: (0..case.destinations as u32)
                .map(|n| Cipher::new(case.profile, n))
                .collect(),
            payload: vec![0x11; case.packet_size - HEADER],
            arena: vec![0; wire * case.run * case.batch],
            messages: Vec::with_capacity(case.batch * case.run),
            sender: Sender::new(case.batch),
            counter: 0,
        })
    }

    /// Sends passes over all destinations for `length`, counting only the sender's own CPU time.
    pub(crate) fn round(&mut self, to: &Destinations, length: Duration) -> Result<Sample> {
        let (start, before) = (Instant::now(), to.seen());
        let (mut cpu, mut sent) = (Duration::ZERO, 0u64);
        while start.elapsed() < length {
            let earlier = sys::thread_cpu();
            sent += self.pass(&to.addresses)?;
            cpu += sys::thread_cpu() - earlier;
            to.wait(before.unwrap_or(0) + sent);
        }
        let seen = to.seen().zip(before).map_or(sent, |(now, then)| now - then);
        Ok(Sample {
            cpu,
            packets: sent,
            lost: sent.saturating_sub(seen),
        })
    }

    /// One run of packets to each destination.
    fn pass(&mut self, addresses: &[SocketAddr]) -> Result<u64> {
        self.counter = self.counter.wrapping_add(self.case.run as u32);
        for first in (0..addresses.len()).step_by(self.case.batch) {
            let last = (first + self.case.batch).min(addresses.len());
            self.fill(first, &addresses[first..last]);
            let mut done = 0;
            while done < self.messages.len() {
                let rest = &self.messages[done..];
                done += self.sender.send(self.socket.as_fd(), &self.arena, rest)?;
            }
        }
        Ok((addresses.len() * self.case.run) as u64)
    }

    fn fill(&mut self, first: usize, addresses: &[SocketAddr]) {
        let wire = self.case.packet_size + self.case.profile.overhead();
        self.messages.clear();
        for (i, &address) in addresses.iter().enumerate() {
            for k in 0..self.case.run {
                let at = (i * self.case.run + k) * wire;
                let packet = &mut self.arena[at..at + wire];
                packet[HEADER..self.case.packet_size].copy_from_slice(&self.payload);
                write_header(packet, 96, 1, self.counter.wrapping_add(k as u32));
                self.ciphers[first + i].seal(packet);
            }
            let start = i * self.case.run * wire;
            let end = start + self.case.run * wire;
            let to = Some(address);
            if self.case.gso {
                self.messages.push(Message {
                    to,
                    range: start..end,
                    segment: wire as u16,
                });
            } else {
                let packets = (start..end).step_by(wire).map(|at| at..at + wire);
                self.messages.extend(packets.map(|range| Message {
                    to,
                    range,
                    segment: 0,
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_of_a_pass_arrives_with_and_without_gso() {
        for gso in [false, true] {
            let case = SendCase {
                destinations: 5,
                run: 3,
                gso,
                packet_size: 300,
                batch: 2,
                profile: Profile::Aes256Gcm,
            };
            let to = Destinations::drained(case.destinations).expect("loopback");
            let mut sender = BareSender::new(case, None).expect("loopback");
            let sample = sender.round(&to, Duration::from_millis(5)).expect("sent");
            assert!(sample.packets >= 15 && sample.packets.is_multiple_of(15));
            assert_eq!(sample.lost, 0);
        }
    }
}
