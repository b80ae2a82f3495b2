//! The tracks of one participant: announced, then matched with a section of an offer, then
//! published.
//!
//! A client first says what it is going to send and gets the track's id, then offers a section for
//! it. The section names the track by the client's own id; where a client changes that id on the
//! way, the only waiting track of that kind is meant. Others hear of a track once a section carries
//! it.

use sfu::id::PublicationId;
use sfu::media::{Codec, LayerWish, MediaKind, Mid, PublicationParams};

use super::backup::Backup;
use super::dynacast::{Demand, Wanted};
use crate::config::Limits;
use crate::sdp::build::AudioHints;
use crate::sdp::params::AnnouncedLayer;
use crate::sid;
use crate::wire::proto::{
    AddTrackRequest, AudioTrackFeature, SimulcastCodecInfo, TrackInfo, TrackSource, TrackType,
    VideoLayer, VideoQuality,
};

/// Encodings and codecs that a request may list; clients list three and two.
const LIST_MAX: usize = 8;
/// Bytes of a client's own id for a track; they are UUIDs.
const CID_BYTES_MAX: usize = 256;

/// One track.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Its name in the media plane.
    pub publication: PublicationId,
    /// Sound or picture.
    pub kind: MediaKind,
    /// What clients are told about it.
    pub info: TrackInfo,
    /// The client's own ids for it: the track's, and one per codec.
    pub cids: Vec<String>,
    /// The section that carries it, once there is one.
    pub mid: Option<Mid>,
    /// What was agreed about it, for the other workers that will send it.
    pub agreed: Option<Box<PublicationParams>>,
    /// The codec that the publisher would rather use.
    pub preferred: Option<Codec>,
    /// The same in another codec, if one was announced.
    pub backup: Option<Box<Backup>>,
    /// Somebody receives it, and the publisher knows.
    pub is_subscribed: bool,
    /// A moderator has muted it, and its publisher has said nothing else since.
    pub is_silenced: bool,
    /// What its publisher was told about who looks at it.
    pub demand: Demand,
}

/// Why a track cannot be announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackRefusal {
    /// Not of a kind that is relayed here.
    UnsupportedType,
    /// The request is larger than a bound.
    TooLarge,
}

impl Track {
    /// A track as announced.
    pub fn new(request: &AddTrackRequest, limits: &Limits) -> Result<Self, TrackRefusal> {
        check(request, limits)?;
        let kind = match request.r#type() {
            TrackType::Audio => MediaKind::Audio,
            TrackType::Video => MediaKind::Video,
            TrackType::Data => return Err(TrackRefusal::UnsupportedType),
        };
        let mut cids = vec![request.cid.clone()];
        cids.extend(
            request
                .simulcast_codecs
                .iter()
                .map(|codec| codec.cid.clone()),
        );
        cids.retain(|cid| !cid.is_empty());
        Ok(Self {
            publication: PublicationId(sid::next_number()),
            kind,
            info: track_info(request),
            cids,
            mid: None,
            agreed: None,
            preferred: request
                .simulcast_codecs
                .first()
                .and_then(|codec| codec_named(&codec.codec)),
            backup: match kind {
                MediaKind::Video => Backup::announced(request),
                MediaKind::Audio => None,
            },
            is_subscribed: false,
            is_silenced: false,
            demand: Demand::default(),
        })
    }

    /// Whether a section carries it.
    pub fn is_published(&self) -> bool {
        self.mid.is_some()
    }

    /// The encodings as announced, the smallest first.
    #[expect(
        deprecated,
        reason = "the form that every client still sends and reads"
    )]
    pub fn announced_layers(&self) -> Vec<AnnouncedLayer> {
        let layers = self.info.layers.iter().map(|layer| AnnouncedLayer {
            width: layer.width,
            height: layer.height,
            bitrate: layer.bitrate,
        });
        layers.collect()
    }

    /// How good a picture a wish asks for.
    #[expect(
        deprecated,
        reason = "the form that every client still sends and reads"
    )]
    pub fn wanted(&self, wish: LayerWish) -> Wanted {
        Wanted::of(wish, &self.info.layers)
    }

    /// How its sound is to be encoded.
    pub fn audio_hints(&self) -> AudioHints {
        let has = |feature: AudioTrackFeature| self.info.audio_features.contains(&(feature as i32));
        AudioHints {
            dtx: !has(AudioTrackFeature::TfNoDtx),
            stereo: has(AudioTrackFeature::TfStereo),
        }
    }

    /// A section carries it now, with this codec first.
    pub fn publish(&mut self, mid: Mid, cid: Option<&str>, codec: Codec) {
        self.mid = Some(mid);
        // Where the first codec was not agreed to, the second may be the first.
        self.backup.take_if(|backup| backup.codec == codec);
        self.info.mid = mid.to_string();
        mime_type(codec).clone_into(&mut self.info.mime_type);
        for listed in &mut self.info.codecs {
            if codec_named(&listed.mime_type).is_none_or(|one| one == codec) {
                mime_type(codec).clone_into(&mut listed.mime_type);
                listed.mid = mid.to_string();
            }
        }
        // The client may have changed its mind about the id between the two messages.
        if let Some(cid) = cid.filter(|cid| cid.len() <= CID_BYTES_MAX)
            && !self.cids.iter().any(|one| one == cid)
        {
            self.cids.push(cid.to_owned());
        }
    }
}

