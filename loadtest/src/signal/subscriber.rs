//! The connection that a server of the LiveKit protocol offers to clients with two of them: what such
//! a client receives.
//!
//! Every section is the server's; all are taken. It is a member of its own beside the one that
//! publishes, and both belong to one participant.

use std::net::IpAddr;

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::{Signals, Socket, fresh_credentials};
use crate::client::peer::Credentials;
use crate::client::sdp::{self, Direction, Local, Remote, Section};
use crate::client::worker::{Command, MemberEvent, MemberId};

/// Marks the member that receives.
const RECEIVING: MemberId = 1 << 24;

/// The member that receives for a participant with two connections.
pub(crate) fn receiving(participant: MemberId) -> MemberId {
    participant | RECEIVING
}

/// One participant's receiving connection.
pub(crate) struct Subscriber<'a> {
    signals: &'a Signals,
    id: MemberId,
    host: Option<IpAddr>,
    local: Local,
    socket: Option<Socket>,
    version: u32,
    /// The server's user name fragment of its last offer.
    ufrag: String,
    early_candidates: Vec<String>,
    waiting: Option<Remote>,
    events: Option<mpsc::UnboundedReceiver<MemberEvent>>,
}

impl<'a> Subscriber<'a> {
    /// Opens a socket for the participant; `host` is where the signalling is.
    pub(crate) fn open(
        signals: &'a Signals,
        participant: MemberId,
        host: Option<IpAddr>,
    ) -> Result<Self> {
        let socket = signals.open_socket()?;
        Ok(Self {
            signals,
            id: receiving(participant),
            host,
            local: socket.local.clone(),
            socket: Some(socket),
            version: 0,
            ufrag: String::new(),
            early_candidates: Vec::new(),
            waiting: None,
            events: None,
        })
    }

    /// Takes an offer and gives the answer.
    pub(crate) fn answer(&mut self, offer: &str) -> Result<String> {
        let mut remote = Remote::parse(offer).context("an unusable offer")?;
        if !self.ufrag.is_empty() && self.ufrag != remote.ufrag {
            self.restart(&remote);
        }
        self.ufrag.clone_from(&remote.ufrag);
        self.version += 1;
        let sections: Vec<Section> = remote
            .sections
            .iter()
            .map(|section| Section {
                kind: section.kind,
                mid: section.mid.clone(),
                direction: match section.is_active {
                    true => Direction::RecvOnly,
                    false => Direction::Inactive,
                },
                sending: None,
                payload_types: section.payload_types,
                ids: section.ids,
            })
            .collect();
        let answer = sdp::write(&self.local, self.version, "active", &sections);
        if self.socket.is_some() {
            for candidate in &self.early_candidates {
                remote.add_candidate(candidate);
            }
            self.waiting = Some(remote);
            self.connect_if_possible()?;
        }
        Ok(answer)
    }

    /// Takes an address of the server that came by itself.
    pub(crate) fn add_candidate(&mut self, candidate: &str) -> Result<()> {
        let candidate = candidate.strip_prefix("candidate:").unwrap_or(candidate);
        match &mut self.waiting {
            Some(remote) => remote.add_candidate(candidate),
            None => self.early_candidates.push(candidate.to_owned()),
        }
        self.connect_if_possible()
    }

    /// The next thing that becomes of the transport.
    pub(crate) async fn event(&mut self) -> MemberEvent {
        match super::next_event(&mut self.events).await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    fn restart(&mut self, remote: &Remote) {
        let local = fresh_credentials();
        (self.local.ufrag, self.local.password) = (local.ufrag.clone(), local.password.clone());
        let remote = Credentials {
            ufrag: remote.ufrag.clone(),
            password: remote.password.clone(),
        };
        let id = self.id;
        self.signals
            .worker(id)
            .send(Command::Restart { id, local, remote });
    }

    fn connect_if_possible(&mut self) -> Result<()> {
        let has_way = |remote: &Remote| !remote.candidates.is_empty() || self.signals.via.is_some();
        if !self.waiting.as_ref().is_some_and(has_way) {
            return Ok(());
        }
        let (Some(mut remote), Some(socket)) = (self.waiting.take(), self.socket.take()) else {
            return Ok(());
        };
        // Extension ids and payload types of later sections are those of servers that take ours.
        for section in &mut remote.sections {
            section.ids.transport_cc = section.ids.transport_cc.max(TRANSPORT_CC);
            section.payload_types.1 = section.payload_types.1.max(sdp::VP8_RTX);
        }
        let events = self
            .signals
            .start_transport(self.id, socket, &remote, self.host, true, true)?;
        self.events = Some(events);
        Ok(())
    }
}

const TRANSPORT_CC: u8 = sdp::ExtensionIds::OFFERED.transport_cc;
