//! A media thread: one socket, one clock, one shard.
//!
//! A turn reads the clock once, reads what has arrived, gives both to the shard together with the
//! commands that wait, and sends what the shard says; how long that took is read once per batch.
//! Between turns the thread sleeps until a datagram, a command or a deadline comes. It never waits
//! for the control plane: what that does not take is kept, in order and within a bound. How busy
//! the thread is says the kernel, which bills its processor time anyway and is asked once a second.
//!
//! A bug that panics ends the rooms of its worker and nothing else: they are reported as lost and
//! the thread goes on with an empty shard.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is where the clock is read, and where a thread shares numbers with its handle"
)]

mod neighbours;
mod streams;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::{Limits, SfuConfig};
use crate::delay::DelayHistogram;
use crate::error::Reject;
use crate::id::{Epoch, RoomId, WorkerId};
use crate::net::udp::{Ready, RecvBatch, Sent, Socket};
use crate::net::{Wake, Watch, thread_time};
use crate::shard::command::{Command, Directive};
use crate::shard::event::{Event, EventKind};
use crate::shard::{Output, Shard};
use crate::stats::StatsSnapshot;
use crate::transport::dtls::Identity;
use crate::unit::NtpTime;
pub(crate) use neighbours::Neighbours;
use streams::Arrival;
pub(crate) use streams::Streams;

/// Commands carried out in one turn: a storm of joins must not delay the media of who is there.
const COMMANDS_PER_TURN_MAX: usize = 64;
/// How soon the control plane is offered again what it had no room for.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// A turn that is so late or takes so long is counted: it is half of what a receiver's jitter buffer
/// bridges.
const STALL: Duration = Duration::from_millis(100);
/// Over what span the busy share is measured.
const BUSY_SPAN: Duration = Duration::from_secs(1);
/// A wait that ends sooner has not slept: what it reports may have arrived while we worked.
const SLEPT_MIN: Duration = Duration::from_micros(5);
/// Between 1900 and 1970 (RFC 5905 section 6).
const NTP_UNIX_OFFSET_SECS: u64 = 2_208_988_800;

/// What a worker shares with its handle: three numbers, each of its own.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The busy share of the last second in thousandths.
    pub(crate) busy_permille: AtomicU32,
    /// The thread shall end.
    pub(crate) is_stopping: AtomicBool,
}

/// The ends of the channels that a worker holds.
pub(crate) struct Lines {
    pub(crate) commands: Receiver<Directive>,
    pub(crate) events: SyncSender<(WorkerId, Event)>,
    pub(crate) wake: Wake,
    pub(crate) shared: Arc<Shared>,
    pub(crate) neighbours: Neighbours,
    pub(crate) streams: Streams,
}

/// Everything that one media thread owns.
pub(crate) struct Worker {
    id: WorkerId,
    limits: Limits,
    identity: Identity,
    socket: Socket,
    watch: Watch,
    lines: Lines,
    shard: Shard,
    batch: RecvBatch,
    deadline: Option<Instant>,
    /// What has been said and not been taken.
    backlog: VecDeque<Event>,
    /// The rooms that were opened here, to know what a bug has cost.
    rooms: HashSet<RoomId>,
    counted: Counted,
    /// What is read in this turn has not arrived before.
    arrived: Instant,
    /// When the last batch had been sent.
    sent_at: Instant,
    busy_since: Instant,
}

/// What only the worker can count.
#[derive(Debug, Default)]
struct Counted {
    datagrams_out: u64,
    bytes_out: u64,
    blocked: u64,
    refused: u64,
    runs_out: u64,
    runs_refused: u64,
    too_long: u64,
    relay_dropped: u64,
    panics: u64,
    events_lost: u64,
    stalls: u64,
    /// Processor time of the thread, as of the last second.
    busy: Duration,
    forwarding: DelayHistogram,
}

