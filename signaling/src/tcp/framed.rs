//! A peer whose packets come over TCP, each in a frame (RFC 6544, RFC 4571).
//!
//! The first packet is a connectivity check and names the transport, which names its worker; from then
//! on packets are handed to that worker and taken from it. Nothing is trusted here: what proves the
//! peer to be who it says is checked where datagrams are checked too. A connection that the media
//! plane never answers is closed soon, and so is one that does not take what it is sent.

use std::net::SocketAddr;
use std::sync::Arc;

use sfu::stream::frame::{self, HEADER_BYTES};
use sfu::stream::{StreamReceiver, StreamSender};
use sfu::transport::ice;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Answered, WRITE_BYTES_MAX};
use crate::config::Limits;
use crate::metrics::{Count, Metrics};
use crate::registry::Registry;

/// What is read at a time: ten packets.
const READ_BYTES: usize = 16 << 10;

/// Carries packets between a connection and its worker until either side ends it.
pub async fn carry(
    io: impl AsyncRead + AsyncWrite,
    seen_at: SocketAddr,
    registry: &Registry,
    metrics: &Metrics,
) {
    let (mut reader, writer) = tokio::io::split(io);
    let limits = registry.port().limits.clone();
    let mut incoming = Incoming::default();
    let opening = incoming.first_packet(&mut reader);
    let Ok(Some(check)) = timeout(limits.request_head_timeout, opening).await else {
        return metrics.count(Count::StreamsRefused);
    };
    let Some((slot, end, bell)) = open(&check, seen_at, registry) else {
        return metrics.count(Count::StreamsRefused);
    };
    metrics.count(Count::Streams);
    let (sender, receiver) = end.split();
    let answered = Answered::new();
    tokio::select! {
        () = incoming.read(reader, sender) => {}
        () = write(writer, receiver, &bell, &answered, &limits, metrics) => {}
        () = answered.ceased(limits.stream_idle_timeout) => {}
    }
    drop(slot);
}

type Opened = (super::StreamSlot, sfu::stream::StreamEnd, Arc<Notify>);

/// Finds the worker that a first check is for.
fn open(check: &[u8], seen_at: SocketAddr, registry: &Registry) -> Option<Opened> {
    let transport = ice::addressee(check).ok()?;
    let port = registry.port();
    let worker = Some(transport.worker()).filter(|worker| port.has_worker(*worker))?;
    let slot = port.enter(transport)?;
    let (end, bell) = registry.open_stream(worker, seen_at)?;
    Some((slot, end, bell))
}

/// What has been read of a connection and not yet been handed on.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// The first packet; it is handed on later, with the others. `None`: there will be none.
    async fn first_packet(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
        loop {
            if let Some(packet) = frame::first(&self.bytes).ok()? {
                return Some(packet.to_vec());
            }
            self.more(reader).await?;
        }
    }

    /// Reads and hands on until the connection ends or makes no sense.
    async fn read(mut self, mut reader: impl AsyncRead + Unpin, mut sender: StreamSender) {
        while self.hand_on(&mut sender).is_some() && self.more(&mut reader).await.is_some() {}
    }

    /// Hands on what is whole. `None`: what follows cannot be found.
    fn hand_on(&mut self, sender: &mut StreamSender) -> Option<()> {
        let mut rest = &self.bytes[..];
        while let Some(packet) = frame::first(rest).ok()? {
            if !packet.is_empty() {
                // What the worker has no room for is lost, as in a full socket.
                let _ = sender.send(packet);
            }
            rest = &rest[HEADER_BYTES + packet.len()..];
        }
        let taken = self.bytes.len() - rest.len();
        self.bytes.drain(..taken);
        Some(())
    }

    async fn more(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Option<()> {
        self.bytes.reserve(READ_BYTES);
        match reader.read_buf(&mut self.bytes).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

/// Writes what the worker has for the peer.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut receiver: StreamReceiver,
    bell: &Notify,
    answered: &Answered,
    limits: &Limits,
    metrics: &Metrics,
) {
    let mut out = Vec::with_capacity(WRITE_BYTES_MAX);
    loop {
        while out.len() < WRITE_BYTES_MAX && receiver.receive_framed(&mut out) {}
        if out.is_empty() {
            if receiver.is_over() {
                return;
            }
            bell.notified().await;
            continue;
        }
        answered.note();
        match timeout(limits.stream_write_timeout, writer.write_all(&out)).await {
            Ok(Ok(())) => out.clear(),
            Ok(Err(_)) => return,
            Err(_) => return metrics.count(Count::StreamsStalled),
        }
    }
}
