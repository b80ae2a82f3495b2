//! Our answer to an offer, and our own offers, as text.
//!
//! An answer is a reply to each section in order, an offer says the same of sections that are ours.
//! Sections that may be used again stay in the bundle as `inactive` with port 9: port 0 would retire
//! them for good, and a bundle whose first section is retired loses its transport. What a section of
//! ours carries is decided elsewhere.

use std::fmt::Write;
use std::net::SocketAddr;

use sfu::media::{Codec, CodecParams, MediaKind};
use sfu::transport::params::{Fingerprint, IceCredentials};
use sfu::unit::Ssrc;

use super::parse::{Extension, Feedback, Offer, OfferedCodec, Section, SectionKind};

/// What every section of a description of ours says about the one transport.
#[derive(Clone, Copy, Debug)]
pub struct Transport<'a> {
    /// Names this description; constant for the life of a transport.
    pub session_id: u64,
    /// Counts its descriptions.
    pub version: u64,
    /// Our credentials.
    pub ice: &'a IceCredentials,
    /// Our certificate.
    pub fingerprint: Fingerprint,
    /// Where we listen, the best first.
    pub candidates: &'a [SocketAddr],
    /// Where the peer may connect to if it has no UDP; told in the first section, after those.
    pub tcp_candidates: &'a [SocketAddr],
    /// The largest data channel message that we take.
    pub message_size_max: usize,
}

/// What we say of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Never.
    Reject,
    /// Nothing for now.
    Idle,
    /// Send us this.
    Receive {
        /// With these codecs, the preferred first.
        codecs: Vec<CodecParams>,
        /// How sound is to be encoded.
        audio: AudioHints,
    },
    /// You will get this.
    Send(Sending),
    /// Data channels, gladly.
    Data,
}

/// What a publisher of sound is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudioHints {
    /// Send nothing while nobody speaks.
    pub dtx: bool,
    /// Two channels at a bit rate for music.
    pub stereo: bool,
}

/// What a subscriber will get in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// `<participant>|<stream>`: what belongs together and is kept in step.
    pub stream: String,
    /// The track's id.
    pub track: String,
    /// Who sends, for lip-sync; the participant's id.
    pub cname: String,
    /// Our source.
    pub ssrc: Ssrc,
    /// Our source of retransmissions.
    pub rtx_ssrc: Option<Ssrc>,
    /// Two channels.
    pub stereo: bool,
}

impl Sending {
    /// The same, with the track's id in place of the stream's: for those who go by that. It is not
    /// kept in step with others of its stream then.
    #[must_use]
    pub fn named_by_stream(self) -> Self {
        Self {
            stream: format!("{}|{}", self.cname, self.track),
            ..self
        }
    }
}

/// Writes the answer. There must be one reply for each section of the offer.
pub fn answer(offer: &Offer, transport: &Transport<'_>, replies: &[Reply]) -> String {
    // We are ICE-lite and the DTLS server, so that a client's first packet after its checks is
    // already one of the handshake.
    describe(&offer.sections, transport, "passive", replies)
}

/// Writes an offer of ours, with what each of its sections carries now.
pub fn offer(sections: &[Section], transport: &Transport<'_>, replies: &[Reply]) -> String {
    // RFC 8829 section 5.2.1 wants the choice left open; clients take the active part.
    describe(sections, transport, "actpass", replies)
}

fn describe(
    sections: &[Section],
    transport: &Transport<'_>,
    setup: &'static str,
    replies: &[Reply],
) -> String {
    assert_eq!(
        sections.len(),
        replies.len(),
        "something is said of each section"
    );
    // Chromium's sections come to about 900 bytes each.
    let mut text = Lines(String::with_capacity(512 + 1_024 * replies.len()));
    write_head(&mut text, sections, transport, replies);
    let mut candidates = (transport.candidates, transport.tcp_candidates);
    for (section, reply) in sections.iter().zip(replies) {
        if *reply == Reply::Reject {
            write_rejected(&mut text, section);
            continue;
        }
        write_section(&mut text, section, (transport, setup), reply);
        // A bundle has one transport: its first section says where it is.
        let (udp, tcp) = std::mem::take(&mut candidates);
        write_candidates(&mut text, udp, tcp);
    }
    text.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a string takes everything");
        self.0.push_str("\r\n");
    }
}

