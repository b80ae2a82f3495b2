//! The connection of a TURN client, from its first message to its last.
//!
//! Reading decides and hands packets to workers; writing takes packets from them and wraps them. Each
//! peer that the client reaches is a stream of its own, so that the media plane's answers find their
//! way back with the address that they come from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sfu::stream::{StreamReceiver, StreamSender};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::allocation::PEERS_MAX;
use super::message::{Class, Method, Writer, attribute, first, write_channel};
use super::server::{Outcome, Server};
use crate::config::Limits;
use crate::metrics::{Count, Metrics};
use crate::registry::Registry;
use crate::tcp::{LOOK_INTERVAL, WRITE_BYTES_MAX};

/// What is read at a time: ten packets.
const READ_BYTES: usize = 16 << 10;
/// Replies and news under way from the reader to the writer. A client waits for its replies.
const TASKS_MAX: usize = 32;

/// What the writer is to do.
enum Task {
    /// Write a reply.
    Reply(Vec<u8>),
    /// Write what comes from a peer.
    Peer(SocketAddr, StreamReceiver),
    /// Over a channel, from now on.
    Channel(SocketAddr, u16),
    /// Write what is there, then end.
    End,
}

/// Serves a client until it goes, or may no longer be served.
pub async fn serve(
    io: impl AsyncRead + AsyncWrite,
    client: SocketAddr,
    registry: &Registry,
    metrics: &Metrics,
) {
    let (reader, writer) = tokio::io::split(io);
    let limits = registry.port().limits.clone();
    let (tasks, todo) = mpsc::channel(TASKS_MAX);
    let bell = Arc::<Notify>::default();
    let mut reading = Reading {
        server: Server::new(Arc::clone(registry.port()), client),
        peers: Vec::new(),
        bell: Arc::clone(&bell),
        tasks,
        registry,
        metrics,
        patience: limits.stream_idle_timeout,
    };
    metrics.count(Count::TurnConnections);
    tokio::select! {
        () = reading.run(reader) => {}
        () = write(writer, todo, &bell, &limits, metrics) => {}
    }
}

struct Reading<'a> {
    server: Server,
    peers: Vec<(SocketAddr, StreamSender)>,
    bell: Arc<Notify>,
    tasks: mpsc::Sender<Task>,
    registry: &'a Registry,
    metrics: &'a Metrics,
    /// How long a client may take until it has an allocation.
    patience: Duration,
}

impl Reading<'_> {
    async fn run(&mut self, mut reader: impl AsyncRead + Unpin) {
        let mut bytes = Vec::new();
        let began = Instant::now();
        loop {
            bytes.reserve(READ_BYTES);
            let read = tokio::select! {
                read = reader.read_buf(&mut bytes) => read,
                () = sleep(LOOK_INTERVAL) => {
                    let now = Instant::now();
                    let is_early = self.server.relayed().is_none() && now - began < self.patience;
                    match is_early || self.server.is_alive(now) {
                        true => continue,
                        false => return,
                    }
                }
            };
            match read {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if self.take(&mut bytes).await.is_none() {
                // The writer ends the connection when all has been said.
                let _ = self.tasks.send(Task::End).await;
                return std::future::pending().await;
            }
        }
    }

    /// Takes what is whole. `None`: the connection shall end.
    async fn take(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let mut taken = 0;
        while let Some((unit, len)) = first(&bytes[taken..]).ok()? {
            taken += len;
            let mut reply = Vec::new();
            let now = (Instant::now(), SystemTime::now());
            let had_allocation = self.server.relayed().is_some();
            let outcome = self.server.handle(now, unit, &mut reply);
            if !had_allocation && self.server.relayed().is_some() {
                self.metrics.count(Count::TurnAllocations);
            }
            if is_refusal(&reply) {
                self.metrics.count(Count::TurnRefusals);
            }
            if !reply.is_empty() {
                self.tasks.send(Task::Reply(reply)).await.ok()?;
            }
            match outcome {
                Outcome::Nothing => {}
                Outcome::Packet(peer, packet) => self.deliver(peer, packet).await,
                Outcome::Channel(peer, number) => {
                    self.tasks.send(Task::Channel(peer, number)).await.ok()?;
                }
                Outcome::End => return None,
            }
        }
        bytes.drain(..taken);
        Some(())
    }

    /// Hands a packet to the worker whose address it is for, if it may go there. Nobody is told of one
    /// that may not (RFC 8656 section 11.2).
    async fn deliver(&mut self, peer: SocketAddr, packet: &[u8]) {
        if !self.server.may_send(packet) {
            return self.metrics.count(Count::TurnPacketsRefused);
        }
        let known = self.peers.iter_mut().find(|(address, _)| *address == peer);
        let sender = match known {
            Some((_, sender)) => Some(sender),
            None => self.open(peer).await,
        };
        if let Some(sender) = sender {
            // What the worker has no room for is lost, as in a full socket.
            let _ = sender.send(packet);
        }
    }

    async fn open(&mut self, peer: SocketAddr) -> Option<&mut StreamSender> {
        if self.peers.len() >= PEERS_MAX {
            return None;
        }
        let worker = self.registry.port().worker_at(peer)?;
        let seen_at = self.server.relayed()?;
        let bell = Arc::clone(&self.bell);
        let end = self.registry.open_stream_with(worker, seen_at, bell)?;
        let (sender, receiver) = end.split();
        self.tasks.send(Task::Peer(peer, receiver)).await.ok()?;
        self.peers.push((peer, sender));
        self.peers.last_mut().map(|(_, sender)| sender)
    }
}

