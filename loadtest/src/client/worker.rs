//! Threads that serve thousands of synthetic participants: sockets, clock and schedule.
//!
//! Each worker owns its members; it is told by commands what to do and tells through channels what
//! became of it. All decisions are in `member` and below; here datagrams and time are moved.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc::UnboundedSender;

use super::audience::{Outcome, Run, Spans};
use super::member::Member;
use super::peer::{Credentials, Peer};
use super::sender::{SendingTrack, TrackPlan};
use super::tracker::Window;
use crate::sys::{Alarm, Message, Poll, Receiver, Sender};
use crate::traffic::{Dice, Schedule};

/// A participant's number, chosen by the run.
pub(crate) type MemberId = u32;

/// What all workers and the run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Number of the run in stamps.
    pub(crate) run: u32,
    /// The start.
    pub(crate) epoch: Instant,
    /// First nanosecond of the window; `u64::MAX` before it is known.
    pub(crate) window_start: AtomicU64,
    /// First nanosecond after the window.
    pub(crate) window_end: AtomicU64,
    /// Media packets received since the start, for progress.
    pub(crate) received: AtomicU64,
    /// Media packets sent since the start, for progress.
    pub(crate) sent: AtomicU64,
    /// One-way delays of what was received, added up in microseconds.
    pub(crate) delay_us: AtomicU64,
}

impl Shared {
    /// A run that starts now.
    pub(crate) fn new(run: u32) -> Self {
        Self {
            run,
            epoch: Instant::now(),
            window_start: AtomicU64::new(u64::MAX),
            window_end: AtomicU64::new(u64::MAX),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            delay_us: AtomicU64::new(0),
        }
    }

    /// What receivers need to know of it.
    pub(crate) fn run(&self) -> Run {
        let start = self.window_start.load(Ordering::Relaxed);
        let end = self.window_end.load(Ordering::Relaxed);
        Run {
            number: self.run,
            epoch: self.epoch,
            window: Window { start, end },
        }
    }
}

/// What becomes of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberEvent {
    /// Handshakes done, data channels open; the name of the SRTP profile.
    Connected(String),
    /// It is over.
    Failed(&'static str),
}

/// Orders to a worker.
pub(crate) enum Command {
    /// Serve another participant.
    Add {
        id: MemberId,
        socket: UdpSocket,
        server: SocketAddr,
        peer: Box<Peer>,
        transport_cc_id: u8,
        resend_type: u8,
        events: UnboundedSender<MemberEvent>,
    },
    /// Let it publish.
    Publish { id: MemberId, plan: TrackPlan },
    /// Let it restart ICE with these credentials, its own and the server's.
    Restart {
        id: MemberId,
        local: Credentials,
        remote: Credentials,
    },
    /// Let it send a reliable message.
    Say { id: MemberId, message: Vec<u8> },
    /// How many packets of each publication has it got so far?
    Count {
        id: MemberId,
        reply: tokio::sync::oneshot::Sender<HashMap<u32, u64>>,
    },
    /// Sum up and forget it.
    Finish {
        id: MemberId,
        spans: Spans,
        reply: tokio::sync::oneshot::Sender<Outcome>,
    },
}

/// The way to one worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    bell: UnixStream,
    thread: thread::JoinHandle<()>,
}

impl WorkerHandle {
    /// Starts a worker.
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self> {
        let (commands, orders) = mpsc::channel();
        let (bell, ear) = UnixStream::pair().context("a socket pair")?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let worker = Worker::new(shared, orders, ear)?;
        let thread = thread::Builder::new()
            .name("load".into())
            .spawn(move || worker.run().expect("sockets of our own can be served"))?;
        Ok(Self {
            commands,
            bell,
            thread,
        })
    }

    /// Whether the worker still works: without it all figures of a run are worthless.
    pub(crate) fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Gives an order.
    pub(crate) fn send(&self, command: Command) {
        // A worker ends only with the program; a bell that is full rings already.
        let _ = self.commands.send(command);
        let _ = (&self.bell).write(&[1]);
    }
}

