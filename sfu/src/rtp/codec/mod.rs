//! What a payload says about itself in the part that no end-to-end encryption hides: is it the
//! start of a keyframe, which temporal layer is it, how is it numbered.
//!
//! One file per format; nothing here decodes media. Formats are an enum, because what the media
//! plane must know of each differs.

use crate::error::Reject;
use crate::media::Codec;

pub mod av1;
pub mod h264;
pub mod opus;
pub mod red;
pub mod vp8;
pub mod vp9;

/// What forwarding must know about a payload of any format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadInfo {
    /// A decoder that has seen nothing can start with this packet. Never for audio.
    pub is_keyframe: bool,
    /// The temporal layer, 0 the lowest, where the format says it in the payload.
    pub temporal_layer: Option<u8>,
    /// A receiver of lower temporal layers may receive this one from here on.
    pub is_switching_point: bool,
}

impl PayloadInfo {
    /// Reads what `payload` says, without padding and, for a retransmission, unwrapped.
    pub fn read(codec: Codec, payload: &[u8]) -> Result<Self, Reject> {
        match codec {
            Codec::Opus | Codec::Red => Ok(Self::default()),
            Codec::Vp8 => {
                let descriptor = vp8::Descriptor::parse(payload)?;
                Ok(Self {
                    is_keyframe: descriptor.is_keyframe,
                    temporal_layer: descriptor.temporal_layer,
                    is_switching_point: descriptor.is_keyframe || descriptor.is_layer_sync,
                })
            }
            Codec::Vp9 => {
                let descriptor = vp9::Descriptor::parse(payload)?;
                let is_keyframe = descriptor.starts_keyframe();
                Ok(Self {
                    is_keyframe,
                    temporal_layer: Some(descriptor.temporal),
                    is_switching_point: is_keyframe,
                })
            }
            Codec::Av1 => {
                let is_keyframe = av1::Aggregation::parse(payload)?.starts_sequence();
                Ok(Self {
                    is_keyframe,
                    temporal_layer: None,
                    is_switching_point: is_keyframe,
                })
            }
            Codec::H264 => {
                let is_keyframe = h264::Units::parse(payload)?.has_sps;
                Ok(Self {
                    is_keyframe,
                    temporal_layer: None,
                    is_switching_point: is_keyframe,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_answers_the_same_questions() {
        let vp8_key = [0x90, 0xe0, 0x80, 0x05, 0x07, 0x20, 0x10, 0x00];
        let info = PayloadInfo::read(Codec::Vp8, &vp8_key).expect("valid");
        assert!(info.is_keyframe && info.is_switching_point);
        assert_eq!(info.temporal_layer, Some(0));
        let sps = [0x67, 0x42, 0xe0, 0x1f];
        assert!(
            PayloadInfo::read(Codec::H264, &sps)
                .expect("valid")
                .is_keyframe
        );
        let sound = PayloadInfo::read(Codec::Opus, &[0xfc]).expect("valid");
        assert_eq!(sound, PayloadInfo::default());
    }
}
