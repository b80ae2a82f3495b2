//! The media plane as the control plane holds it: start, commands down, events up, stop.
//!
//! `Sfu` owns the threads and nothing that is on a packet's way. It deliberately does not know
//! which room is where; that is the placement of the control plane.
#![expect(
    clippy::disallowed_types,
    reason = "this is where threads are started and share what they must"
)]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::SfuConfig;
use crate::id::WorkerId;
use crate::net::interface::reachable_at;
use crate::net::udp::Socket;
use crate::net::{Wake, allowed_cores, stay_on};
use crate::shard::command::Directive;
use crate::shard::event::Event;
use crate::stream::{Bell, Stream, StreamEnd, stream};
use crate::transport::dtls::Identity;
use crate::transport::params::Fingerprint;
use crate::worker::{self, Lines, Neighbours, Shared, Streams, Worker};

/// A running media plane. Dropping it stops it.
#[derive(Debug)]
pub struct Sfu {
    workers: Vec<WorkerHandle>,
    fingerprint: Fingerprint,
}

#[derive(Debug)]
struct WorkerHandle {
    commands: SyncSender<Directive>,
    streams: StreamDoor,
    wake: Arc<Wake>,
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

/// Where a worker takes streams in.
#[derive(Debug)]
struct StreamDoor {
    opened: SyncSender<Stream>,
    has_input: Arc<AtomicBool>,
    queue_bytes: usize,
}

/// Streams opened and not yet taken in: a worker looks several hundred times a second.
const STREAMS_OPENED_MAX: usize = 256;

/// What happens in the media plane, from all workers, in the order of each.
#[derive(Debug)]
pub struct Events(Receiver<(WorkerId, Event)>);

/// A worker has more commands waiting than
/// [`commands_queued_max`](crate::config::Limits::commands_queued_max), or has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl fmt::Display for QueueFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker takes no more commands")
    }
}

impl std::error::Error for QueueFull {}

impl Sfu {
    /// Binds the sockets, makes the certificate and starts the threads.
    pub fn start(config: &SfuConfig) -> io::Result<(Self, Events)> {
        let count = match config.workers {
            0 => u16::try_from(thread::available_parallelism()?.get()).unwrap_or(u16::MAX),
            count => count,
        };
        let cores = allowed_cores()?;
        let identity = Identity::generate();
        let (said, events) = sync_channel(config.limits.events_queued_max);
        let bells: Vec<Wake> = (0..count).map(|_| Wake::new()).collect::<io::Result<_>>()?;
        let neighbours = Neighbours::of_all(&bells, config.limits.relay_frames_max)?;
        let workers = (0..count)
            .zip(bells.into_iter().zip(neighbours))
            .map(|(number, lines)| {
                let core = core(&cores, usize::from(count), usize::from(number));
                start_worker(
                    config,
                    WorkerId(number),
                    core,
                    &identity,
                    said.clone(),
                    lines,
                )
            })
            .collect::<io::Result<_>>()?;
        let sfu = Self {
            workers,
            fingerprint: identity.fingerprint(),
        };
        Ok((sfu, Events(events)))
    }

    /// How many workers there are; their ids count from zero.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// What clients are told as the candidates of a worker.
    ///
    /// # Panics
    ///
    /// If there is no such worker, as do all methods that take one.
    pub fn addresses(&self, worker: WorkerId) -> Vec<SocketAddr> {
        self.worker(worker).addresses.clone()
    }

    /// What session descriptions say of our certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Gives a worker something to do. Directives are carried out in order.
    pub fn send(&self, worker: WorkerId, directive: Directive) -> Result<(), QueueFull> {
        let worker = self.worker(worker);
        let result = worker.commands.try_send(directive);
        worker.wake.ring();
        result.map_err(|_| QueueFull)
    }

    /// Opens a stream to a worker: packets of a peer that is seen at `seen_at` and that somebody else
    /// holds a connection to. `bell` is rung from the worker's thread, when packets wait for the peer
    /// and when the worker has ended the stream; it must return at once.
    pub fn open_stream(
        &self,
        worker: WorkerId,
        seen_at: SocketAddr,
        bell: Bell,
    ) -> Result<StreamEnd, QueueFull> {
        let worker = self.worker(worker);
        let door = &worker.streams;
        let (end, taken) = stream(
            seen_at,
            door.queue_bytes,
            bell,
            &door.has_input,
            &worker.wake,
        );
        // It is looked for with its first packet.
        door.opened.try_send(taken).map_err(|_| QueueFull)?;
        Ok(end)
    }