impl Worker {
    pub(crate) fn new(
        id: WorkerId,
        limits: Limits,
        identity: Identity,
        socket: Socket,
        lines: Lines,
    ) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            id,
            watch: Watch::new(&socket, &lines.wake)?,
            shard: new_shard(now, &identity, &limits),
            batch: socket.recv_room(limits.datagrams_per_turn_max),
            limits,
            identity,
            socket,
            lines,
            deadline: Some(now),
            backlog: VecDeque::new(),
            rooms: HashSet::new(),
            counted: Counted::default(),
            arrived: now,
            sent_at: now,
            busy_since: now,
        })
    }

    /// Works until it is told to stop, then says goodbye to every peer.
    pub(crate) fn run(mut self) {
        let mut now = Instant::now();
        let mut ready = Ready::ALL;
        while !self.lines.shared.is_stopping.load(Ordering::Acquire) {
            let left = self.guarded(now, |worker| worker.turn(now, ready));
            let ended = self.ended(now);
            ready = self.sleep(ended, left);
            let woken = Instant::now();
            self.note_stall(now, ended, woken);
            self.arrived = arrival(self.arrived, now, ended, woken, left.is_readable);
            now = woken;
            self.account(now, thread_time);
        }
        self.guarded(now, |worker| {
            worker.close_all(now);
            Ready::default()
        });
    }

    /// When the turn that began at `now` ended: with its last batch, whose time is known. Only a turn
    /// that sent nothing must look at the clock for it.
    fn ended(&self, now: Instant) -> Instant {
        match self.sent_at > now {
            true => self.sent_at,
            false => Instant::now(),
        }
    }

    /// Does `work`; a panic in it ends the rooms, not the thread.
    fn guarded(&mut self, now: Instant, work: impl FnOnce(&mut Self) -> Ready) -> Ready {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(left) => left,
            Err(_) => {
                self.start_over(now);
                Ready::ALL
            }
        }
    }

    /// Nothing of a shard that has panicked can be believed, so nothing of it is kept.
    fn start_over(&mut self, now: Instant) {
        self.counted.panics += 1;
        self.shard = new_shard(now, &self.identity, &self.limits);
        self.deadline = Some(now);
        for room in std::mem::take(&mut self.rooms) {
            self.report(Event {
                room: Some(room),
                kind: EventKind::RoomLost,
            });
        }
    }

    /// One turn with what is ready. Returns what did not fit into it.
    fn turn(&mut self, now: Instant, ready: Ready) -> Ready {
        // Whoever checks us was announced before he got our answer, and an encoder may check but once.
        let is_rung = ready.is_rung && self.take_commands(now);
        let left = Ready {
            is_readable: ready.is_readable && self.take_datagrams(now),
            is_rung,
        };
        let has_frames = self.take_frames(now);
        let has_packets = self.take_packets(now);
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.shard.handle_timeout(now);
        }
        self.flush(now);
        Ready {
            is_rung: left.is_rung || has_frames || has_packets,
            ..left
        }
    }

    /// Returns whether there is more.
    fn take_frames(&mut self, now: Instant) -> bool {
        let shard = &mut self.shard;
        self.lines
            .neighbours
            .receive(|from, buffer, len| shard.handle_relay(now, from, buffer, len))
    }

    /// Returns whether there is more.
    fn take_packets(&mut self, now: Instant) -> bool {
        let shard = &mut self.shard;
        self.lines.streams.receive(|from, arrival| match arrival {
            Arrival::Packet(packet) => shard.handle_datagram(now, from, packet),
            Arrival::End => shard.handle_stream_end(now, from),
        })
    }

    /// Returns whether there is more.
    fn take_datagrams(&mut self, now: Instant) -> bool {
        // An error is one that an earlier datagram of ours has come back with.
        if !self.socket.recv_batch(&mut self.batch).unwrap_or(false) {
            return false;
        }
        while let Some(datagram) = self.batch.pop() {
            match datagram {
                Some((from, bytes)) => self.shard.handle_datagram(now, from, bytes),
                None => self.counted.too_long += 1,
            }
        }
        self.batch.has_more()
    }

    /// Returns whether there is more.
    fn take_commands(&mut self, now: Instant) -> bool {
        self.lines.wake.hear();
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Ok(directive) = self.lines.commands.try_recv() else {
                return false;
            };
            match directive.command {
                Command::OpenRoom => self.rooms.insert(directive.room),
                Command::CloseRoom => self.rooms.remove(&directive.room),
                _ => true,
            };
            self.shard.handle_command(now, directive);
        }
        true
    }

    fn flush(&mut self, now: Instant) {
        self.offer_backlog();
        loop {
            match self.shard.poll_output(now) {
                Output::Transmit(batch) => {
                    let batch = self.lines.streams.send(batch);
                    let sent = self.socket.send_batch(&batch);
                    self.counted.note(sent);
                    self.sent_at = Instant::now();
                    let delay = self.sent_at.saturating_duration_since(self.arrived);
                    self.counted.forwarding.note(delay, sent.datagrams);
                    if !self.socket.is_segmenting() {
                        self.shard.stop_padding();
                    }
                }
                Output::Relay(batch) => {
                    self.counted.relay_dropped += self.lines.neighbours.send(&batch);
                }
                Output::Event(event) => {
                    let event = self.complete(event);
                    self.report(event);
                }
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }

    /// Adds to the shard's numbers what the shard cannot know.
    fn complete(&self, mut event: Event) -> Event {
        if let EventKind::Stats { snapshot } = &mut event.kind {
            self.counted.fill(snapshot);
            let streams = &self.lines.streams;
            snapshot.streams = streams.len() as u64;
            snapshot.stream_packets_in = streams.counted.packets_in;
            snapshot.stream_packets_out = streams.counted.packets_out;
            snapshot.stream_packets_dropped = streams.counted.packets_dropped;
            snapshot.is_segmenting = u64::from(self.socket.is_segmenting());
        }
        event
    }

    /// Says something to the control plane, behind what it has not yet heard.
    fn report(&mut self, event: Event) {
        if self.backlog.is_empty() {
            match self.lines.events.try_send((self.id, event)) {
                Ok(()) => {}
                Err(TrySendError::Full((_, event))) => self.keep(event),
                // Nobody listens any more.
                Err(TrySendError::Disconnected(_)) => self.counted.events_lost += 1,
            }
        } else {
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        // The next numbers will say the same and more.
        if matches!(event.kind, EventKind::Stats { .. }) {
            return;
        }
        if self.backlog.len() < self.limits.events_queued_max {
            self.backlog.push_back(event);
        } else {
            self.counted.events_lost += 1;
        }
    }

    fn offer_backlog(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            if let Err(TrySendError::Full((_, event))) =
                self.lines.events.try_send((self.id, event))
            {
                self.backlog.push_front(event);
                return;
            }
        }
    }

    /// Counts turns that others have noticed: that took long themselves, or that began long after
    /// they were due because the system had better things to do.
    fn note_stall(&mut self, started: Instant, ended: Instant, woken: Instant) {
        let due = self.deadline.map_or(woken, |deadline| deadline.max(ended));
        let was_late = woken.saturating_duration_since(due) >= STALL;
        let was_long = ended.saturating_duration_since(started) >= STALL;
        self.counted.stalls += u64::from(was_long) + u64::from(was_late);
    }

    /// Once a second: what share of it the thread has worked, system calls included.
    fn account(&mut self, now: Instant, worked: impl FnOnce() -> Duration) {
        let span = now.saturating_duration_since(self.busy_since);
        if span < BUSY_SPAN {
            return;
        }
        let before = std::mem::replace(&mut self.counted.busy, worked());
        let worked = self.counted.busy.saturating_sub(before);
        let permille = (worked.as_micros() * 1000 / span.as_micros()).min(1000) as u32;
        let shared = &self.lines.shared;
        shared.busy_permille.store(permille, Ordering::Relaxed);
        self.shard.note_busy(permille);
        self.busy_since = now;
    }

    /// Waits until there is something to do, and says what; at once if there was something `left`.
    fn sleep(&mut self, now: Instant, left: Ready) -> Ready {
        let retry = (!self.backlog.is_empty()).then_some(now + RETRY_INTERVAL);
        let may_sleep = left == Ready::default() && self.lines.neighbours.fall_asleep();
        let at_once = (!may_sleep).then_some(now);
        let until = [self.deadline, retry, at_once]
            .into_iter()
            .flatten()
            .fold(now + BUSY_SPAN, Instant::min);
        let waited = self.watch.wait(now, until);
        self.lines.neighbours.wake_up();
        match waited {
            Ok(ready) => Ready {
                is_readable: ready.is_readable || left.is_readable,
                is_rung: ready.is_rung || left.is_rung,
            },
            Err(_) => {
                // A wait that fails at once must not become a loop that takes a whole core.
                std::thread::sleep(RETRY_INTERVAL);
                Ready::ALL
            }
        }
    }

    fn close_all(&mut self, now: Instant) {
        for room in std::mem::take(&mut self.rooms) {
            let directive = Directive {
                room,
                epoch: Epoch(u64::MAX),
                command: Command::CloseRoom,
            };
            self.shard.handle_command(now, directive);
        }
        self.flush(now);
    }
}

impl Counted {
    fn note(&mut self, sent: Sent) {
        self.datagrams_out += sent.datagrams;
        self.bytes_out += sent.bytes;
        self.blocked += sent.blocked;
        self.refused += sent.refused;
        self.runs_out += sent.runs;
        self.runs_refused += sent.runs_refused;
    }

    fn fill(&self, snapshot: &mut StatsSnapshot) {
        snapshot.datagrams_in += self.too_long;
        snapshot.rejects[Reject::Length as usize] += self.too_long;
        snapshot.datagrams_out = self.datagrams_out;
        snapshot.bytes_out = self.bytes_out;
        snapshot.datagrams_blocked = self.blocked;
        snapshot.datagrams_refused = self.refused;
        snapshot.runs_out = self.runs_out;
        snapshot.runs_refused = self.runs_refused;
        snapshot.relay_frames_dropped += self.relay_dropped;
        snapshot.relay_frames_out -= self.relay_dropped;
        snapshot.panics = self.panics;
        snapshot.events_lost = self.events_lost;
        snapshot.stalls = self.stalls;
        snapshot.busy_ns = u64::try_from(self.busy.as_nanos()).unwrap_or(u64::MAX);
        snapshot.forwarding = self.forwarding;
    }
}

/// The earliest time at which what the next turn reads can have arrived: when the worker woke up, if
/// it had slept; else when the last turn had read all there was, which it had not if it left some.
fn arrival(
    before: Instant,
    started: Instant,
    ended: Instant,
    woken: Instant,
    is_some_left: bool,
) -> Instant {
    if is_some_left {
        before
    } else if woken - ended < SLEPT_MIN {
        started
    } else {
        woken
    }
}

fn new_shard(now: Instant, identity: &Identity, limits: &Limits) -> Shard {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).expect("the system gives randomness");
    Shard::new(now, wall_clock(), seed, identity.clone(), limits.clone())
}

