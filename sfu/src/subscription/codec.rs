//! Which of a publisher's formats a subscriber can decode, and how they are numbered there.
//!
//! Payload types are agreed with each side on its own. Redundant audio goes through to those who
//! know it and is unwrapped for those who only know Opus; H.264 goes only where a decoder accepts
//! its profile and its packetisation.

use arrayvec::ArrayVec;

use crate::media::{Codec, CodecParams, H264Params, SubscriptionParams};
use crate::unit::PayloadType;

/// More formats than [`crate::config::Limits::codecs_per_track_max`] would ever be set to.
const CODECS_MAX: usize = 16;

/// How one format of the publisher leaves us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentCodec {
    /// The format as it leaves.
    pub codec: Codec,
    /// Its payload type at the subscriber.
    pub payload_type: PayloadType,
    /// The payload type of its retransmissions, if they have a stream.
    pub rtx_payload_type: Option<PayloadType>,
    /// The redundant copies are left out.
    pub unwraps_red: bool,
}

/// The formats of a publication by their places, as far as one subscriber takes them.
#[derive(Clone, Debug)]
pub struct CodecMap {
    sent: ArrayVec<Option<SentCodec>, CODECS_MAX>,
}

impl CodecMap {
    /// `None` if there is nothing in common.
    pub fn new(published: &[CodecParams], params: &SubscriptionParams) -> Option<Self> {
        let sent: ArrayVec<_, CODECS_MAX> = published
            .iter()
            .take(CODECS_MAX)
            .map(|codec| find(codec, params))
            .collect();
        sent.iter().any(Option::is_some).then_some(Self { sent })
    }

    /// Whether everything that is sent again has a stream of its own.
    pub fn is_always_repaired(&self) -> bool {
        let mut sent = self.sent.iter().flatten();
        sent.all(|codec| codec.rtx_payload_type.is_some())
    }

    /// A payload type of retransmissions, if there is one.
    pub fn repair_payload_type(&self) -> Option<PayloadType> {
        self.sent
            .iter()
            .flatten()
            .find_map(|codec| codec.rtx_payload_type)
    }

    /// How the format of that place leaves us, if at all.
    pub fn sent(&self, index: u8) -> Option<SentCodec> {
        self.sent.get(usize::from(index)).copied().flatten()
    }
}

fn find(published: &CodecParams, params: &SubscriptionParams) -> Option<SentCodec> {
    let take = |received: &CodecParams, unwraps_red| SentCodec {
        codec: received.codec,
        payload_type: received.payload_type,
        rtx_payload_type: received
            .rtx_payload_type
            .filter(|_| params.rtx_ssrc.is_some()),
        unwraps_red,
    };
    let of = |codec| params.codecs.iter().filter(move |r| r.codec == codec);
    match published.codec {
        Codec::H264 => of(Codec::H264)
            .find(|received| received.h264 == published.h264)
            .or_else(|| of(Codec::H264).find(|received| decodes(received.h264, published.h264)))
            .map(|received| take(received, false)),
        Codec::Red => of(Codec::Red)
            .next()
            .map(|received| take(received, false))
            .or_else(|| of(Codec::Opus).next().map(|received| take(received, true))),
        codec => of(codec).next().map(|received| take(received, false)),
    }
}

/// Whether a decoder of `receiver` takes a stream of `sender`. Levels do not count: all who offer
/// H.264 in WebRTC allow them to differ (RFC 6184 section 8.2.2, level-asymmetry-allowed).
fn decodes(receiver: Option<H264Params>, sender: Option<H264Params>) -> bool {
    let (receiver, sender) = (receiver.unwrap_or(DEFAULT), sender.unwrap_or(DEFAULT));
    receiver.packetization_mode >= sender.packetization_mode
        && profile(receiver).decodes(profile(sender))
}

/// Without parameters: Baseline, single units (RFC 6184 section 8.1).
const DEFAULT: H264Params = H264Params {
    profile_level_id: 0x42_000a,
    packetization_mode: 0,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    High,
    Other(u32),
}

