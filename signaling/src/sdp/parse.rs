//! A client's description, from text to values: an offer, and what an answer has in common with one.
//!
//! The syntax is read by `rtc-sdp` after the text's size, lines and sections have been counted;
//! what the attributes mean is read here. Everything is kept in bounded, checked types, so that
//! later code may print it. An offer that could not lead to one bundled, multiplexed, encrypted
//! transport is refused as a whole; a section that we cannot serve is only marked as rejected.

use std::io::Cursor;

use arrayvec::ArrayString;
use rtc_sdp::{MediaDescription, SessionDescription};
use sfu::media::{Codec, CodecParams, H264Params, MediaKind, Mid, Rid};
use sfu::transport::params::{Fingerprint, IceCredentials, SctpParams};
use sfu::unit::{PayloadType, Ssrc};

use crate::config::Limits;

/// Encodings of one section that are read; the clients send up to three.
const RIDS_MAX: usize = 4;
/// Payload types are seven bits.
const FORMATS_MAX: usize = 128;
/// What RFC 8841 says a missing `a=max-message-size` means.
const MESSAGE_SIZE_DEFAULT: u32 = 65_536;

/// Why an offer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Larger than a bound; its name in the configuration.
    #[error("the session description exceeds {0}")]
    TooLarge(&'static str),
    /// Not a session description.
    #[error("the session description does not parse")]
    Malformed,
    /// A value that must be there is not, or has no sense; which one.
    #[error("the session description has no usable {0}")]
    Unusable(&'static str),
}

/// What a client offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The credentials of its one transport.
    pub ice: IceCredentials,
    /// The certificate it will show.
    pub fingerprint: Fingerprint,
    /// Its sections, in order; an answer has as many.
    pub sections: Vec<Section>,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Sound, picture or data.
    pub kind: SectionKind,
    /// Its name within the bundle.
    pub mid: Mid,
    /// The direction, as the client sees it.
    pub direction: Direction,
    /// It has no port, is outside the bundle or does not multiplex: it gets no answer but "no".
    pub is_rejected: bool,
    /// The codecs that we serve, in the order offered.
    pub codecs: Vec<OfferedCodec>,
    /// The first format as it stands in the `m=` line, for a section with no codec of ours.
    pub first_payload_type: Option<PayloadType>,
    /// Header extensions that we use.
    pub extensions: Vec<(u8, Extension)>,
    /// Both forms of header extensions may follow each other.
    pub mixes_extensions: bool,
    /// The encodings that the client will send, in the order offered.
    pub rids: Vec<Rid>,
    /// What the client sends, by its own names.
    pub msid: Option<Msid>,
    /// The sources that are named, without those of retransmissions.
    pub sources: Vec<Source>,
    /// Of a data section.
    pub sctp: Option<SctpParams>,
}

/// What flows in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Sound or picture.
    Media(MediaKind),
    /// Data channels.
    Data,
    /// Something that we do not serve.
    Other,
}

/// Who sends (RFC 8866 section 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendReceive,
    /// The one who writes it.
    SendOnly,
    /// The other one.
    ReceiveOnly,
    /// Nobody.
    Inactive,
}

/// A codec of ours in an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedCodec {
    /// How it is numbered.
    pub params: CodecParams,
    /// What feedback the client can give or take for it.
    pub feedback: Feedback,
}

/// Feedback messages that are offered (RFC 4585, RFC 5104).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// `nack`
    pub nack: bool,
    /// `nack pli`
    pub nack_pli: bool,
    /// `ccm fir`
    pub ccm_fir: bool,
    /// `transport-cc`
    pub transport_cc: bool,
    /// `goog-remb`
    pub goog_remb: bool,
}

/// A header extension that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Which section.
    Mid,
    /// Which encoding.
    Rid,
    /// Which encoding is retransmitted.
    RepairedRid,
    /// How loud.
    AudioLevel,
    /// When it left.
    AbsSendTime,
    /// Its number among everything that was sent.
    TransportCc,
    /// Which way is up.
    VideoOrientation,
    /// Which frame and layer a packet belongs to.
    DependencyDescriptor,
}

