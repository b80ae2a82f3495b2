//! The media side of a session with a light client: hand-written offers, a worker's transport.

use std::net::IpAddr;

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::{Announced, JoinSpec, Media, Publish, Signals, Socket, fresh_credentials};
use crate::client::peer::Credentials;
use crate::client::sdp::{self, Kind, Local, Remote, Section, Sending};
use crate::client::sender::Content;
use crate::client::worker::{Command, MemberEvent};

/// Sections that a server may ask for at a time; a room of this tool is never larger.
const SECTIONS_MAX: u32 = 1_000;

/// One participant's sections and, once answered, its transport.
pub(crate) struct Light<'a> {
    signals: &'a Signals,
    spec: &'a JoinSpec,
    host: Option<IpAddr>,
    local: Local,
    socket: Option<Socket>,
    sections: Vec<Section>,
    version: u32,
    sendings: Vec<SendingSection>,
    early_candidates: Vec<String>,
    waiting: Option<Remote>,
    /// Own credentials that the next answer makes good.
    restarting: Option<Credentials>,
    events: Option<mpsc::UnboundedReceiver<MemberEvent>>,
}

struct SendingSection {
    announced: Announced,
    section: usize,
    is_sending: bool,
}

impl<'a> Light<'a> {
    /// Opens a socket; `host` is where the signalling is.
    pub(crate) fn open(
        signals: &'a Signals,
        spec: &'a JoinSpec,
        host: Option<IpAddr>,
    ) -> Result<Self> {
        let socket = signals.open_socket()?;
        Ok(Self {
            signals,
            spec,
            host,
            local: socket.local.clone(),
            socket: Some(socket),
            sections: Vec::new(),
            version: 0,
            sendings: Vec::new(),
            early_candidates: Vec::new(),
            waiting: None,
            restarting: None,
            events: None,
        })
    }

    /// Offers fresh credentials from now on, as clients do that have come back.
    pub(crate) fn restart(&mut self) {
        let fresh = fresh_credentials();
        (self.local.ufrag, self.local.password) = (fresh.ufrag.clone(), fresh.password.clone());
        match &mut self.socket {
            Some(socket) => socket.credentials = fresh,
            None => self.restarting = Some(fresh),
        }
    }

    fn start_sending(&mut self, remote: &Remote) {
        for sending in self
            .sendings
            .iter_mut()
            .filter(|sending| !sending.is_sending)
        {
            let section = &self.sections[sending.section];
            let agreed = remote
                .section(&section.mid)
                .filter(|agreed| agreed.is_active);
            let Some(agreed) = agreed else { continue };
            sending.is_sending = true;
            self.signals.publish(&Publish {
                owner: self.spec.id,
                sender: self.spec.id,
                room: self.spec.room,
                track: &sending.announced.track,
                ssrcs: &sending.announced.ssrcs,
                mid: &section.mid,
                ids: agreed.ids,
                payload_types: section.payload_types,
            });
        }
    }

    /// Starts the transport when there is an answer with an address.
    fn connect_if_possible(&mut self) -> Result<()> {
        let has_way = |remote: &Remote| !remote.candidates.is_empty() || self.signals.via.is_some();
        if !self.waiting.as_ref().is_some_and(has_way) {
            return Ok(());
        }
        let (Some(answered), Some(socket)) = (self.waiting.take(), self.socket.take()) else {
            return Ok(());
        };
        let mut remote = answered.clone();
        // Extension ids and payload types of later sections are those of our offers.
        for section in &mut remote.sections {
            section.ids.transport_cc = sdp::ExtensionIds::OFFERED.transport_cc;
            section.payload_types.1 = sdp::VP8_RTX;
        }
        let is_client = remote.setup != "active";
        let (signals, id) = (self.signals, self.spec.id);
        let events = signals.start_transport(id, socket, &remote, self.host, is_client, true)?;
        self.events = Some(events);
        // The worker must know a transport before it can send over it.
        self.start_sending(&answered);
        Ok(())
    }
}

impl Media for Light<'_> {
    async fn add_receiving(&mut self, kind: Kind, count: u32) -> Result<()> {
        for _ in 0..count.min(SECTIONS_MAX) {
            self.sections
                .push(Section::offered(kind, self.sections.len(), None));
        }
        Ok(())
    }

    async fn add_sending(&mut self, announced: Announced) -> Result<()> {
        let kind = match announced.track.content {
            Content::Audio(_) => Kind::Audio,
            Content::Video(_) => Kind::Video,
        };
        let Announced { cid, ssrcs, .. } = announced.clone();
        let number = self.sections.len();
        let mut section = Section::offered(kind, number, Some(Sending { cid, ssrcs }));
        // A light publisher resends in the original stream.
        section.payload_types.1 = 0;
        self.sections.push(section);
        self.sendings.push(SendingSection {
            announced,
            section: number,
            is_sending: false,
        });
        Ok(())
    }

    async fn offer(&mut self) -> Result<String> {
        if self.version == 0 {
            // Behind the first sections, where LiveKit's own clients have it.
            self.sections.push(Section::offered(
                Kind::Application,
                self.sections.len(),
                None,
            ));
        }
        self.version += 1;
        Ok(sdp::write(
            &self.local,
            self.version,
            "actpass",
            &self.sections,
        ))
    }

    async fn on_answer(&mut self, sdp: &str) -> Result<()> {
        let mut remote = Remote::parse(sdp).context("an unusable answer")?;
        self.early_candidates
            .iter()
            .for_each(|candidate| remote.add_candidate(candidate));
        if let Some(local) = self.restarting.take() {
            let (id, worker) = (self.spec.id, self.signals.worker(self.spec.id));
            let other = Credentials {
                ufrag: remote.ufrag.clone(),
                password: remote.password.clone(),
            };
            worker.send(Command::Restart {
                id,
                local,
                remote: other,
            });
        }
        if self.socket.is_some() {
            self.waiting = Some(remote);
            return self.connect_if_possible();
        }
        self.start_sending(&remote);
        Ok(())
    }

    async fn add_candidate(&mut self, candidate: &str) -> Result<()> {
        let candidate = candidate.strip_prefix("candidate:").unwrap_or(candidate);
        match &mut self.waiting {
            Some(remote) => remote.add_candidate(candidate),
            None => self.early_candidates.push(candidate.to_owned()),
        }
        self.connect_if_possible()
    }

    async fn event(&mut self) -> MemberEvent {
        match super::next_event(&mut self.events).await {
            Some(event) => event,
            // Summed up and forgotten: nothing more will happen until it is time to leave.
            None => std::future::pending().await,
        }
    }

    async fn close(&mut self) {}
}
