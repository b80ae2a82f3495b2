//! What an offer and our answer amount to, in the media plane's own values.

use sfu::media::{
    Codec, CodecParams, LayerParams, LayerSize, MediaKind, PublicationParams, Rid,
    SubscriptionParams,
};
use sfu::transport::params::{ExtensionIds, IceCredentials, TransportParams};
use sfu::unit::{Bitrate, Ssrc};

use super::parse::{Extension, Offer, Section};

/// A picture size as a publisher announced it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnouncedLayer {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bits per second at most.
    pub bitrate: u32,
}

/// The transport that an offer asks for, with our credentials.
pub fn transport(offer: &Offer, local_ice: IceCredentials) -> TransportParams {
    TransportParams {
        local_ice,
        remote_ice: offer.ice.clone(),
        remote_fingerprint: offer.fingerprint,
        extensions: extension_ids(&offer.sections),
        sctp: offer.sctp(),
    }
}

/// How the client numbers header extensions. Within a bundle a number means the same everywhere
/// (RFC 8843 section 9.2), so the first section that names one decides.
pub fn extension_ids(sections: &[Section]) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    let sections = sections.iter().filter(|one| !one.is_rejected);
    for (id, extension) in sections.flat_map(|section| &section.extensions) {
        let place = match extension {
            Extension::Mid => &mut ids.mid,
            Extension::Rid => &mut ids.rid,
            Extension::RepairedRid => &mut ids.repaired_rid,
            Extension::AudioLevel => &mut ids.audio_level,
            Extension::AbsSendTime => &mut ids.abs_send_time,
            Extension::TransportCc => &mut ids.transport_cc,
            Extension::VideoOrientation => &mut ids.video_orientation,
            Extension::DependencyDescriptor => &mut ids.dependency_descriptor,
        };
        place.get_or_insert(*id);
    }
    ids
}

/// The codecs that a publisher may use, the preferred one first, else as offered.
///
/// Redundant audio goes first unless it was declined: clients send the first that is answered.
pub fn publication_codecs(
    section: &Section,
    preferred: Option<Codec>,
    wants_red: bool,
) -> Vec<CodecParams> {
    let mut codecs: Vec<CodecParams> = section
        .codecs
        .iter()
        .map(|offered| offered.params)
        .filter(|params| wants_red || params.codec != Codec::Red)
        .collect();
    codecs.sort_by_key(|params| {
        let is_red = params.codec == Codec::Red;
        let is_preferred = preferred == Some(params.codec);
        !(is_red || is_preferred)
    });
    codecs
}

/// What the media plane must know to receive a track. `announced` is sorted by size, the smallest
/// first.
pub fn publication(
    section: &Section,
    kind: MediaKind,
    codecs: Vec<CodecParams>,
    announced: &[AnnouncedLayer],
) -> PublicationParams {
    let layers = if section.rids.is_empty() || kind == MediaKind::Audio {
        vec![single_layer(section, announced)]
    } else {
        simulcast_layers(section, announced)
    };
    PublicationParams {
        kind,
        mid: section.mid,
        spatial_layers: spatial_layers(section, &codecs, announced),
        codecs,
        layers,
    }
}

/// A client that prefers VP9 or AV1 and has announced several sizes sends them all in one encoding.
fn spatial_layers(
    section: &Section,
    codecs: &[CodecParams],
    announced: &[AnnouncedLayer],
) -> Vec<LayerSize> {
    let first = codecs.first().map(|params| params.codec);
    let is_layered = matches!(first, Some(Codec::Vp9 | Codec::Av1));
    if !section.rids.is_empty() || !is_layered || announced.len() < 2 {
        return Vec::new();
    }
    let size = |layer: &AnnouncedLayer| LayerSize {
        width: layer.width,
        height: layer.height,
    };
    announced.iter().map(size).collect()
}

fn single_layer(section: &Section, announced: &[AnnouncedLayer]) -> LayerParams {
    let source = section.sources.first();
    let size = announced.last().copied().unwrap_or_default();
    LayerParams {
        rid: None,
        ssrc: source.map(|source| source.ssrc),
        rtx_ssrc: source.and_then(|source| source.rtx),
        width: size.width,
        height: size.height,
        bitrate_max: Bitrate(size.bitrate.into()),
    }
}

fn simulcast_layers(section: &Section, announced: &[AnnouncedLayer]) -> Vec<LayerParams> {
    by_size(&section.rids)
        .into_iter()
        .enumerate()
        .map(|(rank, rid)| {
            let size = announced.get(rank).copied().unwrap_or_default();
            LayerParams {
                rid: Some(rid),
                ssrc: None,
                rtx_ssrc: None,
                width: size.width,
                height: size.height,
                bitrate_max: Bitrate(size.bitrate.into()),
            }
        })
        .collect()
}

/// The encodings from the smallest to the largest. The clients call them q, h and f (quarter, half,
/// full), some of them offer the largest first; unknown names are taken as offered.
fn by_size(rids: &[Rid]) -> Vec<Rid> {
    let mut rids = rids.to_vec();
    let rank = |rid: &Rid| ["q", "h", "f"].iter().position(|name| *name == &**rid);
    if rids.iter().all(|rid| rank(rid).is_some()) {
        rids.sort_by_key(rank);
    }
    rids
}

/// How a publication is numbered in a subscriber's section.
pub fn subscription(section: &Section, ssrc: Ssrc, rtx_ssrc: Option<Ssrc>) -> SubscriptionParams {
    SubscriptionParams {
        mid: section.mid,
        ssrc,
        rtx_ssrc,
        codecs: section
            .codecs
            .iter()
            .map(|offered| offered.params)
            .collect(),
    }
}