fn check(request: &AddTrackRequest, limits: &Limits) -> Result<(), TrackRefusal> {
    let names = [&request.name, &request.stream];
    let is_small = request.cid.len() <= CID_BYTES_MAX
        && names.iter().all(|name| name.len() <= limits.name_bytes_max)
        && request.layers.len() <= LIST_MAX
        && request.audio_features.len() <= LIST_MAX
        && request.packet_trailer_features.len() <= LIST_MAX
        && request.simulcast_codecs.len() <= LIST_MAX
        && request.simulcast_codecs.iter().all(|codec| {
            codec.codec.len() <= CID_BYTES_MAX
                && codec.cid.len() <= CID_BYTES_MAX
                && codec.layers.len() <= LIST_MAX
        });
    is_small.then_some(()).ok_or(TrackRefusal::TooLarge)
}

#[expect(
    deprecated,
    reason = "older clients read the fields that newer ones replaced"
)]
fn track_info(request: &AddTrackRequest) -> TrackInfo {
    let kind = request.r#type();
    let has = |feature| request.audio_features.contains(&(feature as i32));
    let mut audio_features = request.audio_features.clone();
    // Older clients say it in fields of their own.
    let older = [
        (request.stereo, AudioTrackFeature::TfStereo),
        (request.disable_dtx, AudioTrackFeature::TfNoDtx),
    ];
    for (_, feature) in older
        .iter()
        .filter(|(is_set, feature)| *is_set && !has(*feature))
    {
        audio_features.push(*feature as i32);
    }
    let layers = layers(request);
    TrackInfo {
        sid: sid::track_sid(kind, request.source()),
        r#type: kind as i32,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        simulcast: layers.len() > 1,
        disable_dtx: audio_features.contains(&(AudioTrackFeature::TfNoDtx as i32)),
        stereo: audio_features.contains(&(AudioTrackFeature::TfStereo as i32)),
        source: request.source,
        mime_type: String::new(),
        codecs: codecs(request, &layers),
        layers,
        disable_red: request.disable_red,
        encryption: request.encryption,
        stream: stream(request),
        audio_features,
        backup_codec_policy: request.backup_codec_policy,
        packet_trailer_features: request.packet_trailer_features.clone(),
        ..Default::default()
    }
}

/// The encodings from the smallest to the largest; a picture always has one at least.
fn layers(request: &AddTrackRequest) -> Vec<VideoLayer> {
    if request.r#type() != TrackType::Video {
        return Vec::new();
    }
    let mut layers = request.layers.clone();
    if layers.is_empty() {
        layers.push(VideoLayer {
            quality: VideoQuality::High as i32,
            width: request.width,
            height: request.height,
            ..Default::default()
        });
    }
    layers.sort_by_key(|layer| layer.quality);
    layers
}

fn codecs(request: &AddTrackRequest, layers: &[VideoLayer]) -> Vec<SimulcastCodecInfo> {
    let mut codecs: Vec<SimulcastCodecInfo> = request
        .simulcast_codecs
        .iter()
        .map(|codec| SimulcastCodecInfo {
            mime_type: codec_named(&codec.codec)
                .map_or(String::new(), |codec| mime_type(codec).to_owned()),
            cid: codec.cid.clone(),
            layers: match codec.layers.is_empty() {
                true => layers.to_vec(),
                false => codec.layers.clone(),
            },
            video_layer_mode: codec.video_layer_mode,
            ..Default::default()
        })
        .collect();
    if codecs.is_empty() {
        codecs.push(SimulcastCodecInfo {
            cid: request.cid.clone(),
            layers: layers.to_vec(),
            ..Default::default()
        });
    }
    codecs
}

/// What belongs together is kept in step: camera with microphone, screen with its sound.
///
/// The name becomes part of a session description, so only plain signs are taken.
fn stream(request: &AddTrackRequest) -> String {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.');
    if !request.stream.is_empty() && request.stream.chars().all(is_plain) {
        return request.stream.clone();
    }
    match request.source() {
        TrackSource::Camera | TrackSource::Microphone => "camera",
        TrackSource::ScreenShare | TrackSource::ScreenShareAudio => "screen",
        TrackSource::Unknown => "unknown",
    }
    .to_owned()
}

/// The codec that clients call so.
pub fn codec_named(name: &str) -> Option<Codec> {
    let name = name.rsplit('/').next().unwrap_or_default();
    ALL_CODECS.into_iter().find(|codec| {
        let known = mime_type(*codec).rsplit('/').next();
        known.is_some_and(|known| known.eq_ignore_ascii_case(name))
    })
}

/// Every codec that is relayed.
pub const ALL_CODECS: [Codec; 6] = [
    Codec::Opus,
    Codec::Red,
    Codec::Vp8,
    Codec::H264,
    Codec::Vp9,
    Codec::Av1,
];

