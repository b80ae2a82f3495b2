//! The floor of a whole scenario: participants' packets through the bare relay to all who watch.
//!
//! Sends what the scenario's publishers send, at their pace, and drains and opens what comes
//! back; the relay's CPU time is read from outside. The figure is the least that any server on
//! this machine can need for this scenario over loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cipher::{Cipher, HEADER, Profile, write_header};
use super::relay::{OUTBOUND, Plan};
use super::send::bind_receiver;
use crate::procfs::ProcessSample;
use crate::scenario::{AUDIO_PERIOD_MS, Scenario};
use crate::stat::{Histogram, Percentiles};
use crate::sys::{Message, Poll, Receiver, Sender};
use crate::traffic::{Dice, Schedule};

/// What one measured window brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// CPU time of the relay.
    pub(crate) cpu: Duration,
    /// Share of it spent in user space.
    pub(crate) user_share: f64,
    /// Packets that reached their receivers.
    pub(crate) delivered: u64,
    /// Packets that did not.
    pub(crate) lost: u64,
    /// From the publisher's call to the receiver's plaintext.
    pub(crate) delay: Percentiles,
}

/// A relay process, killed when dropped.
struct RelayProcess(Child);

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may have died by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the relay and measures `rounds` windows of `length` after a short warm-up.
pub(crate) fn measure(
    scenario: &Scenario,
    profile: Profile,
    gso: bool,
    rounds: usize,
    length: Duration,
) -> Result<Vec<Window>> {
    let members = scenario.members();
    let total = (scenario.rooms * members) as usize;
    let sockets = (0..total)
        .map(|_| bind_receiver())
        .collect::<Result<Vec<_>>>()?;
    let participants = sockets
        .iter()
        .map(UdpSocket::local_addr)
        .collect::<Result<_, _>>()?;
    let routes: Vec<Vec<u32>> = (0..total as u32)
        .map(|who| routes_of(who, members, scenario.publishers))
        .collect();
    let plan = Plan {
        profile,
        gso,
        batch: 64,
        participants,
        routes,
    };
    let (process, address) = start_relay(&plan)?;
    for socket in &sockets {
        socket.connect(address)?;
    }
    let link = Link {
        sockets: &sockets,
        plan: &plan,
        epoch: Instant::now(),
        stop: AtomicBool::new(false),
        expected: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        delays: Mutex::default(),
    };
    thread::scope(|scope| {
        let publisher = scope.spawn(|| link.publish(scenario));
        let drain = scope.spawn(|| link.drain());
        let windows = link.windows(process.0.id(), rounds, length);
        link.stop.store(true, Ordering::Relaxed);
        publisher.join().expect("the publisher does not panic")?;
        drain.join().expect("the reader does not panic")?;
        windows
    })
}

/// Everyone in the room of `who` but itself, if it is a publisher.
fn routes_of(who: u32, members: u32, publishers: u32) -> Vec<u32> {
    let first = who / members * members;
    if who - first >= publishers {
        return Vec::new();
    }
    (first..first + members)
        .filter(|&other| other != who)
        .collect()
}

fn start_relay(plan: &Plan) -> Result<(RelayProcess, SocketAddr)> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(program)
        .args(["floor", "--relay-process"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the relay process")?;
    let mut stdin = child.stdin.take().context("relay's input")?;
    let stdout = child.stdout.take().context("relay's output")?;
    let process = RelayProcess(child);
    writeln!(stdin, "{}", serde_json::to_string(plan)?)?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((process, line.trim().parse().context("the relay's address")?))
}

/// What the publishing and the draining thread share.
struct Link<'a> {
    sockets: &'a [UdpSocket],
    plan: &'a Plan,
    epoch: Instant,
    stop: AtomicBool,
    expected: AtomicU64,
    delivered: AtomicU64,
    delays: Mutex<Histogram>,
}

