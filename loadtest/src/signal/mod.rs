//! How synthetic participants get into rooms: one adapter per kind of server.
//!
//! An adapter turns a [`JoinSpec`] into a transport served by a worker and keeps it alive until
//! told to leave. What participants then do to each other is the same for every server, so that
//! figures can be compared.

#[cfg(feature = "full")]
pub(crate) mod full;
pub(crate) mod janus;
pub(crate) mod light;
pub(crate) mod livekit;
mod requests;
pub(crate) mod subscriber;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot, watch};

use crate::client::audience::{Outcome, Spans};
use crate::client::peer::{Credentials, Identity, Peer};
use crate::client::sdp::{ExtensionIds, Kind, Local, Remote};
use crate::client::sender::{Content, SourceRecord, TrackPlan};
use crate::client::worker::{Command, MemberEvent, MemberId, Shared, WorkerHandle};
use crate::sys;

/// What a participant is to do.
#[derive(Debug, Clone)]
pub(crate) struct JoinSpec {
    /// Its number, unique in the run.
    pub(crate) id: MemberId,
    /// Number of its room.
    pub(crate) room: u32,
    /// Tracks to publish.
    pub(crate) tracks: Vec<TrackSpec>,
    /// Others in the room who publish, for servers that must be asked for each of them.
    pub(crate) publishers: u32,
    /// Whether it receives over a connection of its own, as older clients do.
    pub(crate) has_two: bool,
}

/// A track to publish.
#[derive(Debug, Clone)]
pub(crate) struct TrackSpec {
    /// What it sends.
    pub(crate) content: Content,
    /// Whether it is a screen and no camera.
    pub(crate) is_screen: bool,
    /// Its turn among the speakers of the room.
    pub(crate) turn: Option<(u32, u32, u64)>,
}

impl TrackSpec {
    /// Simulcast layers.
    pub(crate) fn layers(&self) -> u32 {
        match self.content {
            Content::Audio(_) => 1,
            Content::Video(video) => video.layers.clamp(1, 3),
        }
    }
}

/// A publication as all know it who judge its receivers.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    /// Its number; odd ones are video.
    pub(crate) number: u32,
    /// Number of the room.
    pub(crate) room: u32,
    /// Who publishes it.
    pub(crate) owner: MemberId,
    /// One per layer.
    pub(crate) records: Vec<Arc<SourceRecord>>,
}

/// A track that the server has been told of.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    /// What it sends.
    pub(crate) track: TrackSpec,
    /// The client's id of it.
    pub(crate) cid: String,
    /// One per layer.
    pub(crate) ssrcs: Vec<u32>,
}

/// The media side of a session in which the client makes all offers.
pub(crate) trait Media: Send {
    /// Adds sections to receive in.
    fn add_receiving(&mut self, kind: Kind, count: u32) -> impl Future<Output = Result<()>> + Send;
    /// Adds a section to send in; it starts when it is answered.
    fn add_sending(&mut self, announced: Announced) -> impl Future<Output = Result<()>> + Send;
    /// Describes all sections.
    fn offer(&mut self) -> impl Future<Output = Result<String>> + Send;
    /// Takes the answer to the last offer.
    fn on_answer(&mut self, sdp: &str) -> impl Future<Output = Result<()>> + Send;
    /// Takes an address of the server that came by itself.
    fn add_candidate(&mut self, candidate: &str) -> impl Future<Output = Result<()>> + Send;
    /// The next thing that becomes of the transport.
    fn event(&mut self) -> impl Future<Output = MemberEvent> + Send;
    /// Lets go of everything that does not end by itself.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// What became of a join.
#[derive(Debug, Clone)]
pub(crate) enum JoinEvent {
    /// Media can flow; the SRTP profile.
    Connected(MemberId, Instant, String),
    /// It is over, with the reason.
    Failed(MemberId, String),
}

/// What all adapters share.
pub(crate) struct Signals {
    /// The run.
    pub(crate) shared: Arc<Shared>,
    /// Threads that serve participants.
    pub(crate) workers: Vec<WorkerHandle>,
    /// The certificate of all.
    pub(crate) identity: Identity,
    /// All publications so far.
    pub(crate) publications: Mutex<Vec<Publication>>,
    /// The next pair of publication numbers.
    pub(crate) next_number: AtomicU32,
    /// Where to tell what became of joins.
    pub(crate) events: mpsc::UnboundedSender<JoinEvent>,
    /// Send media here, whatever address the server names.
    pub(crate) via: Option<SocketAddr>,
    /// Bind media sockets to this address.
    pub(crate) bind: Option<IpAddr>,
    /// What participants with a whole stack get.
    #[cfg(feature = "full")]
    pub(crate) full: Mutex<full::Audiences>,
}

/// The media side of a participant before it knows its server.
pub(crate) struct Socket {
    socket: UdpSocket,
    credentials: Credentials,
    /// What descriptions say of it.
    pub(crate) local: Local,
}

impl Signals {
    /// The worker of a participant.
    pub(crate) fn worker(&self, id: MemberId) -> &WorkerHandle {
        &self.workers[id as usize % self.workers.len()]
    }