/// How clients call a codec.
pub fn mime_type(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "audio/opus",
        Codec::Red => "audio/red",
        Codec::Vp8 => "video/VP8",
        Codec::H264 => "video/H264",
        Codec::Vp9 => "video/VP9",
        Codec::Av1 => "video/AV1",
    }
}

/// Which waiting track a section is for: the one it names, else the only one of its kind.
pub fn matching<'a>(
    tracks: &'a mut [Track],
    kind: MediaKind,
    cid: Option<&str>,
) -> Option<&'a mut Track> {
    let is_waiting = |track: &Track| track.kind == kind && !track.is_published();
    let named = tracks.iter().position(|track| {
        is_waiting(track) && cid.is_some_and(|cid| track.cids.iter().any(|one| one == cid))
    });
    let place = named.or_else(|| {
        let mut waiting = tracks.iter().enumerate().filter(|(_, one)| is_waiting(one));
        let (place, _) = waiting.next()?;
        waiting.next().is_none().then_some(place)
    })?;
    Some(&mut tracks[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cid: &str, kind: TrackType, source: TrackSource) -> AddTrackRequest {
        AddTrackRequest {
            cid: cid.into(),
            r#type: kind as i32,
            source: source as i32,
            ..Default::default()
        }
    }

    fn camera(cid: &str) -> Track {
        let request = request(cid, TrackType::Video, TrackSource::Camera);
        Track::new(&request, &Limits::default()).expect("small enough")
    }

    #[test]
    #[expect(deprecated, reason = "what older clients read")]
    fn a_track_is_described_as_announced() {
        let mut request = request("c", TrackType::Video, TrackSource::Camera);
        request.width = 1280;
        for quality in [VideoQuality::High, VideoQuality::Low, VideoQuality::Medium] {
            request.layers.push(VideoLayer {
                quality: quality as i32,
                ..Default::default()
            });
        }
        let track = Track::new(&request, &Limits::default()).expect("small enough");
        assert!(track.info.sid.starts_with("TR_VC"));
        assert!(track.info.simulcast);
        assert_eq!(track.info.stream, "camera");
        let qualities: Vec<i32> = track
            .info
            .layers
            .iter()
            .map(|layer| layer.quality)
            .collect();
        assert_eq!(qualities, [0, 1, 2]);
        assert!(track.audio_hints().dtx);
    }

    #[test]
    fn a_picture_without_encodings_has_one_of_its_own_size() {
        let mut request = request("c", TrackType::Video, TrackSource::ScreenShare);
        (request.width, request.height) = (1920, 1080);
        let track = Track::new(&request, &Limits::default()).expect("small enough");
        let layers = track.announced_layers();
        assert_eq!((layers.len(), layers[0].width), (1, 1920));
        assert_eq!(track.info.stream, "screen");
    }

    #[test]
    fn a_stream_name_cannot_smuggle_a_line() {
        let mut request = request("c", TrackType::Audio, TrackSource::Microphone);
        request.stream = "x\r\na=evil".into();
        let track = Track::new(&request, &Limits::default()).expect("small enough");
        assert_eq!(track.info.stream, "camera");
        request.stream = "endoscope-1".into();
        let track = Track::new(&request, &Limits::default()).expect("small enough");
        assert_eq!(track.info.stream, "endoscope-1");
    }

    #[test]
    fn what_is_too_large_or_no_media_is_refused() {
        let limits = Limits::default();
        let mut large = request("c", TrackType::Audio, TrackSource::Microphone);
        large.name = "n".repeat(limits.name_bytes_max + 1);
        let refusal = Track::new(&large, &limits).map(|_| ());
        assert_eq!(refusal, Err(TrackRefusal::TooLarge));
        let data = request("c", TrackType::Data, TrackSource::Unknown);
        let refusal = Track::new(&data, &limits).map(|_| ());
        assert_eq!(refusal, Err(TrackRefusal::UnsupportedType));
    }

    #[test]
    fn a_section_is_matched_by_name_and_else_only_without_doubt() {
        let mut tracks = vec![camera("a"), camera("b")];
        let named = matching(&mut tracks, MediaKind::Video, Some("b")).map(|t| t.cids[0].clone());
        assert_eq!(named.as_deref(), Some("b"));
        assert!(matching(&mut tracks, MediaKind::Video, Some("x")).is_none());
        assert!(matching(&mut tracks, MediaKind::Audio, Some("a")).is_none());
        let mid = Mid::from("7").expect("short enough");
        tracks[0].publish(mid, Some("a"), Codec::Vp8);
        let only = matching(&mut tracks, MediaKind::Video, Some("x")).map(|t| t.cids[0].clone());
        assert_eq!(only.as_deref(), Some("b"), "the only one that waits");
    }

    #[test]
    fn a_published_track_says_its_section_and_codec() {
        let mut track = camera("a");
        track.publish(
            Mid::from("7").expect("short enough"),
            Some("z"),
            Codec::H264,
        );
        assert_eq!(track.info.mid, "7");
        assert_eq!(track.info.mime_type, "video/H264");
        assert_eq!(track.info.codecs[0].mime_type, "video/H264");
        assert!(track.cids.contains(&"z".to_owned()));
    }
}