impl Link<'_> {
    fn publish(&self, scenario: &Scenario) -> Result<()> {
        let mut tracks = Vec::new();
        let mut schedule = Schedule::default();
        let mut dice = Dice::new(1);
        for who in (0..self.sockets.len()).filter(|&who| !self.plan.routes[who].is_empty()) {
            if scenario.audio_packet_size > 0 {
                let period = Duration::from_millis(AUDIO_PERIOD_MS);
                schedule.add(tracks.len() as u32, dice.within(period), period);
                tracks.push((who, 111, 1, scenario.audio_packet_size));
            }
            if let Some(video) = scenario.video {
                let period = Duration::from_secs(1) / video.fps;
                schedule.add(tracks.len() as u32, dice.within(period), period);
                tracks.push((who, 96, video.packets as usize, video.packet_size));
            }
        }
        let (mut sender, mut arena, mut messages) = (Sender::new(64), Vec::new(), Vec::new());
        let mut counters = vec![0u32; self.sockets.len()];
        let ciphers: Vec<Cipher> = (0..counters.len() as u32)
            .map(|n| Cipher::new(self.plan.profile, n))
            .collect();
        while !self.stop.load(Ordering::Relaxed) {
            let now = self.epoch.elapsed();
            let Some((track, _)) = schedule.pop(now) else {
                let due = schedule.next().unwrap_or(now + Duration::from_millis(1));
                thread::sleep(due.saturating_sub(now));
                continue;
            };
            let (who, payload_type, packets, size) = tracks[track as usize];
            let wire = size + self.plan.profile.overhead();
            arena.resize(wire * packets, 0);
            messages.clear();
            for (i, packet) in arena.chunks_mut(wire).enumerate() {
                counters[who] += 1;
                write_header(packet, payload_type, who as u32, counters[who]);
                let sent = self.epoch.elapsed().as_nanos() as u64;
                packet[HEADER..HEADER + 8].copy_from_slice(&sent.to_be_bytes());
                ciphers[who].seal(packet);
                let range = i * wire..(i + 1) * wire;
                messages.push(Message {
                    to: None,
                    range,
                    segment: 0,
                });
            }
            sender.send(self.sockets[who].as_fd(), &arena, &messages)?;
            let copies = packets * self.plan.routes[who].len();
            self.expected.fetch_add(copies as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn drain(&self) -> Result<()> {
        let mut poll = Poll::new(64)?;
        for (token, socket) in self.sockets.iter().enumerate() {
            poll.add(socket.as_fd(), token as u64)?;
        }
        let count = self.sockets.len() as u32;
        let ciphers: Vec<Cipher> = (0..count)
            .map(|n| Cipher::new(self.plan.profile, n | OUTBOUND))
            .collect();
        let mut receiver = Receiver::new(4, 65_535);
        while !self.stop.load(Ordering::Relaxed) {
            for ready in 0..poll.wait(Some(Duration::from_millis(20)))? {
                let who = poll.token(ready) as usize;
                for i in 0..receiver.recv(self.sockets[who].as_fd())? {
                    let Some(message) = receiver.message(i) else {
                        continue;
                    };
                    let now = self.epoch.elapsed().as_nanos() as u64;
                    let mut delays = self.delays.lock().expect("no holder panics");
                    for packet in message.bytes.chunks_mut(message.segment.max(1)) {
                        if ciphers[who].open(packet).is_none() {
                            continue;
                        }
                        let sent = packet[HEADER..HEADER + 8]
                            .try_into()
                            .map(u64::from_be_bytes);
                        delays.record(now.saturating_sub(sent.unwrap_or(now)) / 1_000);
                        self.delivered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(())
    }

    fn windows(&self, pid: u32, rounds: usize, length: Duration) -> Result<Vec<Window>> {
        thread::sleep(Duration::from_millis(500)); // warm-up: caches, socket buffers, clocks
        let look = || -> Result<_> {
            let process = ProcessSample::take(pid).context("the relay has ended")?;
            let delivered = self.delivered.load(Ordering::Relaxed);
            Ok((process, delivered, self.expected.load(Ordering::Relaxed)))
        };
        let mut windows = Vec::new();
        let mut before = look()?;
        for _ in 0..rounds {
            *self.delays.lock().expect("no holder panics") = Histogram::default();
            thread::sleep(length);
            let after = look()?;
            let delivered = after.1 - before.1;
            windows.push(Window {
                cpu: after.0.cpu.saturating_sub(before.0.cpu),
                user_share: after.0.user_share_since(&before.0),
                delivered,
                // Some packets are always on their way at a window's edge.
                lost: (after.2 - before.2).saturating_sub(delivered),
                delay: self.delays.lock().expect("no holder panics").summary(),
            });
            before = after;
        }
        Ok(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_reach_their_own_room_but_not_themselves() {
        assert_eq!(routes_of(0, 3, 1), [1, 2]);
        assert_eq!(routes_of(1, 3, 1), [0; 0]);
        assert_eq!(routes_of(3, 3, 1), [4, 5]);
        assert_eq!(routes_of(3, 2, 2), [2]);
    }
}