macro_rules! line {
    ($text:expr, $($part:tt)*) => { $text.line(format_args!($($part)*)) };
}

fn write_head(
    text: &mut Lines,
    sections: &[Section],
    transport: &Transport<'_>,
    replies: &[Reply],
) {
    line!(text, "v=0");
    let (id, version) = (transport.session_id, transport.version);
    line!(text, "o=- {id} {version} IN IP4 127.0.0.1");
    line!(text, "s=-");
    line!(text, "t=0 0");
    line!(text, "a=ice-lite");
    let mids: Vec<&str> = sections
        .iter()
        .zip(replies)
        .filter(|(_, reply)| **reply != Reply::Reject)
        .map(|(section, _)| &*section.mid)
        .collect();
    line!(text, "a=group:BUNDLE {}", mids.join(" "));
    // Dependency descriptors may be longer than the one-byte form of header extensions holds, and
    // whoever was not told that forms may be mixed leaves those out (RFC 8285 section 6).
    if sections.iter().all(|section| section.mixes_extensions) {
        line!(text, "a=extmap-allow-mixed");
    }
    line!(text, "a=msid-semantic: WMS *");
}

fn write_rejected(text: &mut Lines, section: &Section) {
    match section.kind {
        SectionKind::Media(kind) => {
            let payload_type = section.first_payload_type.map_or(0, |number| number.0);
            let name = media_name(kind);
            line!(text, "m={name} 0 UDP/TLS/RTP/SAVPF {payload_type}");
        }
        SectionKind::Data | SectionKind::Other => {
            line!(text, "m=application 0 UDP/DTLS/SCTP webrtc-datachannel");
        }
    }
    line!(text, "c=IN IP4 0.0.0.0");
    line!(text, "a=inactive");
    line!(text, "a=mid:{}", section.mid);
}