    /// A socket with credentials for one transport.
    pub(crate) fn open_socket(&self) -> Result<Socket> {
        let ip = self.bind.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let socket = UdpSocket::bind((ip, 0)).context("binding a media socket")?;
        socket.set_nonblocking(true)?;
        // Without it every datagram comes alone, which costs CPU time and changes no figure.
        let _ = sys::join_received_trains(socket.as_fd());
        socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20)?;
        let credentials = fresh_credentials();
        let mut address = socket.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::from([127, 0, 0, 1]));
        }
        let local = Local {
            ufrag: credentials.ufrag.clone(),
            password: credentials.password.clone(),
            fingerprint: self.identity.fingerprint.clone(),
            address,
        };
        Ok(Socket {
            socket,
            credentials,
            local,
        })
    }

    /// Starts the transport of member `id` towards what the server says of itself. `host` is
    /// where its signalling is; the candidate with that address is preferred.
    pub(crate) fn start_transport(
        &self,
        id: MemberId,
        socket: Socket,
        remote: &Remote,
        host: Option<IpAddr>,
        is_dtls_client: bool,
        wants_channels: bool,
    ) -> Result<mpsc::UnboundedReceiver<MemberEvent>> {
        let server = self.via.or_else(|| choose(&remote.candidates, host));
        let server = server.context("the server names no UDP address")?;
        let Socket {
            socket,
            credentials,
            ..
        } = socket;
        socket
            .connect(server)
            .with_context(|| format!("no way to {server}"))?;
        let now = Instant::now();
        let peer = Peer::new(
            now,
            &self.identity,
            credentials,
            remote,
            is_dtls_client,
            wants_channels,
        );
        let transport_cc_id = remote
            .sections
            .iter()
            .map(|section| section.ids.transport_cc)
            .max();
        let resend_type = remote
            .sections
            .iter()
            .map(|section| section.payload_types.1)
            .max();
        let (events, receiver) = mpsc::unbounded_channel();
        self.worker(id).send(Command::Add {
            id,
            socket,
            server,
            peer: Box::new(peer),
            transport_cc_id: transport_cc_id.unwrap_or(0),
            resend_type: resend_type.unwrap_or(0),
            events,
        });
        Ok(receiver)
    }

    /// Sums up a participant and forgets it; nothing comes if nobody serves it.
    pub(crate) fn finish(&self, id: MemberId, spans: Spans) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        #[cfg(feature = "full")]
        if let Some(audience) = self.full.lock().expect("no holder panics").remove(&id) {
            let audience = std::mem::take(&mut *audience.lock().expect("no holder panics"));
            // The receiver is at hand.
            let _ = reply.send(audience.finish(&spans));
            return outcome;
        }
        self.worker(id).send(Command::Finish { id, spans, reply });
        outcome
    }

    /// Registers a publication and lets its owner send it.
    pub(crate) fn publish(&self, publish: &Publish<'_>) {
        let id = publish.sender;
        self.worker(id).send(Command::Publish {
            id,
            plan: self.register(publish),
        });
    }

    /// Registers a publication; its owner sends it.
    pub(crate) fn register(&self, publish: &Publish<'_>) -> TrackPlan {
        let number = self.next_number.fetch_add(2, Ordering::Relaxed);
        let number = number | u32::from(matches!(publish.track.content, Content::Video(_)));
        let records: Vec<Arc<SourceRecord>> =
            publish.ssrcs.iter().map(|_| Arc::default()).collect();
        let plan = TrackPlan {
            run: self.shared.run,
            source: number << 2,
            records: records.clone(),
            ssrcs: publish.ssrcs.to_vec(),
            mid: publish.mid.to_owned(),
            ids: publish.ids,
            payload_types: publish.payload_types,
            content: publish.track.content.clone(),
            turn: publish.track.turn,
        };
        let (room, owner) = (publish.room, publish.owner);
        let publication = Publication {
            number,
            room,
            owner,
            records,
        };
        self.publications
            .lock()
            .expect("no holder panics")
            .push(publication);
        plan
    }
}