const BELL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;
/// Between looks at a member during its handshake and afterwards.
const TURNS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
/// Between rounds over all members.
const ROUND: Duration = Duration::from_millis(10);

struct Worker {
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Command>,
    ear: UnixStream,
    poll: Poll,
    alarm: Alarm,
    receiver: Receiver,
    sender: Sender,
    members: HashMap<MemberId, Member>,
    events: HashMap<MemberId, UnboundedSender<MemberEvent>>,
    schedule: Schedule,
    /// Which member's which track a source of the schedule is.
    publications: Vec<(MemberId, usize)>,
    transport_sequences: HashMap<MemberId, u16>,
    dice: Dice,
    next_round: Instant,
    arena: Vec<u8>,
    messages: Vec<Message>,
    is_over: bool,
}

impl Worker {
    fn new(shared: Arc<Shared>, orders: mpsc::Receiver<Command>, ear: UnixStream) -> Result<Self> {
        let (poll, alarm) = (Poll::new(256)?, Alarm::new()?);
        poll.add(ear.as_fd(), BELL)?;
        poll.add(alarm.as_fd(), ALARM)?;
        Ok(Self {
            dice: Dice::new(u64::from(shared.run)),
            shared,
            orders,
            ear,
            poll,
            alarm,
            receiver: Receiver::new(8, 65_535),
            sender: Sender::new(64),
            members: HashMap::new(),
            events: HashMap::new(),
            schedule: Schedule::default(),
            publications: Vec::new(),
            transport_sequences: HashMap::new(),
            next_round: Instant::now(),
            arena: Vec::new(),
            messages: Vec::new(),
            is_over: false,
        })
    }