/// Whether a reply says no. What is asked before there is a nonce always gets one.
fn is_refusal(reply: &[u8]) -> bool {
    matches!(first(reply), Ok(Some((super::message::Unit::Message(message), _)))
        if message.class() == Class::Error)
}

/// What comes from a peer, and over which channel it goes.
struct Peer {
    address: SocketAddr,
    channel: Option<u16>,
    receiver: StreamReceiver,
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut todo: mpsc::Receiver<Task>,
    bell: &Notify,
    limits: &Limits,
    metrics: &Metrics,
) {
    let mut peers: Vec<Peer> = Vec::new();
    let mut channels: Vec<(SocketAddr, u16)> = Vec::new();
    let mut out = Vec::with_capacity(WRITE_BYTES_MAX);
    let mut packet = Vec::new();
    let mut is_over = false;
    loop {
        for peer in &mut peers {
            while out.len() < WRITE_BYTES_MAX && peer.receiver.receive(&mut packet).is_some() {
                wrap(&mut out, peer, &packet);
                packet.clear();
            }
        }
        if !out.is_empty() {
            let written = async {
                writer.write_all(&out).await?;
                writer.flush().await
            };
            match timeout(limits.stream_write_timeout, written).await {
                Ok(Ok(())) => out.clear(),
                Ok(Err(_)) => return,
                Err(_) => return metrics.count(Count::StreamsStalled),
            }
            continue;
        }
        if is_over {
            // How it ends is the client's affair.
            let _ = writer.shutdown().await;
            return;
        }
        let task = tokio::select! {
            task = todo.recv() => task,
            () = bell.notified() => continue,
        };
        match task {
            Some(Task::Reply(reply)) => out.extend(reply),
            Some(Task::Peer(address, receiver)) => {
                let bound = channels.iter().find(|(bound, _)| *bound == address);
                let channel = bound.map(|(_, number)| *number);
                peers.push(Peer {
                    address,
                    channel,
                    receiver,
                });
            }
            Some(Task::Channel(address, number)) => {
                if let Some(peer) = peers.iter_mut().find(|peer| peer.address == address) {
                    peer.channel = Some(number);
                }
                if !channels.contains(&(address, number)) {
                    channels.push((address, number));
                }
            }
            Some(Task::End) | None => is_over = true,
        }
    }
}

fn wrap(out: &mut Vec<u8>, peer: &Peer, packet: &[u8]) {
    match peer.channel {
        Some(number) => write_channel(out, number, packet),
        None => {
            // An indication is answered by nobody, so its transaction says nothing.
            let _unsigned = Writer::new(out, Class::Indication, Method::Data, [0; 12])
                .with_address(attribute::XOR_PEER_ADDRESS, peer.address)
                .with(attribute::DATA, packet);
        }
    }
}
