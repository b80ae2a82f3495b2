//! What an encoder publishes, from its offer and the words in its address.
//!
//! WHIP carries one stream: at most one picture and one sound (RFC 9725 section 4.4). Both get the
//! label as their name, so that people see which device it is.

use axum::http::StatusCode;
use serde::Deserialize;
use sfu::media::MediaKind;

use super::problem::Problem;
use crate::config::Limits;
use crate::error::ApiError;
use crate::room::permissions::Permissions;
use crate::sdp::{Direction, Offer, Section, SectionKind};
use crate::wire::proto::{
    AddTrackRequest, AudioTrackFeature, TrackSource, TrackType, VideoLayer, VideoQuality,
};

/// The words in an encoder's address.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// What its tracks are called: the name of the device.
    #[serde(default)]
    label: String,
    /// What they are taken for.
    #[serde(default)]
    source: Source,
}

/// What tracks are taken for by applications, which show a camera or a screen and little else.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    #[default]
    Camera,
    Screen,
    Unknown,
}

impl Source {
    fn of(self, kind: MediaKind) -> TrackSource {
        match (self, kind) {
            (Self::Camera, MediaKind::Video) => TrackSource::Camera,
            (Self::Camera, MediaKind::Audio) => TrackSource::Microphone,
            (Self::Screen, MediaKind::Video) => TrackSource::ScreenShare,
            (Self::Screen, MediaKind::Audio) => TrackSource::ScreenShareAudio,
            (Self::Unknown, _) => TrackSource::Unknown,
        }
    }
}

impl Asked {
    /// Whether the label is one that can be shown.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Problem> {
        let wrong = |why| Problem::new(StatusCode::BAD_REQUEST, why);
        if self.label.len() > limits.name_bytes_max {
            return Err(wrong("the label exceeds name_bytes_max"));
        }
        if self.label.chars().any(char::is_control) {
            return Err(wrong("the label has signs that cannot be shown"));
        }
        Ok(())
    }

    /// The tracks that an offer brings, if they may be published.
    pub(super) fn tracks(
        &self,
        offer: &Offer,
        permissions: &Permissions,
    ) -> Result<Vec<AddTrackRequest>, Problem> {
        let impossible = |why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
        let mut tracks = Vec::new();
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let mut sections = offer.sections.iter().filter(|one| sends(one, kind));
            let Some(section) = sections.next() else {
                continue;
            };
            if sections.next().is_some() {
                return Err(impossible("one video and one audio at most can be sent"));
            }
            let source = self.source.of(kind);
            if !permissions.may_publish(source) {
                return Err(ApiError::NotGranted("this source (canPublishSources)").into());
            }
            tracks.push(self.track(section, kind, source));
        }
        match tracks.is_empty() {
            true => Err(impossible(
                "the offer sends neither H.264 or VP8 nor Opus; nothing else is taken here",
            )),
            false => Ok(tracks),
        }
    }

    fn track(&self, section: &Section, kind: MediaKind, source: TrackSource) -> AddTrackRequest {
        // The sound of a device is no speech: its silence is sound as well.
        const SOUND: &[i32] = &[AudioTrackFeature::TfNoDtx as i32];
        let (r#type, cid, features) = match kind {
            MediaKind::Video => (TrackType::Video, "video", &[][..]),
            MediaKind::Audio => (TrackType::Audio, "audio", SOUND),
        };
        AddTrackRequest {
            cid: cid.to_owned(),
            name: self.label.clone(),
            r#type: r#type as i32,
            source: source as i32,
            layers: layers(section, kind),
            audio_features: features.to_vec(),
            disable_red: true,
            ..Default::default()
        }
    }
}

/// Whether a section brings something of this kind that is relayed here.
fn sends(section: &Section, kind: MediaKind) -> bool {
    let directions = [Direction::SendOnly, Direction::SendReceive];
    !section.is_rejected
        && section.kind == SectionKind::Media(kind)
        && directions.contains(&section.direction)
        && !section.codecs.is_empty()
}

/// The encodings of a simulcast by their ranks; their sizes are known to the encoder alone.
fn layers(section: &Section, kind: MediaKind) -> Vec<VideoLayer> {
    use VideoQuality::{High, Low, Medium};
    let qualities: &[VideoQuality] = match (kind, section.rids.len()) {
        (MediaKind::Audio, _) | (_, 0 | 1) => &[],
        (_, 2) => &[Low, High],
        _ => &[Low, Medium, High],
    };
    let layers = qualities.iter().map(|quality| VideoLayer {
        quality: *quality as i32,
        ..Default::default()
    });
    layers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::VideoGrant;

    fn offer(sections: &[(&str, &str)]) -> Offer {
        let mut text = String::from("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
        for (mid, (media, direction)) in sections.iter().enumerate() {
            text += &format!(
                "{media}\r\na=mid:{mid}\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\n\
                 a=ice-pwd:abcdefghijklmnopqrstuv\r\na=fingerprint:sha-256 {}\r\n\
                 a=setup:actpass\r\na={direction}\r\n",
                ["AB"; 32].join(":")
            );
        }
        Offer::parse(&text, &Limits::default()).expect("a good offer")
    }

    const VP8: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000";
    const OPUS: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2";
    const G711: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000";

    fn tracks(
        sections: &[(&str, &str)],
        sources: &[&str],
    ) -> Result<Vec<AddTrackRequest>, Problem> {
        let grant = VideoGrant {
            can_publish_sources: sources.iter().map(|one| (*one).to_owned()).collect(),
            ..VideoGrant::default()
        };
        let asked = Asked {
            label: "otoscope".into(),
            source: Source::Camera,
        };
        asked.tracks(&offer(sections), &Permissions::from_grant(&grant, ""))
    }

    #[test]
    fn picture_and_sound_bear_the_label() {
        let tracks = tracks(&[(OPUS, "sendonly"), (VP8, "sendrecv")], &[]).expect("both");
        let told: Vec<_> = tracks
            .iter()
            .map(|one| (one.name.as_str(), one.r#type(), one.source()))
            .collect();
        assert_eq!(
            told,
            [
                ("otoscope", TrackType::Video, TrackSource::Camera),
                ("otoscope", TrackType::Audio, TrackSource::Microphone),
            ]
        );
    }

    #[test]
    fn what_is_not_sent_or_not_known_is_no_track() {
        let both = tracks(&[(VP8, "sendonly"), (G711, "sendonly")], &[]);
        assert_eq!(both.expect("the picture").len(), 1);
        for sections in [[(VP8, "recvonly")], [(G711, "sendonly")]] {
            assert!(tracks(&sections, &[]).is_err());
        }
        assert!(tracks(&[(VP8, "sendonly"), (VP8, "sendonly")], &[]).is_err());
    }

    #[test]
    fn a_source_that_is_not_granted_is_refused() {
        assert!(tracks(&[(VP8, "sendonly")], &["camera"]).is_ok());
        let refused = tracks(&[(OPUS, "sendonly"), (VP8, "sendonly")], &["camera"]);
        let expected = ApiError::NotGranted("this source (canPublishSources)");
        assert_eq!(refused, Err(expected.into()));
    }

    #[test]
    fn a_label_that_cannot_be_shown_is_refused() {
        let check = |label: &str| {
            let asked = Asked {
                label: label.into(),
                source: Source::Camera,
            };
            asked.check(&Limits::default())
        };
        assert!(check("内窥镜 1").is_ok() && check("").is_ok());
        assert!(check("a\nb").is_err() && check(&"x".repeat(257)).is_err());
    }
}