fn write_section(
    text: &mut Lines,
    section: &Section,
    (transport, setup): (&Transport<'_>, &str),
    reply: &Reply,
) {
    let codecs = answered_codecs(section, reply);
    match section.kind {
        SectionKind::Media(kind) => {
            write_media_line(text, kind, section, &codecs);
        }
        SectionKind::Data | SectionKind::Other => {
            line!(text, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
            line!(text, "c=IN IP4 0.0.0.0");
        }
    }
    write_transport(text, transport, setup);
    line!(text, "a=mid:{}", section.mid);
    match section.kind {
        SectionKind::Media(kind) => write_media(text, kind, section, reply, &codecs),
        SectionKind::Data | SectionKind::Other => {
            line!(text, "a=sctp-port:5000");
            line!(text, "a=max-message-size:{}", transport.message_size_max);
        }
    }
}

fn media_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

fn write_media_line(text: &mut Lines, kind: MediaKind, section: &Section, codecs: &[OfferedCodec]) {
    let mut formats = String::new();
    for codec in codecs {
        let both = [
            Some(codec.params.payload_type),
            codec.params.rtx_payload_type,
        ];
        for number in both.into_iter().flatten() {
            write!(formats, " {}", number.0).expect("a string takes everything");
        }
    }
    if formats.is_empty() {
        // Nothing of ours: an idle section still needs a format.
        let first = section.first_payload_type.map_or(0, |number| number.0);
        write!(formats, " {first}").expect("a string takes everything");
    }
    line!(text, "m={} 9 UDP/TLS/RTP/SAVPF{formats}", media_name(kind));
    line!(text, "c=IN IP4 0.0.0.0");
}

fn write_transport(text: &mut Lines, transport: &Transport<'_>, setup: &str) {
    line!(text, "a=ice-ufrag:{}", transport.ice.ufrag);
    line!(text, "a=ice-pwd:{}", transport.ice.password);
    let digest: Vec<String> = transport
        .fingerprint
        .0
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    line!(text, "a=fingerprint:sha-256 {}", digest.join(":"));
    line!(text, "a=setup:{setup}");
}

fn write_candidates(text: &mut Lines, udp: &[SocketAddr], tcp: &[SocketAddr]) {
    for (i, address) in udp.iter().enumerate() {
        // RFC 8445 section 5.1.2.1: host candidates, the earlier ones preferred.
        let local_preference = 65_535 - i.min(65_535) as u32;
        let priority = (126 << 24) | (local_preference << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        line!(
            text,
            "a=candidate:{} 1 udp {priority} {ip} {port} typ host generation 0",
            i + 1
        );
    }
    for (i, address) in tcp.iter().enumerate() {
        // RFC 6544 section 4.2: below UDP, and for a passive candidate of a host the direction 4.
        let local_preference = (4 << 13) | (8_191 - i.min(8_191) as u32);
        let priority = (90 << 24) | (local_preference << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        line!(
            text,
            "a=candidate:{} 1 tcp {priority} {ip} {port} typ host tcptype passive generation 0",
            udp.len() + i + 1
        );
    }
    if !udp.is_empty() || !tcp.is_empty() {
        line!(text, "a=end-of-candidates");
    }
}

/// The codecs that are listed: those agreed on when something comes, else all of ours.
fn answered_codecs(section: &Section, reply: &Reply) -> Vec<OfferedCodec> {
    let Reply::Receive { codecs, .. } = reply else {
        return section.codecs.clone();
    };
    let offered = |agreed: &CodecParams| section.codecs.iter().find(|one| one.params == *agreed);
    codecs.iter().filter_map(offered).copied().collect()
}

fn write_media(
    text: &mut Lines,
    kind: MediaKind,
    section: &Section,
    reply: &Reply,
    codecs: &[OfferedCodec],
) {
    for (id, extension) in &section.extensions {
        if *extension == Extension::DependencyDescriptor && !wants_descriptors(reply) {
            continue;
        }
        line!(text, "a=extmap:{id} {}", extension.uri());
    }
    match reply {
        Reply::Receive { .. } => line!(text, "a=recvonly"),
        Reply::Send(_) => line!(text, "a=sendonly"),
        Reply::Idle | Reply::Data | Reply::Reject => line!(text, "a=inactive"),
    }
    line!(text, "a=rtcp-mux");
    line!(text, "a=rtcp-rsize");
    for codec in codecs {
        write_codec(text, kind, codec, reply);
        if codec.params.codec == Codec::Red {
            write_redundancy(text, codec, section);
        }
    }
    match reply {
        Reply::Receive { .. } => write_rids(text, section),
        Reply::Send(sending) => write_sending(text, sending, codecs),
        Reply::Idle | Reply::Data | Reply::Reject => {}
    }
}

/// Only layers of AV1 are told by their descriptors; other formats are not burdened with them.
fn wants_descriptors(reply: &Reply) -> bool {
    match reply {
        Reply::Receive { codecs, .. } => {
            let first = codecs.first();
            first.is_some_and(|params| params.codec == Codec::Av1)
        }
        Reply::Send(_) | Reply::Idle | Reply::Data | Reply::Reject => true,
    }
}

fn write_codec(text: &mut Lines, kind: MediaKind, offered: &OfferedCodec, reply: &Reply) {
    let params = &offered.params;
    let (number, rate) = (params.payload_type.0, params.clock_rate);
    match params.codec {
        Codec::Opus => {
            line!(text, "a=rtpmap:{number} opus/{rate}/2");
            line!(text, "a=fmtp:{number} {}", opus_parameters(reply));
        }
        Codec::Red => {
            line!(text, "a=rtpmap:{number} red/{rate}/2");
        }
        Codec::Vp8 => line!(text, "a=rtpmap:{number} VP8/{rate}"),
        Codec::Av1 => {
            line!(text, "a=rtpmap:{number} AV1/{rate}");
            line!(text, "a=fmtp:{number} level-idx=5;profile=0;tier=0");
        }
        Codec::Vp9 => {
            line!(text, "a=rtpmap:{number} VP9/{rate}");
            line!(text, "a=fmtp:{number} profile-id=0");
        }
        Codec::H264 => {
            line!(text, "a=rtpmap:{number} H264/{rate}");
            let h264 = params.h264.expect("H.264 is only read with its parameters");
            line!(
                text,
                "a=fmtp:{number} level-asymmetry-allowed=1;packetization-mode={};\
                 profile-level-id={:06x}",
                h264.packetization_mode,
                h264.profile_level_id
            );
        }
    }
    if kind == MediaKind::Video {
        write_feedback(text, number, offered.feedback);
    }
    if let Some(rtx) = params.rtx_payload_type {
        line!(text, "a=rtpmap:{} rtx/{rate}", rtx.0);
        line!(text, "a=fmtp:{} apt={number}", rtx.0);
    }
}

/// What redundant audio is made of (RFC 2198 section 5): Opus and Opus once more.
fn write_redundancy(text: &mut Lines, red: &OfferedCodec, section: &Section) {
    let mut offered = section.codecs.iter().map(|one| one.params);
    if let Some(opus) = offered.find(|one| one.codec == Codec::Opus) {
        let (red, opus) = (red.params.payload_type.0, opus.payload_type.0);
        line!(text, "a=fmtp:{red} {opus}/{opus}");
    }
}

/// What we like to receive (RFC 7587 section 7). For what we send it is a mirror of the source.
fn opus_parameters(reply: &Reply) -> String {
    let mut parameters = "minptime=10;useinbandfec=1".to_owned();
    match reply {
        Reply::Receive { audio, .. } => {
            if audio.dtx {
                parameters.push_str(";usedtx=1");
            }
            if audio.stereo {
                parameters.push_str(";stereo=1;maxaveragebitrate=510000");
            }
        }
        Reply::Send(sending) if sending.stereo => parameters.push_str(";stereo=1;sprop-stereo=1"),
        _ => {}
    }
    parameters
}

fn write_feedback(text: &mut Lines, number: u8, feedback: Feedback) {
    let kinds = [
        (feedback.goog_remb, "goog-remb"),
        (feedback.transport_cc, "transport-cc"),
        (feedback.ccm_fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.nack_pli, "nack pli"),
    ];
    for (_, kind) in kinds.iter().filter(|(is_offered, _)| *is_offered) {
        line!(text, "a=rtcp-fb:{number} {kind}");
    }
}

fn write_rids(text: &mut Lines, section: &Section) {
    if section.rids.is_empty() {
        return;
    }
    for rid in &section.rids {
        line!(text, "a=rid:{rid} recv");
    }
    let rids: Vec<&str> = section.rids.iter().map(|rid| &**rid).collect();
    line!(text, "a=simulcast:recv {}", rids.join(";"));
}

fn write_sending(text: &mut Lines, sending: &Sending, codecs: &[OfferedCodec]) {
    let (stream, track, cname) = (&sending.stream, &sending.track, &sending.cname);
    line!(text, "a=msid:{stream} {track}");
    let has_rtx = codecs
        .iter()
        .any(|codec| codec.params.rtx_payload_type.is_some());
    let rtx = sending.rtx_ssrc.filter(|_| has_rtx);
    if let Some(rtx) = rtx {
        line!(text, "a=ssrc-group:FID {} {}", sending.ssrc.0, rtx.0);
    }
    for ssrc in [Some(sending.ssrc), rtx].into_iter().flatten() {
        line!(text, "a=ssrc:{} cname:{cname}", ssrc.0);
        line!(text, "a=ssrc:{} msid:{stream} {track}", ssrc.0);
    }
}