fn wall_clock() -> NtpTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    NtpTime(NTP_UNIX_OFFSET_SECS << 32).after(since_1970.unwrap_or_default())
}

/// Binds the socket of worker `id`.
pub(crate) fn bind(config: &SfuConfig, id: WorkerId) -> io::Result<Socket> {
    let port = match config.port_first {
        0 => 0,
        first => first
            .checked_add(id.0)
            .ok_or_else(|| io::Error::other("port_first leaves no port for every worker"))?,
    };
    let segments_max = config.limits.segments_per_send_max;
    Socket::bind(
        (config.listen_ip, port).into(),
        config.segmentation,
        segments_max,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use is::stun::{StunMessage, TransId};

    use super::*;
    use crate::error::Reject;
    use crate::id::TransportId;
    use crate::transport::params::{ExtensionIds, Fingerprint, IceCredentials, TransportParams};

    #[test]
    fn what_waited_while_the_worker_was_busy_has_waited() {
        let start = crate::testing::instant();
        let at = |us| start + Duration::from_micros(us);
        let asleep = arrival(at(0), at(100), at(150), at(900), false);
        let awake = arrival(at(0), at(100), at(150), at(151), false);
        let behind = arrival(at(0), at(100), at(150), at(151), true);
        assert_eq!([asleep, awake, behind], [at(900), at(100), at(0)]);
    }

    struct Bench {
        worker: Worker,
        commands: SyncSender<Directive>,
        events: Receiver<(WorkerId, Event)>,
    }

    fn bench(events: usize, kept: usize) -> Bench {
        let (commands, taken) = sync_channel(100);
        let (said, events) = sync_channel(events);
        let wake = Wake::new().expect("a bell");
        let bells = [wake.try_clone().expect("a rope")];
        let alone = Neighbours::of_all(&bells, 1).expect("no ropes");
        let lines = Lines {
            commands: taken,
            events: said,
            wake,
            shared: Arc::default(),
            neighbours: alone.into_iter().next().expect("one worker"),
            streams: Streams::new(sync_channel(1).1, Arc::default(), 1),
        };
        let limits = Limits {
            events_queued_max: kept,
            ..Limits::default()
        };
        let config = SfuConfig {
            port_first: 0,
            ..SfuConfig::default()
        };
        let socket = bind(&config, WorkerId(0)).expect("a free port");
        Bench {
            worker: Worker::new(WorkerId(3), limits, Identity::generate(), socket, lines)
                .expect("it can watch"),
            commands,
            events,
        }
    }

    fn open(room: u64) -> Directive {
        Directive {
            room: RoomId(room),
            epoch: Epoch(1),
            command: Command::OpenRoom,
        }
    }

    fn lost(bench: &Bench) -> Vec<u64> {
        let is_lost = |(_, event): (WorkerId, Event)| match event.kind {
            EventKind::RoomLost => event.room.map(|room| room.0),
            _ => None,
        };
        bench.events.try_iter().filter_map(is_lost).collect()
    }

    #[test]
    fn a_panic_ends_the_rooms_and_not_the_thread() {
        let mut bench = bench(100, 100);
        let now = Instant::now();
        for room in [7, 8] {
            bench.commands.send(open(room)).expect("room in the queue");
        }
        bench.worker.turn(now, Ready::ALL);
        assert_eq!(lost(&bench), []);

        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let left = bench.worker.guarded(now, |_| panic!("a bug"));
        std::panic::set_hook(hook);
        assert_eq!(
            left,
            Ready::ALL,
            "the turn that broke off is taken up again"
        );
        let mut rooms = lost(&bench);
        rooms.sort_unstable();
        assert_eq!(rooms, [7, 8]);
        assert_eq!(bench.worker.shard.stats().rooms, 0);

        bench.commands.send(open(7)).expect("room in the queue");
        bench.worker.turn(now, Ready::ALL);
        assert_eq!(bench.worker.shard.stats().rooms, 1);
        let mut snapshot = bench.worker.shard.stats();
        bench.worker.counted.fill(&mut snapshot);
        assert_eq!(snapshot.panics, 1);
    }

    #[test]
    fn who_is_announced_is_known_before_his_first_check_is_read() {
        let mut bench = bench(100, 100);
        let transport = TransportId(1);
        let ours = IceCredentials::generate(transport, [1; 28]);
        let theirs = IceCredentials::generate(TransportId(2), [2; 28]);
        let name = format!("{}:{}", ours.ufrag, theirs.ufrag);
        let check = StunMessage::binding_request(&name, TransId::new(), true, 1, 1, true);
        let mut bytes = [0; 300];
        // Without the password: that is only noticed for somebody who is known.
        let len = check.to_bytes(Some(b"guessed"), &mut bytes, |_, _| [0; 20]);
        let encoder = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let announced = Directive {
            command: Command::AddTransport {
                transport,
                params: Box::new(TransportParams {
                    local_ice: ours,
                    remote_ice: theirs,
                    remote_fingerprint: Fingerprint([0; 32]),
                    extensions: ExtensionIds::default(),
                    sctp: None,
                }),
            },
            ..open(7)
        };
        for directive in [open(7), announced] {
            bench.commands.send(directive).expect("room in the queue");
        }
        let to = bench.worker.socket.local_address();
        let check = &bytes[..len.expect("it fits")];
        encoder.send_to(check, to).expect("loopback takes it");
        // Loopback delivers while it sends, so one turn finds both.
        bench.worker.turn(Instant::now(), Ready::ALL);
        let stats = bench.worker.shard.stats();
        let rejected = [Reject::StunUnknownUser, Reject::StunIntegrity].map(|r| stats.rejected(r));
        assert_eq!(rejected, [0, 1]);
    }

    #[test]
    fn a_worker_that_stalls_is_counted() {
        let mut bench = bench(1, 1);
        let worker = &mut bench.worker;
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        worker.deadline = Some(at(50));
        worker.note_stall(at(0), at(20), at(52));
        assert_eq!(worker.counted.stalls, 0, "a turn like all others");
        worker.note_stall(at(0), at(20), at(1_000));
        assert_eq!(worker.counted.stalls, 1, "it was not let on its core");
        worker.note_stall(at(0), at(2_000), at(2_001));
        assert_eq!(worker.counted.stalls, 2, "it worked for two seconds");
        worker.deadline = None;
        worker.note_stall(at(0), at(1), at(60_000));
        assert_eq!(worker.counted.stalls, 2, "nobody was waiting");
    }

    #[test]
    fn events_wait_in_order_within_a_bound() {
        let mut bench = bench(2, 3);
        for room in 0..10 {
            bench.worker.report(Event {
                room: Some(RoomId(room)),
                kind: EventKind::RoomLost,
            });
        }
        let stats = EventKind::Stats {
            snapshot: Box::default(),
        };
        bench.worker.report(Event {
            room: None,
            kind: stats,
        });
        assert_eq!(bench.worker.counted.events_lost, 5);
        assert_eq!(lost(&bench), [0, 1]);
        bench.worker.offer_backlog();
        assert_eq!(lost(&bench), [2, 3]);
        bench.worker.offer_backlog();
        assert_eq!(lost(&bench), [4]);
        assert!(bench.worker.backlog.is_empty());
    }

    #[test]
    fn the_busy_share_is_processor_time_over_a_second() {
        let mut bench = bench(2, 3);
        let start = bench.worker.busy_since;
        let share = |bench: &Bench| {
            let shared = &bench.worker.lines.shared;
            shared.busy_permille.load(Ordering::Relaxed)
        };
        let account = |bench: &mut Bench, at_ms: u64, worked_ms: u64| {
            let at = start + Duration::from_millis(at_ms);
            let worked = || Duration::from_millis(worked_ms);
            bench.worker.account(at, worked);
        };
        account(&mut bench, 999, 900);
        assert_eq!(share(&bench), 0, "not before the second is over");
        account(&mut bench, 1_000, 250);
        assert_eq!(share(&bench), 250);
        account(&mut bench, 3_000, 1_250);
        assert_eq!(share(&bench), 500);
        account(&mut bench, 4_000, 2_251);
        assert_eq!(share(&bench), 1_000);
        assert_eq!(bench.worker.counted.busy, Duration::from_millis(2_251));
    }

    #[test]
    fn the_wall_clock_is_of_this_century() {
        let seconds = wall_clock().0 >> 32;
        let years = (seconds - NTP_UNIX_OFFSET_SECS) / 31_557_600;
        assert!((50..130).contains(&years), "{years} years after 1970");
    }
}
