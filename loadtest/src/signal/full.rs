//! The media side of a session with a whole WebRTC stack, the `webrtc` crate.
//!
//! What the light client writes by hand (descriptions, checks, feedback, resending) is done here
//! by a stack that others wrote, so that a server is not only judged by a client of our own. It
//! costs a hundred times more, so it serves a few participants of a run; payloads, stamps and
//! figures are the same.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::marshal::Unmarshal;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCPeerConnectionState,
    Registry,
};

use super::{Announced, JoinSpec, Media, Publish, Signals};
use crate::client::audience::Audience;
use crate::client::payload::Stamp;
use crate::client::sdp::{ExtensionIds, Kind, OPUS, Remote, VP8};
use crate::client::sender::{Content, SendingTrack, TrackPlan};
use crate::client::worker::{MemberEvent, MemberId, Shared};

/// What participants with a whole stack get.
pub(crate) type Audiences = HashMap<MemberId, Arc<Mutex<Audience>>>;

/// The stack answers keyframe requests to nobody, so every publication sends one regularly.
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(1);

/// One participant's connection.
pub(crate) struct Full<'a> {
    signals: &'a Signals,
    spec: &'a JoinSpec,
    connection: Arc<dyn PeerConnection>,
    events: mpsc::UnboundedReceiver<MemberEvent>,
    is_answered: bool,
    waiting: Vec<(Announced, Arc<TrackLocalStaticRTP>)>,
    tasks: Vec<JoinHandle<()>>,
}

impl<'a> Full<'a> {
    /// Makes a connection that binds to `ip` or loopback.
    pub(crate) async fn open(
        signals: &'a Signals,
        spec: &'a JoinSpec,
        ip: Option<IpAddr>,
    ) -> Result<Self> {
        let audience: Arc<Mutex<Audience>> = Arc::default();
        remember(signals, spec.id, &audience);
        let (sender, events) = mpsc::unbounded_channel();
        let (state, connected) = watch::channel(false);
        let shared = signals.shared.clone();
        let handler = Handler {
            audience,
            shared,
            state,
            events: sender.clone(),
        };
        let mut engine = MediaEngine::default();
        engine.register_default_codecs()?;
        let registry = register_default_interceptors(Registry::new(), &mut engine)?;
        let ip = ip.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let connection = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(handler))
            .with_runtime(webrtc::runtime::default_runtime().context("no runtime")?)
            .with_udp_addrs(vec![format!("{ip}:0")])
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let reliable = connection.create_data_channel("_reliable", None).await?;
        let init = RTCDataChannelInit {
            ordered: false,
            max_retransmits: Some(0),
            ..RTCDataChannelInit::default()
        };
        let lossy = connection.create_data_channel("_lossy", Some(init)).await?;
        let opened = tokio::spawn(announce_when_open(connected, [reliable, lossy], sender));
        Ok(Self {
            signals,
            spec,
            connection,
            events,
            is_answered: false,
            waiting: Vec::new(),
            tasks: vec![opened],
        })
    }

    /// The stack ignores candidates in sections that are not used yet, and for the first who joins
    /// none is.
    async fn add_candidates(&self, remote: &Remote) -> Result<()> {
        let mid = remote.sections.first().map(|section| section.mid.clone());
        for address in &remote.candidates {
            let (ip, port) = (address.ip(), address.port());
            let init = RTCIceCandidateInit {
                candidate: format!("candidate:1 1 udp 2130706431 {ip} {port} typ host"),
                sdp_mid: mid.clone(),
                sdp_mline_index: Some(0),
                ..RTCIceCandidateInit::default()
            };
            self.connection.add_ice_candidate(init).await?;
        }
        Ok(())
    }

    fn start_sending(&mut self, remote: &Remote) {
        let offered = self
            .waiting
            .iter()
            .map(|(announced, _)| announced.ssrcs.len())
            .sum::<usize>();
        debug_assert!(
            offered == self.waiting.len(),
            "a whole stack sends single layers"
        );
        let is_agreed = remote.sections.iter().any(|section| section.is_active);
        if !is_agreed {
            return;
        }
        for (announced, local) in self.waiting.drain(..) {
            let is_audio = matches!(announced.track.content, Content::Audio(_));
            let plan = self.signals.register(&Publish {
                owner: self.spec.id,
                sender: self.spec.id,
                room: self.spec.room,
                track: &announced.track,
                ssrcs: &announced.ssrcs,
                mid: "",
                // The stack writes the extensions it has agreed on.
                ids: ExtensionIds::NONE,
                payload_types: (if is_audio { OPUS } else { VP8 }, 0),
            });
            let shared = self.signals.shared.clone();
            self.tasks.push(tokio::spawn(publish(plan, local, shared)));
        }
    }
}