impl Extension {
    const ALL: [Self; 8] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::AbsSendTime,
        Self::TransportCc,
        Self::VideoOrientation,
        Self::DependencyDescriptor,
    ];

    /// Its name in an `a=extmap` line.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// Whether it may have this number. Those above 14 do not fit the one-byte form of RFC 8285,
    /// which is the only one that we write, but for what may be too long for it anyway.
    fn allows(self, id: u8) -> bool {
        id <= 14 || (self == Self::DependencyDescriptor && id != 15)
    }

    /// Whether it is used in sections of this kind. The transport-wide number stands in video
    /// only: the estimate is made for pictures, and sound stays small without it.
    fn serves(self, kind: MediaKind) -> bool {
        match self {
            Self::Mid => true,
            Self::AudioLevel => kind == MediaKind::Audio,
            _ => kind == MediaKind::Video,
        }
    }
}

/// Names that a client gave to what it sends. Only compared, never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// The stream, `-` for none.
    pub stream: String,
    /// The track: the `cid` of the request that announced it.
    pub track: String,
}

/// A source and that of its retransmissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The source.
    pub ssrc: Ssrc,
    /// Its retransmissions.
    pub rtx: Option<Ssrc>,
}

/// The attribute by which both forms of header extensions are allowed.
const MIXED: &str = "extmap-allow-mixed";

impl Section {
    /// A descriptor may be longer than the one-byte form holds: it is of no use to whoever does not
    /// take both forms.
    fn keep_usable_extensions(&mut self) {
        if !self.mixes_extensions {
            let is_short = |one: &(u8, Extension)| one.1 != Extension::DependencyDescriptor;
            self.extensions.retain(is_short);
        }
    }
}

impl Offer {
    /// Reads an offer.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, SdpError> {
        // We are the DTLS server; a client that insists on being one as well cannot be served.
        Self::read(text, limits, |setup| setup != Some("passive"))
    }

    /// Reads a description of a client whose part in DTLS is as it must be.
    pub(super) fn read(
        text: &str,
        limits: &Limits,
        is_good_setup: fn(Option<&str>) -> bool,
    ) -> Result<Self, SdpError> {
        check_size(text, limits)?;
        let session = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|_| SdpError::Malformed)?;
        let bundle = bundled_mids(&session);
        let sections = session
            .media_descriptions
            .iter()
            .map(|media| {
                let mut section = read_section(media, bundle.as_deref())?;
                // Allowed for all sections, or for each of them (RFC 8285 section 6).
                section.mixes_extensions = section.mixes_extensions || session.has_attribute(MIXED);
                section.keep_usable_extensions();
                Ok(section)
            })
            .collect::<Result<Vec<_>, _>>()?;
        check_mids(&sections)?;
        let first = sections
            .iter()
            .position(|section| !section.is_rejected)
            .ok_or(SdpError::Unusable("media section"))?;
        let first = Scope {
            session: &session,
            media: &session.media_descriptions[first],
        };
        let ice = first.ice()?;
        if !is_good_setup(first.value("setup")) {
            return Err(SdpError::Unusable("setup"));
        }
        Ok(Self {
            ice,
            fingerprint: first.fingerprint()?,
            sections,
        })
    }

    /// The data section that was offered, if any.
    pub fn sctp(&self) -> Option<SctpParams> {
        self.sections.iter().find_map(|section| section.sctp)
    }
}

/// Counts before anything is read.
pub(super) fn check_size(text: &str, limits: &Limits) -> Result<(), SdpError> {
    if text.len() > limits.sdp_bytes_max {
        return Err(SdpError::TooLarge("sdp_bytes_max"));
    }
    let (mut lines, mut sections) = (0_usize, 0_usize);
    for line in text.split(['\n', '\r']) {
        lines += usize::from(!line.is_empty());
        sections += usize::from(line.starts_with("m="));
    }
    if lines > limits.sdp_lines_max {
        return Err(SdpError::TooLarge("sdp_lines_max"));
    }
    if sections > limits.sdp_sections_max {
        return Err(SdpError::TooLarge("sdp_sections_max"));
    }
    Ok(())
}