impl Profile {
    fn decodes(self, sent: Profile) -> bool {
        match (self, sent) {
            (Self::Other(_), _) | (_, Self::Other(_)) => self == sent,
            // Its stream uses nothing that any of the others lacks.
            (_, Self::ConstrainedBaseline) | (Self::High, Self::Main) => true,
            _ => self == sent,
        }
    }
}

fn profile(params: H264Params) -> Profile {
    let (idc, constraints) = (
        params.profile_level_id >> 16 & 0xff,
        params.profile_level_id >> 8 & 0xff,
    );
    match idc {
        // constraint_set1: what Main decodes as well is Constrained Baseline.
        0x42 if constraints & 0x40 != 0 => Profile::ConstrainedBaseline,
        0x42 => Profile::Baseline,
        0x4d if constraints & 0x80 != 0 => Profile::ConstrainedBaseline,
        0x4d => Profile::Main,
        0x64 => Profile::High,
        _ => Profile::Other(params.profile_level_id >> 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Mid;
    use crate::unit::Ssrc;

    fn codec(codec: Codec, payload_type: u8) -> CodecParams {
        CodecParams {
            codec,
            payload_type: PayloadType(payload_type),
            rtx_payload_type: Some(PayloadType(payload_type + 1)),
            clock_rate: 90_000,
            h264: None,
        }
    }

    fn h264(payload_type: u8, profile_level_id: u32, packetization_mode: u8) -> CodecParams {
        CodecParams {
            h264: Some(H264Params {
                profile_level_id,
                packetization_mode,
            }),
            ..codec(Codec::H264, payload_type)
        }
    }

    fn sent(published: &[CodecParams], received: &[CodecParams]) -> Vec<Option<u8>> {
        let params = SubscriptionParams {
            mid: Mid::new(),
            ssrc: Ssrc(1),
            rtx_ssrc: None,
            codecs: received.to_vec(),
        };
        CodecMap::new(published, &params).map_or_else(Vec::new, |map| {
            (0..published.len() as u8)
                .map(|index| map.sent(index).map(|sent| sent.payload_type.0))
                .collect()
        })
    }

    #[test]
    fn redundant_audio_is_unwrapped_only_for_those_who_lack_it() {
        let published = [codec(Codec::Red, 63), codec(Codec::Opus, 111)];
        let both = [codec(Codec::Opus, 109), codec(Codec::Red, 63)];
        assert_eq!(sent(&published, &both), [Some(63), Some(109)]);
        assert_eq!(sent(&published, &both[..1]), [Some(109), Some(109)]);
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        assert!(sent(&[codec(Codec::Vp8, 96)], &[codec(Codec::H264, 102)]).is_empty());
    }

    #[test]
    fn h264_goes_where_it_is_decoded() {
        let constrained = h264(106, 0x42_e01f, 1);
        let single = h264(108, 0x42_e01f, 0);
        let baseline = h264(102, 0x42_001f, 1);
        let high = h264(112, 0x64_0c1f, 1);
        let cases = [
            (constrained, vec![baseline, constrained], Some(106)),
            (constrained, vec![high], Some(112)),
            (constrained, vec![single], None),
            (single, vec![constrained], Some(106)),
            (high, vec![constrained, baseline], None),
            (h264(1, 0x42_e034, 1), vec![constrained], Some(106)),
        ];
        for (published, received, expected) in cases {
            let map = sent(&[published], &received);
            assert_eq!(map.first().copied().flatten(), expected, "{received:?}");
        }
    }

    #[test]
    fn retransmissions_need_a_source() {
        let mut params = SubscriptionParams {
            mid: Mid::new(),
            ssrc: Ssrc(1),
            rtx_ssrc: None,
            codecs: vec![codec(Codec::Vp8, 100)],
        };
        let rtx = |params: &SubscriptionParams| {
            CodecMap::new(&[codec(Codec::Vp8, 96)], params)
                .and_then(|map| map.sent(0))
                .and_then(|sent| sent.rtx_payload_type)
        };
        assert_eq!(rtx(&params), None);
        params.rtx_ssrc = Some(Ssrc(2));
        assert_eq!(rtx(&params), Some(PayloadType(101)));
    }
}