    /// Works until nobody can give orders any more.
    fn run(mut self) -> Result<()> {
        while !self.is_over {
            self.publish_due();
            let now = Instant::now();
            if now >= self.next_round {
                self.next_round = now + ROUND;
                self.round(now);
            }
            let since = self.shared.epoch.elapsed();
            let due = self
                .schedule
                .next()
                .map_or(ROUND, |at| at.saturating_sub(since));
            let round = self.next_round.saturating_duration_since(Instant::now());
            self.alarm.set(due.min(round))?;
            for ready in 0..self.poll.wait(None)? {
                match self.poll.token(ready) {
                    BELL => self.obey(),
                    ALARM => {}
                    id => self.receive(id as MemberId)?,
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self) {
        // What the bell said is no matter, that it rang is.
        while self.ear.read(&mut [0; 64]).is_ok_and(|len| len == 64) {}
        loop {
            let command = match self.orders.try_recv() {
                Ok(command) => command,
                Err(mpsc::TryRecvError::Empty) => return,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.is_over = true;
                    return;
                }
            };
            match command {
                Command::Add {
                    id,
                    socket,
                    server,
                    peer,
                    transport_cc_id,
                    resend_type,
                    events,
                } => {
                    let now = Instant::now();
                    if self.poll.add(socket.as_fd(), u64::from(id)).is_err() {
                        // Its owner sees the closed channel.
                        continue;
                    }
                    let member =
                        Member::new(now, socket, server, *peer, transport_cc_id, resend_type);
                    self.members.insert(id, member);
                    self.events.insert(id, events);
                    self.next_round = now;
                }
                Command::Publish { id, plan } => self.publish(id, plan),
                Command::Restart { id, local, remote } => self.with(id, |now, member| {
                    member.peer.restart(now, local, remote);
                    member.next_turn = now;
                }),
                Command::Say { id, message } => self.with(id, |now, member| {
                    member.peer.say(now, &message);
                    flush(member);
                }),
                Command::Count { id, reply } => self.with(id, |_, member| {
                    // Nobody waits for it any more when the run was broken off.
                    let _ = reply.send(member.audience.packets());
                }),
                Command::Finish { id, spans, reply } => self.finish(id, &spans, reply),
            }
        }
    }

    fn with(&mut self, id: MemberId, order: impl FnOnce(Instant, &mut Member)) {
        if let Some(member) = self.members.get_mut(&id) {
            order(Instant::now(), member);
        }
    }

    fn publish(&mut self, id: MemberId, plan: TrackPlan) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let period = Duration::from_nanos(plan.period());
        let first = self.shared.epoch.elapsed() + self.dice.within(period);
        self.schedule
            .add(self.publications.len() as u32, first, period);
        self.publications.push((id, member.tracks.len()));
        member.tracks.push(SendingTrack::new(plan));
    }

    fn finish(
        &mut self,
        id: MemberId,
        spans: &Spans,
        reply: tokio::sync::oneshot::Sender<Outcome>,
    ) {
        self.events.remove(&id);
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        for (source, _) in self
            .publications
            .iter()
            .enumerate()
            .filter(|(_, p)| p.0 == id)
        {
            self.schedule.remove(source as u32);
        }
        // Nobody waits for it any more when the run was broken off.
        let _ = reply.send(member.audience.finish(spans));
    }

    fn publish_due(&mut self) {
        let run = self.shared.run();
        while let Some((source, _)) = self.schedule.pop(self.shared.epoch.elapsed()) {
            let (id, track) = self.publications[source as usize];
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            let now = self.shared.epoch.elapsed().as_nanos() as u64;
            let transport_sequence = self.transport_sequences.entry(id).or_default();
            let (arena, messages) = (&mut self.arena, &mut self.messages);
            arena.clear();
            messages.clear();
            let Member {
                tracks,
                peer,
                socket,
                ..
            } = member;
            tracks[track].frame(now, run.window, transport_sequence, |packet| {
                if let Some(sealed) = peer.protect_rtp(packet) {
                    let range = arena.len()..arena.len() + sealed.len();
                    arena.extend_from_slice(&sealed);
                    messages.push(Message {
                        to: None,
                        range,
                        segment: 0,
                    });
                }
            });
            let mut done = 0;
            while done < messages.len() {
                match self.sender.send(socket.as_fd(), arena, &messages[done..]) {
                    Ok(count) => done += count,
                    // A server that has gone away: its members notice by themselves.
                    Err(_) => break,
                }
            }
            self.shared.sent.fetch_add(done as u64, Ordering::Relaxed);
        }
    }

    fn receive(&mut self, id: MemberId) -> Result<()> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let run = self.shared.run();
        // An error is the answer of a closed port to something sent earlier.
        let count = self.receiver.recv(member.socket.as_fd()).unwrap_or(0);
        let now = Instant::now();
        for i in 0..count {
            let Some(message) = self.receiver.message(i) else {
                continue;
            };
            for datagram in message.bytes.chunks(message.segment.max(1)) {
                member.handle(now, &run, datagram);
            }
        }
        let (packets, delay_us) = member.take_heard();
        self.shared.received.fetch_add(packets, Ordering::Relaxed);
        self.shared.delay_us.fetch_add(delay_us, Ordering::Relaxed);
        flush(member);
        Ok(())
    }

    fn round(&mut self, now: Instant) {
        let run = self.shared.run();
        for (id, member) in &mut self.members {
            if now < member.next_turn {
                continue;
            }
            let is_connected = member.peer.is_connected();
            member.next_turn = now + if is_connected { TURNS.1 } else { TURNS.0 };
            member.handle_timeout(now, &run);
            flush(member);
            if let Some(event) = news(member)
                && let Some(events) = self.events.get(id)
            {
                // The owner may have ended already.
                let _ = events.send(event);
            }
        }
    }
}

fn news(member: &mut Member) -> Option<MemberEvent> {
    if let Some(reason) = member.peer.failure() {
        return (!std::mem::replace(&mut member.is_failed, true))
            .then_some(MemberEvent::Failed(reason));
    }
    if member.is_announced || !member.peer.is_complete() {
        return None;
    }
    member.is_announced = true;
    member
        .peer
        .profile()
        .map(|profile| MemberEvent::Connected(profile.to_string()))
}

/// Sends what the transport has to say besides media.
fn flush(member: &mut Member) {
    while let Some(datagram) = member.peer.poll() {
        // Handshakes and feedback are repeated by their own protocols.
        let _ = member.socket.send(&datagram);
    }
}