/// Two sections of one name could not be told apart, by us or by a packet's header.
fn check_mids(sections: &[Section]) -> Result<(), SdpError> {
    let mut mids: Vec<Mid> = sections.iter().map(|section| section.mid).collect();
    mids.sort_unstable();
    if mids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(SdpError::Unusable("mid"));
    }
    Ok(())
}

fn bundled_mids(session: &SessionDescription) -> Option<Vec<&str>> {
    session
        .attributes
        .iter()
        .filter(|attribute| attribute.key == "group")
        .filter_map(|attribute| attribute.value.as_deref()?.strip_prefix("BUNDLE"))
        .map(|mids| mids.split_ascii_whitespace().collect())
        .next()
}

/// A section with the session around it: what a section does not say, the session may.
struct Scope<'a> {
    session: &'a SessionDescription,
    media: &'a MediaDescription,
}

impl Scope<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.media
            .attribute(key)
            .flatten()
            .or_else(|| self.session.attribute(key).map(String::as_str))
    }

    fn ice(&self) -> Result<IceCredentials, SdpError> {
        let (ufrag, password) = (self.value("ice-ufrag"), self.value("ice-pwd"));
        Ok(IceCredentials {
            ufrag: ice_chars(ufrag, 4).ok_or(SdpError::Unusable("ice-ufrag"))?,
            password: ice_chars(password, 22).ok_or(SdpError::Unusable("ice-pwd"))?,
        })
    }

    fn fingerprint(&self) -> Result<Fingerprint, SdpError> {
        self.media
            .attributes
            .iter()
            .chain(&self.session.attributes)
            .filter(|attribute| attribute.key == "fingerprint")
            .find_map(|attribute| read_fingerprint(attribute.value.as_deref()?))
            .ok_or(SdpError::Unusable("fingerprint"))
    }
}