/// A publication whose section is agreed.
pub(crate) struct Publish<'a> {
    /// Who publishes it.
    pub(crate) owner: MemberId,
    /// Whose transport sends it: another one where publishing has its own.
    pub(crate) sender: MemberId,
    /// Number of the room.
    pub(crate) room: u32,
    /// What it sends.
    pub(crate) track: &'a TrackSpec,
    /// One per layer.
    pub(crate) ssrcs: &'a [u32],
    /// Name of its section.
    pub(crate) mid: &'a str,
    /// Agreed extension ids.
    pub(crate) ids: ExtensionIds,
    /// Agreed codec and resending.
    pub(crate) payload_types: (u8, u8),
}

/// Told to leave by a value of `true`.
pub(crate) type LeaveSignal = watch::Receiver<bool>;

/// Returns when it is time to leave; a run that has ended leaves too.
async fn told_to_leave(leave: &mut LeaveSignal) {
    let _ = leave.wait_for(|leave| *leave).await;
}

/// The next event of a member, or never if there is none yet.
async fn next_event(
    events: &mut Option<mpsc::UnboundedReceiver<MemberEvent>>,
) -> Option<MemberEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// The address of the signalling host if it is among the candidates, else loopback, else IPv4.
fn choose(candidates: &[SocketAddr], host: Option<IpAddr>) -> Option<SocketAddr> {
    let find = |is: &dyn Fn(&&SocketAddr) -> bool| candidates.iter().find(is).copied();
    find(&|candidate| Some(candidate.ip()) == host)
        .or_else(|| find(&|candidate| candidate.ip().is_loopback()))
        .or_else(|| find(&|candidate| candidate.is_ipv4()))
}

fn fresh_credentials() -> Credentials {
    Credentials {
        ufrag: random_text(8),
        password: random_text(24),
    }
}

/// Letters and digits nobody can guess, for ICE credentials.
fn random_text(len: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = vec![0; len];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte & 63)]))
        .collect()
}

/// An SSRC nobody else of the run has: members have numbers, tracks and layers are few.
pub(crate) fn ssrc_of(member: MemberId, track: usize, layer: u32) -> u32 {
    0x1000_0000 + (member << 6) + (track as u32 * 4) + layer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_address_is_preferred_then_loopback_then_ipv4() {
        let all: Vec<SocketAddr> = ["[::2]:1", "10.0.0.1:2", "127.0.0.1:3"]
            .iter()
            .map(|a| a.parse().expect("address"))
            .collect();
        let host = "10.0.0.1".parse().ok();
        assert_eq!(choose(&all, host), Some(all[1]));
        assert_eq!(choose(&all, None), Some(all[2]));
        assert_eq!(choose(&all[..2], None), Some(all[1]));
        assert_eq!(choose(&[], host), None);
    }

    #[test]
    fn credentials_have_their_length_and_differ() {
        assert_eq!(random_text(24).len(), 24);
        assert_ne!(random_text(24), random_text(24));
    }
}