    /// The share of the last second that a worker spent working, 0 to 1.
    pub fn busy(&self, worker: WorkerId) -> f32 {
        let shared = &self.worker(worker).shared;
        shared.busy_permille.load(Ordering::Relaxed) as f32 / 1000.0
    }

    /// Tells all workers to say goodbye to their peers and end. Events end when they have.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.stop();
        }
    }

    fn worker(&self, id: WorkerId) -> &WorkerHandle {
        self.workers
            .get(usize::from(id.0))
            .expect("ids of workers come from this media plane")
    }
}

impl WorkerHandle {
    fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.wake.ring();
    }
}

/// A worker that was started ends with its handle, also where another could not start.
impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // It catches its own panics; one that gets through has been printed.
            let _already_printed = thread.join();
        }
    }
}

/// All workers are told before the first is waited for.
impl Drop for Sfu {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Events {
    /// Waits for the next event. `None`: all workers have ended.
    pub fn recv(&self) -> Option<(WorkerId, Event)> {
        self.0.recv().ok()
    }

    /// Waits for the next event for at most `patience`. `Ok(None)`: nothing happened; an error:
    /// all workers have ended.
    pub fn recv_timeout(&self, patience: Duration) -> Result<Option<(WorkerId, Event)>, Ended> {
        match self.0.recv_timeout(patience) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Ended),
        }
    }
}

/// All workers have ended: there will be no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the media plane has stopped")
    }
}

impl std::error::Error for Ended {}

fn start_worker(
    config: &SfuConfig,
    id: WorkerId,
    core: Option<usize>,
    identity: &Identity,
    events: SyncSender<(WorkerId, Event)>,
    (wake, neighbours): (Wake, Neighbours),
) -> io::Result<WorkerHandle> {
    let socket = worker::bind(config, id)?;
    let addresses = candidates(config, &socket)?;
    let (commands, taken) = sync_channel(config.limits.commands_queued_max);
    let shared = Arc::<Shared>::default();
    let (opened, admitted) = sync_channel(STREAMS_OPENED_MAX);
    let has_input = Arc::<AtomicBool>::default();
    let streams = StreamDoor {
        opened,
        has_input: Arc::clone(&has_input),
        queue_bytes: config.limits.stream_queue_bytes_max,
    };
    let lines = Lines {
        commands: taken,
        events,
        wake: wake.try_clone()?,
        shared: Arc::clone(&shared),
        neighbours,
        streams: Streams::new(admitted, has_input, config.limits.streams_max),
    };
    let worker = Worker::new(id, config.limits.clone(), identity.clone(), socket, lines)?;
    let thread = thread::Builder::new()
        .name(format!("media-{}", id.0))
        .spawn(move || {
            if let Some(core) = core {
                // Pinned it keeps its caches; where that is forbidden it works all the same.
                let _may_wander = stay_on(core);
            }
            worker.run();
        })?;
    Ok(WorkerHandle {
        commands,
        streams,
        wake: Arc::new(wake),
        shared,
        addresses,
        thread: Some(thread),
    })
}

/// Where worker `number` of `count` stays: on one of the last cores, if enough are left for everybody
/// else. Where there are not, the kernel knows better who should wait.
fn core(cores: &[usize], count: usize, number: usize) -> Option<usize> {
    let spare = cores.len().checked_sub(count).filter(|&spare| spare > 0)?;
    cores.get(spare + number).copied()
}

fn candidates(config: &SfuConfig, socket: &Socket) -> io::Result<Vec<SocketAddr>> {
    let ips = match config.advertised_ips.as_slice() {
        [] => reachable_at(config.listen_ip)?,
        ips => ips.to_vec(),
    };
    let port = socket.local_address().port();
    Ok(ips
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_pinned_where_a_core_is_left_for_others() {
        let pinned = |cores: &[usize], count| -> Vec<_> {
            (0..count)
                .map(|number| core(cores, count, number))
                .collect()
        };
        assert_eq!(pinned(&[0, 1, 2, 3], 3), [Some(1), Some(2), Some(3)]);
        assert_eq!(pinned(&[4, 6], 1), [Some(6)]);
        assert_eq!(pinned(&[0, 1], 2), [None, None]);
        assert_eq!(pinned(&[0], 3), [None, None, None]);
    }
}