/// RFC 8839 section 5.4.
pub(super) fn ice_chars(text: Option<&str>, len_min: usize) -> Option<String> {
    let text = text?;
    let fits = (len_min..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_'));
    fits.then(|| text.to_owned())
}

fn read_fingerprint(text: &str) -> Option<Fingerprint> {
    let (algorithm, digest) = text.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut groups = digest.trim().split(':');
    for byte in &mut bytes {
        let group = groups.next().filter(|group| group.len() == 2)?;
        *byte = u8::from_str_radix(group, 16).ok()?;
    }
    groups.next().is_none().then_some(Fingerprint(bytes))
}

fn read_section(media: &MediaDescription, bundle: Option<&[&str]>) -> Result<Section, SdpError> {
    let mid = media.attribute("mid").flatten().unwrap_or_default();
    let kind = read_kind(media);
    let is_bundled = bundle.is_none_or(|mids| mids.contains(&mid));
    let has_port = media.media_name.port.value != 0 || media.has_attribute("bundle-only");
    let multiplexes = kind == SectionKind::Data || media.has_attribute("rtcp-mux");
    let sctp = (kind == SectionKind::Data)
        .then(|| read_sctp(media))
        .flatten();
    let is_served = match kind {
        SectionKind::Media(_) => multiplexes,
        SectionKind::Data => sctp.is_some(),
        SectionKind::Other => false,
    };
    let mut section = Section {
        kind,
        mid: token(mid).ok_or(SdpError::Unusable("mid"))?,
        direction: read_direction(media),
        is_rejected: !is_bundled || !has_port || !is_served,
        codecs: Vec::new(),
        first_payload_type: None,
        extensions: Vec::new(),
        mixes_extensions: media.has_attribute(MIXED),
        rids: Vec::new(),
        msid: None,
        sources: Vec::new(),
        sctp,
    };
    if let SectionKind::Media(kind) = kind {
        read_media(media, kind, &mut section)?;
    }
    Ok(section)
}

fn read_media(
    media: &MediaDescription,
    kind: MediaKind,
    section: &mut Section,
) -> Result<(), SdpError> {
    let formats = read_formats(media)?;
    section.first_payload_type = formats.first().map(|format| format.payload_type);
    section.codecs = read_codecs(&formats, kind);
    section.extensions = read_extensions(media, kind);
    section.rids = read_rids(media)?;
    section.msid = media
        .attribute("msid")
        .flatten()
        .and_then(|msid| msid.split_once(' '))
        .map(|(stream, track)| Msid {
            stream: stream.to_owned(),
            track: track.trim().to_owned(),
        });
    section.sources = read_sources(media);
    Ok(())
}

fn read_kind(media: &MediaDescription) -> SectionKind {
    let name = &media.media_name;
    let speaks = |proto: &str| name.protos.iter().any(|one| one == proto);
    match name.media.as_str() {
        "audio" if speaks("SAVPF") => SectionKind::Media(MediaKind::Audio),
        "video" if speaks("SAVPF") => SectionKind::Media(MediaKind::Video),
        "application" if speaks("SCTP") => SectionKind::Data,
        _ => SectionKind::Other,
    }
}

fn read_direction(media: &MediaDescription) -> Direction {
    media
        .attributes
        .iter()
        .find_map(|attribute| match attribute.key.as_str() {
            "sendrecv" => Some(Direction::SendReceive),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::ReceiveOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
        .unwrap_or(Direction::SendReceive)
}

fn read_sctp(media: &MediaDescription) -> Option<SctpParams> {
    let number = |key| media.attribute(key).flatten().map(str::parse::<u32>);
    let port = u16::try_from(number("sctp-port")?.ok()?).ok()?;
    let message_size_max = match number("max-message-size") {
        None => MESSAGE_SIZE_DEFAULT,
        // RFC 8841 section 6.1: zero is "any size".
        Some(Ok(0)) => u32::MAX,
        Some(size) => size.ok()?,
    };
    Some(SctpParams {
        port,
        message_size_max,
    })
}

/// A word of ours or theirs that may stand in a line of its own (RFC 8866 `token`, without the
/// signs that no client uses).
fn token<const N: usize>(text: &str) -> Option<ArrayString<N>> {
    let is_token = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+'));
    is_token.then(|| ArrayString::from(text).ok()).flatten()
}

fn read_rids(media: &MediaDescription) -> Result<Vec<Rid>, SdpError> {
    let mut rids = Vec::new();
    // Without `a=simulcast` the encodings are alternatives, not simultaneous.
    if !media.has_attribute("simulcast") {
        return Ok(rids);
    }
    for value in values(media, "rid") {
        let mut words = value.split_ascii_whitespace();
        let (Some(rid), Some("send")) = (words.next(), words.next()) else {
            continue;
        };
        if rids.len() == RIDS_MAX {
            return Err(SdpError::Unusable("rid"));
        }
        rids.push(token(rid).ok_or(SdpError::Unusable("rid"))?);
    }
    Ok(rids)
}

fn read_extensions(media: &MediaDescription, kind: MediaKind) -> Vec<(u8, Extension)> {
    let mut extensions: Vec<(u8, Extension)> = Vec::new();
    for value in values(media, "extmap") {
        let mut words = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (words.next(), words.next()) else {
            continue;
        };
        // The id may carry a direction (`3/sendonly`).
        let id = id.split('/').next().and_then(|id| id.parse().ok());
        let Some(id) = id.filter(|id| *id > 0) else {
            continue;
        };
        let extension = Extension::ALL
            .into_iter()
            .find(|extension| extension.uri() == uri && extension.serves(kind));
        if let Some(extension) = extension.filter(|extension| extension.allows(id))
            && !extensions
                .iter()
                .any(|one| one.0 == id || one.1 == extension)
        {
            extensions.push((id, extension));
        }
    }
    // Two clocks for one purpose are one too many; the transport-wide number is the better.
    if extensions.iter().any(|one| one.1 == Extension::TransportCc) {
        extensions.retain(|one| one.1 != Extension::AbsSendTime);
    }
    extensions
}

fn read_sources(media: &MediaDescription) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for value in values(media, "ssrc") {
        let ssrc = value.split_ascii_whitespace().next();
        if let Some(ssrc) = ssrc.and_then(|ssrc| ssrc.parse().ok()).map(Ssrc)
            && sources.len() < 2 * RIDS_MAX
            && !sources.iter().any(|one| one.ssrc == ssrc)
        {
            sources.push(Source { ssrc, rtx: None });
        }
    }
    for value in values(media, "ssrc-group") {
        let Some(group) = value.strip_prefix("FID ") else {
            continue;
        };
        let mut group = group.split_ascii_whitespace().map(str::parse);
        if let (Some(Ok(original)), Some(Ok(rtx))) = (group.next(), group.next()) {
            sources.retain(|one| one.ssrc != Ssrc(rtx));
            if let Some(source) = sources.iter_mut().find(|one| one.ssrc == Ssrc(original)) {
                source.rtx = Some(Ssrc(rtx));
            }
        }
    }
    sources
}

fn values<'a>(media: &'a MediaDescription, key: &'a str) -> impl Iterator<Item = &'a str> {
    media
        .attributes
        .iter()
        .filter(move |attribute| attribute.key == key)
        .filter_map(|attribute| attribute.value.as_deref())
}

/// A payload type with everything that the section says about it.
struct Format<'a> {
    payload_type: PayloadType,
    name: &'a str,
    clock_rate: u32,
    parameters: &'a str,
    feedback: Feedback,
}

impl Format<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn is(&self, name: &str, clock_rate: u32) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.clock_rate == clock_rate
    }
}