impl Media for Full<'_> {
    async fn add_receiving(&mut self, kind: Kind, count: u32) -> Result<()> {
        for _ in 0..count {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                streams: Vec::new(),
                send_encodings: Vec::new(),
            };
            self.connection
                .add_transceiver_from_kind(kind_of(kind), Some(init))
                .await?;
        }
        Ok(())
    }

    async fn add_sending(&mut self, announced: Announced) -> Result<()> {
        let is_audio = matches!(announced.track.content, Content::Audio(_));
        let kind = if is_audio { Kind::Audio } else { Kind::Video };
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: announced.ssrcs.first().copied(),
                ..RTCRtpCodingParameters::default()
            },
            codec: codec_of(is_audio),
            ..RTCRtpEncodingParameters::default()
        };
        let (stream, cid) = (format!("load-{}", self.spec.id), announced.cid.clone());
        let track = MediaStreamTrack::new(stream, cid.clone(), cid, kind_of(kind), vec![coding]);
        let local = Arc::new(TrackLocalStaticRTP::new(track));
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        };
        let as_track: Arc<dyn TrackLocal> = local.clone();
        self.connection
            .add_transceiver_from_track(as_track, Some(init))
            .await?;
        self.waiting.push((announced, local));
        Ok(())
    }

    async fn offer(&mut self) -> Result<String> {
        let offer = self.connection.create_offer(None).await?;
        let sdp = offer.sdp.clone();
        self.connection.set_local_description(offer).await?;
        Ok(sdp)
    }

    async fn on_answer(&mut self, sdp: &str) -> Result<()> {
        let remote = Remote::parse(sdp).context("an unusable answer")?;
        let answer = RTCSessionDescription::answer(sdp.to_owned())?;
        self.connection.set_remote_description(answer).await?;
        if !std::mem::replace(&mut self.is_answered, true) {
            self.add_candidates(&remote).await?;
        }
        self.start_sending(&remote);
        Ok(())
    }

    async fn add_candidate(&mut self, _candidate: &str) -> Result<()> {
        // The server's candidates are in its answers; what trickles is a repetition.
        Ok(())
    }

    async fn event(&mut self) -> MemberEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    async fn close(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
        // It is thrown away either way.
        let _ = self.connection.close().await;
    }
}

/// Hears what happens to the connection.
#[derive(Clone)]
struct Handler {
    audience: Arc<Mutex<Audience>>,
    shared: Arc<Shared>,
    state: watch::Sender<bool>,
    events: mpsc::UnboundedSender<MemberEvent>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        match state {
            // Nobody may be waiting any more.
            RTCPeerConnectionState::Connected => _ = self.state.send(true),
            RTCPeerConnectionState::Failed => {
                _ = self
                    .events
                    .send(MemberEvent::Failed("the connection failed"));
            }
            _ => {}
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(watch_track(
            track,
            self.audience.clone(),
            self.shared.clone(),
        ));
    }
}

async fn watch_track(
    track: Arc<dyn TrackRemote>,
    audience: Arc<Mutex<Audience>>,
    shared: Arc<Shared>,
) {
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else {
            continue;
        };
        let run = shared.run();
        if let Some(stamp) = Stamp::read(&packet.payload, run.number) {
            let mut audience = audience.lock().expect("no holder panics");
            audience.handle(Instant::now(), &run, &stamp);
        }
    }
}

/// Tells that a participant is there when media can flow and both channels are open.
async fn announce_when_open(
    mut connected: watch::Receiver<bool>,
    channels: [Arc<dyn DataChannel>; 2],
    events: mpsc::UnboundedSender<MemberEvent>,
) {
    if connected.wait_for(|is| *is).await.is_err() {
        return;
    }
    for channel in channels {
        while let Some(event) = channel.poll().await {
            if matches!(event, DataChannelEvent::OnOpen) {
                break;
            }
        }
    }
    // The session may have ended.
    let _ = events.send(MemberEvent::Connected(
        "as the `webrtc` crate prefers".to_owned(),
    ));
    // The connection closes its channels when nobody listens.
    std::future::pending::<()>().await;
}

/// Sends a publication's frames at its pace.
async fn publish(plan: TrackPlan, track: Arc<TrackLocalStaticRTP>, shared: Arc<Shared>) {
    let mut frames = tokio::time::interval(Duration::from_nanos(plan.period()));
    let ssrc = plan.ssrcs.first().copied().unwrap_or_default();
    let mut sending = SendingTrack::new(plan);
    let (mut unused, mut last_keyframe) = (0, Instant::now());
    loop {
        frames.tick().await;
        if last_keyframe.elapsed() > KEYFRAME_INTERVAL {
            last_keyframe = Instant::now();
            sending.on_keyframe_request(ssrc);
        }
        let (now, mut packets) = (shared.epoch.elapsed().as_nanos() as u64, Vec::new());
        sending.frame(now, shared.run().window, &mut unused, |p| {
            packets.push(p.to_vec());
        });
        for packet in packets {
            let Ok(packet) = rtc::rtp::Packet::unmarshal(&mut &packet[..]) else {
                continue;
            };
            // Before the connection stands there is nowhere to send to.
            let _ = track.write_rtp(packet).await;
        }
    }
}

fn remember(signals: &Signals, id: MemberId, audience: &Arc<Mutex<Audience>>) {
    signals
        .full
        .lock()
        .expect("no holder panics")
        .insert(id, audience.clone());
}

fn kind_of(kind: Kind) -> RtpCodecKind {
    if kind == Kind::Audio {
        RtpCodecKind::Audio
    } else {
        RtpCodecKind::Video
    }
}

fn codec_of(is_audio: bool) -> RTCRtpCodec {
    let (mime_type, clock_rate, channels) = if is_audio {
        ("audio/opus", 48_000, 2)
    } else {
        ("video/VP8", 90_000, 0)
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: Vec::new(),
    }
}
