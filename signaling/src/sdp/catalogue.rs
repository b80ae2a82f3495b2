//! What we offer to those whom we make offers: the codecs that we can send and how they are numbered,
//! the header extensions, the data section.
//!
//! Every section offers everything of its kind, so that it can carry any track, one after another.
//! The numbers are those of Chromium's own offers: a client that compares both finds one meaning for
//! each. Which codec really comes is the publisher's affair.

use sfu::media::{Codec, CodecParams, H264Params, MediaKind, Mid};
use sfu::unit::PayloadType;

use super::parse::{Direction, Extension, Feedback, OfferedCodec, Section, SectionKind};

/// What can be asked of us for pictures (RFC 4585, RFC 5104).
const FEEDBACK: Feedback = Feedback {
    nack: true,
    nack_pli: true,
    ccm_fir: true,
    transport_cc: true,
    goog_remb: false,
};

/// A section for tracks of one kind.
pub fn media(mid: Mid, kind: MediaKind) -> Section {
    let codecs = match kind {
        MediaKind::Audio => sound(),
        MediaKind::Video => pictures(),
    };
    Section {
        first_payload_type: codecs.first().map(|codec| codec.params.payload_type),
        codecs,
        extensions: extensions(kind),
        ..section(mid, SectionKind::Media(kind))
    }
}

/// The section for data channels.
pub fn data(mid: Mid) -> Section {
    section(mid, SectionKind::Data)
}

fn section(mid: Mid, kind: SectionKind) -> Section {
    Section {
        kind,
        mid,
        direction: Direction::SendOnly,
        is_rejected: false,
        codecs: Vec::new(),
        first_payload_type: None,
        extensions: Vec::new(),
        mixes_extensions: true,
        rids: Vec::new(),
        msid: None,
        sources: Vec::new(),
        sctp: None,
    }
}

fn extensions(kind: MediaKind) -> Vec<(u8, Extension)> {
    match kind {
        MediaKind::Audio => vec![(1, Extension::AudioLevel), (4, Extension::Mid)],
        MediaKind::Video => vec![
            (3, Extension::TransportCc),
            (4, Extension::Mid),
            (12, Extension::DependencyDescriptor),
            (13, Extension::VideoOrientation),
        ],
    }
}

fn sound() -> Vec<OfferedCodec> {
    [(Codec::Opus, 111), (Codec::Red, 63)]
        .map(|(codec, number)| OfferedCodec {
            params: CodecParams {
                codec,
                payload_type: PayloadType(number),
                rtx_payload_type: None,
                clock_rate: 48_000,
                h264: None,
            },
            feedback: Feedback::default(),
        })
        .into()
}

fn pictures() -> Vec<OfferedCodec> {
    let vp8 = picture(Codec::Vp8, (96, 97), None);
    // Baseline and constrained baseline, with and without fragments, as publishers may choose.
    let h264 = [
        (103, 104, 0x42_00_1f, 1),
        (107, 108, 0x42_00_1f, 0),
        (109, 114, 0x42_e0_1f, 1),
        (115, 116, 0x42_e0_1f, 0),
    ];
    let h264 = h264.map(|(number, rtx, profile_level_id, packetization_mode)| {
        let params = H264Params {
            profile_level_id,
            packetization_mode,
        };
        picture(Codec::H264, (number, rtx), Some(params))
    });
    let vp9 = picture(Codec::Vp9, (98, 99), None);
    let av1 = picture(Codec::Av1, (45, 46), None);
    [vp8].into_iter().chain(h264).chain([vp9, av1]).collect()
}

fn picture(codec: Codec, (number, rtx): (u8, u8), h264: Option<H264Params>) -> OfferedCodec {
    OfferedCodec {
        params: CodecParams {
            codec,
            payload_type: PayloadType(number),
            rtx_payload_type: Some(PayloadType(rtx)),
            clock_rate: 90_000,
            h264,
        },
        feedback: FEEDBACK,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_number_means_two_things() {
        let mid = Mid::from("0").expect("short enough");
        let sections = [MediaKind::Audio, MediaKind::Video].map(|kind| media(mid, kind));
        let codecs = sections.iter().flat_map(|section| &section.codecs);
        let numbers: Vec<u8> = codecs
            .flat_map(|codec| {
                let params = codec.params;
                [Some(params.payload_type), params.rtx_payload_type]
            })
            .flatten()
            .map(|number| number.0)
            .collect();
        let distinct: HashSet<u8> = numbers.iter().copied().collect();
        assert_eq!(distinct.len(), numbers.len());
        assert!(distinct.iter().all(|number| *number < 128));
    }
}