fn read_formats(media: &MediaDescription) -> Result<Vec<Format<'_>>, SdpError> {
    if media.media_name.formats.len() > FORMATS_MAX {
        return Err(SdpError::Unusable("format"));
    }
    let mut formats = Vec::with_capacity(media.media_name.formats.len());
    let mut index = [None; 128];
    for format in &media.media_name.formats {
        let number = format.parse::<u8>().ok().filter(|number| *number < 128);
        let number = number.ok_or(SdpError::Unusable("format"))?;
        if index[usize::from(number)].is_none() {
            index[usize::from(number)] = Some(formats.len());
            formats.push(Format {
                payload_type: PayloadType(number),
                name: "",
                clock_rate: 0,
                parameters: "",
                feedback: Feedback::default(),
            });
        }
    }
    for attribute in &media.attributes {
        let Some((which, text)) = attribute
            .value
            .as_deref()
            .and_then(|value| value.split_once(' '))
        else {
            continue;
        };
        let place = which.parse::<u8>().ok().filter(|number| *number < 128);
        let place = place.and_then(|number| index[usize::from(number)]);
        match (attribute.key.as_str(), place) {
            ("rtpmap", Some(place)) => {
                let mut words = text.trim().split('/');
                formats[place].name = words.next().unwrap_or_default();
                formats[place].clock_rate =
                    words.next().and_then(|rate| rate.parse().ok()).unwrap_or(0);
            }
            ("fmtp", Some(place)) => formats[place].parameters = text,
            ("rtcp-fb", Some(place)) => formats[place].feedback.note(text),
            ("rtcp-fb", None) if which == "*" => {
                for format in &mut formats {
                    format.feedback.note(text);
                }
            }
            _ => {}
        }
    }
    Ok(formats)
}

impl Feedback {
    fn note(&mut self, text: &str) {
        match text.trim() {
            "nack" => self.nack = true,
            "nack pli" => self.nack_pli = true,
            "ccm fir" => self.ccm_fir = true,
            "transport-cc" => self.transport_cc = true,
            "goog-remb" => self.goog_remb = true,
            _ => {}
        }
    }
}

fn read_codecs(formats: &[Format<'_>], kind: MediaKind) -> Vec<OfferedCodec> {
    formats
        .iter()
        .filter_map(|format| read_codec(format, formats, kind))
        .collect()
}

fn read_codec(
    format: &Format<'_>,
    formats: &[Format<'_>],
    kind: MediaKind,
) -> Option<OfferedCodec> {
    let (codec, h264) = match kind {
        MediaKind::Audio if format.is("opus", 48_000) => (Codec::Opus, None),
        MediaKind::Audio if format.is("red", 48_000) && wraps_opus(format, formats) => {
            (Codec::Red, None)
        }
        MediaKind::Video if format.is("VP8", 90_000) => (Codec::Vp8, None),
        // Profile 0 is eight bits of each colour, which every decoder has (RFC 9628 section 6).
        MediaKind::Video
            if format.is("VP9", 90_000)
                && matches!(format.parameter("profile-id"), None | Some("0")) =>
        {
            (Codec::Vp9, None)
        }
        // The main profile, which every decoder has (AV1 RTP specification, section 7.2.1).
        MediaKind::Video
            if format.is("AV1", 90_000)
                && matches!(format.parameter("profile"), None | Some("0")) =>
        {
            (Codec::Av1, None)
        }
        MediaKind::Video if format.is("H264", 90_000) => (Codec::H264, Some(read_h264(format)?)),
        _ => return None,
    };
    let rtx_payload_type = formats
        .iter()
        .filter(|other| other.is("rtx", 90_000) && kind == MediaKind::Video)
        .find(|other| {
            let original = other.parameter("apt").map(str::parse);
            original == Some(Ok(format.payload_type.0))
        })
        .map(|rtx| rtx.payload_type);
    Some(OfferedCodec {
        params: CodecParams {
            codec,
            payload_type: format.payload_type,
            rtx_payload_type,
            clock_rate: format.clock_rate,
            h264,
        },
        feedback: format.feedback,
    })
}

/// RFC 2198 around Opus: the first generation named in `a=fmtp:63 111/111`.
fn wraps_opus(red: &Format<'_>, formats: &[Format<'_>]) -> bool {
    let primary = red.parameters.split('/').next().map(str::trim);
    formats.iter().any(|format| {
        format.is("opus", 48_000)
            && primary.and_then(|number| number.parse().ok()) == Some(format.payload_type.0)
    })
}

/// Baseline and constrained baseline only: what every decoder in hospitals' hardware has.
fn read_h264(format: &Format<'_>) -> Option<H264Params> {
    let profile_level_id = format
        .parameter("profile-level-id")
        .filter(|text| text.len() == 6)
        .map_or(Some(0x42_00_0a), |text| u32::from_str_radix(text, 16).ok())?;
    let packetization_mode = match format.parameter("packetization-mode") {
        None => 0,
        Some(mode) => mode.parse().ok().filter(|mode| *mode <= 1)?,
    };
    (profile_level_id >> 16 == 0x42).then_some(H264Params {
        profile_level_id,
        packetization_mode,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    const TRANSPORT: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n\
        a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:\
        17:18:19:1A:1B:1C:1D:1E:1F\r\na=setup:actpass\r\n";

    fn parse(text: &str) -> Result<Offer, SdpError> {
        Offer::parse(text, &Limits::default())
    }

    fn video(attributes: &str) -> String {
        format!(
            "{HEAD}m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100\r\n{TRANSPORT}a=mid:0\r\na=rtcp-mux\r\n\
             a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             a=rtpmap:98 H264/90000\r\n\
             a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtpmap:99 H264/90000\r\na=fmtp:99 packetization-mode=1;profile-level-id=640c1f\r\n\
             a=rtpmap:100 VP9/90000\r\na=fmtp:100 profile-id=2\r\na=rtcp-fb:* nack pli\r\n{attributes}"
        )
    }

    #[test]
    fn only_our_codecs_are_read_with_their_retransmission_and_feedback() {
        let offer = parse(&video("")).expect("it parses");
        let codecs = &offer.sections[0].codecs;
        assert_eq!(codecs.len(), 2, "neither high profile nor VP9 of ten bits");
        assert_eq!(codecs[0].params.codec, Codec::Vp8);
        assert_eq!(codecs[0].params.rtx_payload_type, Some(PayloadType(97)));
        assert!(codecs[0].feedback.nack_pli && !codecs[0].feedback.nack);
        assert_eq!(
            codecs[1].params.h264,
            Some(H264Params {
                profile_level_id: 0x42_e0_1f,
                packetization_mode: 1
            })
        );
        assert_eq!(offer.fingerprint.0[31], 0x1f);
    }

    const DESCRIPTOR: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

    #[test]
    fn av1_is_read_in_its_main_profile_with_descriptors_where_they_fit() {
        let section = |id: u8, mixed: &str| {
            let text = video(&format!("a=extmap:{id} {DESCRIPTOR}\r\n{mixed}"))
                .replace("VP9/90000", "AV1/90000")
                .replace("profile-id=2", "level-idx=5;profile=0;tier=0");
            parse(&text).expect("it parses").sections.remove(0)
        };
        let mixed = section(12, "a=extmap-allow-mixed\r\n");
        assert_eq!(mixed.codecs[2].params.codec, Codec::Av1);
        assert_eq!(mixed.extensions, [(12, Extension::DependencyDescriptor)]);
        let large = section(16, "a=extmap-allow-mixed\r\n");
        assert_eq!(large.extensions, [(16, Extension::DependencyDescriptor)]);
        let reserved = section(15, "a=extmap-allow-mixed\r\n");
        assert_eq!(reserved.extensions, []);
        assert_eq!(section(12, "").extensions, [], "a keyframe's would not fit");
        let high = video("").replace("VP9/90000", "AV1/90000");
        let high = high.replace("profile-id=2", "profile=1");
        assert_eq!(parse(&high).expect("it parses").sections[0].codecs.len(), 2);
    }

    #[test]
    fn encodings_are_read_in_the_order_offered() {
        let offer = parse(&video(
            "a=rid:f send\r\na=rid:h send\r\na=rid:q send\r\na=simulcast:send f;h;q\r\n",
        ))
        .expect("it parses");
        let rids: Vec<&str> = offer.sections[0].rids.iter().map(|rid| &**rid).collect();
        assert_eq!(rids, ["f", "h", "q"]);
    }

    #[test]
    fn a_source_is_read_with_that_of_its_retransmissions() {
        let offer = parse(&video(
            "a=ssrc-group:FID 7 8\r\na=ssrc:7 cname:x\r\na=ssrc:8 cname:x\r\na=ssrc:7 msid:a b\r\n",
        ))
        .expect("it parses");
        assert_eq!(
            offer.sections[0].sources,
            [Source {
                ssrc: Ssrc(7),
                rtx: Some(Ssrc(8))
            }]
        );
    }

    #[test]
    fn what_is_outside_the_bundle_or_has_no_port_is_rejected() {
        let outside = video("").replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE 1\r\n");
        assert_eq!(parse(&outside), Err(SdpError::Unusable("media section")));
        let no_port = video("").replace("m=video 9", "m=video 0");
        assert_eq!(parse(&no_port), Err(SdpError::Unusable("media section")));
        let bundle_only = no_port.replace("a=mid:0", "a=bundle-only\r\na=mid:0");
        assert!(!parse(&bundle_only).expect("it parses").sections[0].is_rejected);
    }

    #[test]
    fn an_offer_without_what_a_transport_needs_is_refused_with_its_name() {
        for (broken, name) in [
            (
                video("").replace("ice-ufrag:abcd", "ice-ufrag:abc"),
                "ice-ufrag",
            ),
            (video("").replace("a=ice-pwd", "a=ice-pwt"), "ice-pwd"),
            (video("").replace("sha-256", "sha-1"), "fingerprint"),
            (video("").replace("actpass", "passive"), "setup"),
            (video("").replace("a=mid:0\r\n", ""), "mid"),
            (
                video("").replace("a=mid:0", "a=mid:0123456789abcdefg"),
                "mid",
            ),
            (video("").replace("96 97", "96 297"), "format"),
        ] {
            assert_eq!(parse(&broken), Err(SdpError::Unusable(name)));
        }
        assert_eq!(parse("v=0"), Err(SdpError::Malformed));
        assert_eq!(parse(""), Err(SdpError::Malformed));
    }

    #[test]
    fn two_sections_of_one_name_are_refused() {
        let twice = video("") + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtcp-mux\r\n";
        assert_eq!(parse(&twice), Err(SdpError::Unusable("mid")));
    }

    #[test]
    fn bombs_are_refused_before_they_are_read() {
        let mut many = HEAD.to_owned();
        for i in 0..10_000 {
            write!(many, "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{i}\r\n")
                .expect("a string takes everything");
        }
        let large = format!("{HEAD}s={}", "x".repeat(1 << 20));
        let lines = format!("{HEAD}{}", "a=x\n".repeat(10_000));
        let start = std::time::Instant::now();
        assert!(matches!(parse(&many), Err(SdpError::TooLarge(_))));
        assert!(matches!(parse(&large), Err(SdpError::TooLarge(_))));
        assert!(matches!(parse(&lines), Err(SdpError::TooLarge(_))));
        assert!(start.elapsed().as_millis() < 150, "50 ms each");
    }
}
