//! A published track as it is received: its layers, its loudness, and who is sent it.
//!
//! A publication knows which of its layers a payload belongs to and which of them are alive. It
//! lists its subscriptions by place but never looks into them: the router carries packets from one
//! to the other.

pub mod described;
pub mod history;
pub mod keyframe;
pub mod layer;
pub mod losses;
pub mod reception;

use std::time::Instant;

use arrayvec::ArrayVec;

use self::layer::{Layer, Receipt};
use crate::config::Limits;
use crate::id::PublicationId;
use crate::media::{
    Codec, CodecParams, LayerParams, LayerSize, MediaKind, Mid, PublicationParams, Rid,
};
use crate::slab::SlabPool;
use crate::speaker::VoiceMeter;
use crate::subscription::selector::LayerView;
use crate::unit::PayloadType;

/// More layers than [`Limits::layers_per_publication_max`] would ever be set to.
pub const LAYERS_MAX: usize = 8;

/// What the layers of a publication look like to a selector, smallest first.
pub type LayerViews = ArrayVec<LayerView, LAYERS_MAX>;

/// What a payload type of a publication stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// The codec of this place in the list.
    Media(u8),
    /// Retransmissions of the codec of this place in the list.
    Repair(u8),
}

/// A track as we receive it.
pub struct Publication {
    id: PublicationId,
    kind: MediaKind,
    mid: Mid,
    codecs: Vec<CodecParams>,
    layers: Vec<Layer>,
    spatial_layers: Vec<LayerSize>,
    is_muted: bool,
    is_live: bool,
    /// How loud it is, if it is sound.
    pub voice: VoiceMeter,
}

impl Publication {
    /// A publication that nothing has arrived of; an error is the name of the limit it exceeds.
    pub fn new(
        now: Instant,
        id: PublicationId,
        params: PublicationParams,
        limits: &Limits,
    ) -> Result<Self, &'static str> {
        let layers_max = limits.layers_per_publication_max.min(LAYERS_MAX);
        if params.layers.is_empty() || params.layers.len() > layers_max {
            return Err("layers_per_publication_max");
        }
        if params.codecs.is_empty() || params.codecs.len() > limits.codecs_per_track_max {
            return Err("codecs_per_track_max");
        }
        if params.spatial_layers.len() > layers_max {
            return Err("layers_per_publication_max");
        }
        let kind = params.kind;
        let layers = params
            .layers
            .into_iter()
            .enumerate()
            .map(|(rank, layer)| Layer::new(now, rank as u8, kind, layer, limits))
            .collect();
        Ok(Self {
            id,
            kind,
            mid: params.mid,
            codecs: params.codecs,
            layers,
            spatial_layers: params.spatial_layers,
            is_muted: false,
            is_live: false,
            voice: VoiceMeter::default(),
        })
    }

    /// What a payload type means here.
    pub fn payload_kind(&self, payload_type: PayloadType) -> Option<PayloadKind> {
        self.codecs.iter().zip(0..).find_map(|(codec, index)| {
            if codec.payload_type == payload_type {
                Some(PayloadKind::Media(index))
            } else if codec.rtx_payload_type == Some(payload_type) {
                Some(PayloadKind::Repair(index))
            } else {
                None
            }
        })
    }

    /// The layer of a restriction identifier; the only layer where there is none.
    pub fn rank_of(&self, rid: Option<&Rid>) -> Option<u8> {
        let rank = match rid {
            Some(rid) => self
                .layers
                .iter()
                .position(|layer| layer.params().rid.as_ref() == Some(rid))
                .or_else(|| self.only_layer_without_rid())?,
            None if self.layers.len() == 1 => 0,
            None => return None,
        };
        Some(rank as u8)
    }

    /// Firefox names the one encoding of a section that was agreed without names.
    fn only_layer_without_rid(&self) -> Option<usize> {
        (self.layers.len() == 1 && self.layers[0].params().rid.is_none()).then_some(0)
    }

    /// Draws the conclusions of a packet for the publication as a whole. Returns whether layers
    /// have begun or ceased to live.
    pub fn note(&mut self, now: Instant, rank: u8, receipt: Receipt) -> bool {
        let mut has_changed = receipt.has_come_alive;
        if receipt.is_new_picture && self.layers.len() > 1 {
            for layer in &mut self.layers {
                if layer.rank() != rank {
                    has_changed |= layer.note_picture_elsewhere(now);
                }
            }
        }
        has_changed
    }

    /// Whether this is the first packet ever; the next time it is not.
    pub fn go_live(&mut self) -> bool {
        !std::mem::replace(&mut self.is_live, true)
    }

    /// Stops or resumes forwarding. Returns whether that is a change.
    pub fn set_muted(&mut self, muted: bool) -> bool {
        std::mem::replace(&mut self.is_muted, muted) != muted
    }

    /// Whether nothing of it may be forwarded.
    pub fn is_muted(&self) -> bool {
        self.is_muted
    }

    /// What selectors must know of the layers.
    pub fn views(&self) -> LayerViews {
        self.layers.iter().map(Layer::view).collect()
    }

    /// Gives all packet memory back.
    pub fn clear(&mut self, pool: &mut SlabPool) {
        for layer in &mut self.layers {
            layer.clear(pool);
        }
    }

    /// What was agreed about it, and the sources that have become known.
    pub fn params(&self) -> PublicationParams {
        let layer = |layer: &Layer| LayerParams {
            ssrc: layer.source(),
            rtx_ssrc: layer.repair_source(),
            ..layer.params().clone()
        };
        PublicationParams {
            kind: self.kind,
            mid: self.mid,
            codecs: self.codecs.clone(),
            layers: self.layers.iter().map(layer).collect(),
            spatial_layers: self.spatial_layers.clone(),
        }
    }

    /// It goes on in another room, under an id of that room's.
    pub fn rename(&mut self, id: PublicationId) {
        self.id = id;
    }

    /// Its id.
    pub fn id(&self) -> PublicationId {
        self.id
    }

    /// Sound or picture.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// The section of the publisher's description.
    pub fn mid(&self) -> &Mid {
        &self.mid
    }

    /// What may be sent.
    pub fn codecs(&self) -> &[CodecParams] {
        &self.codecs
    }

    /// The codec of this place in the list.
    pub fn codec(&self, index: u8) -> Codec {
        self.codecs[usize::from(index)].codec
    }

    /// The timestamp units of a second.
    pub fn clock_rate(&self) -> u32 {
        self.codecs[0].clock_rate
    }

    /// The sizes that its one layer carries at once, smallest first; none where each is a layer.
    pub fn spatial_layers(&self) -> &[LayerSize] {
        &self.spatial_layers
    }

    /// All layers, smallest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// All layers, smallest first.
    pub fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// The layer of this rank.
    pub fn layer(&self, rank: u8) -> &Layer {
        &self.layers[usize::from(rank)]
    }

    /// The layer of this rank.
    pub fn layer_mut(&mut self, rank: u8) -> &mut Layer {
        &mut self.layers[usize::from(rank)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Bitrate;

    fn layer(rid: Option<&str>) -> LayerParams {
        LayerParams {
            rid: rid.map(|rid| Rid::from(rid).expect("a short name")),
            ssrc: None,
            rtx_ssrc: None,
            width: 0,
            height: 0,
            bitrate_max: Bitrate(0),
        }
    }

    fn publication(layers: Vec<LayerParams>) -> Result<Publication, &'static str> {
        let params = PublicationParams {
            kind: MediaKind::Video,
            mid: Mid::from("1").expect("a short name"),
            codecs: vec![CodecParams {
                codec: Codec::Vp8,
                payload_type: PayloadType(96),
                rtx_payload_type: Some(PayloadType(97)),
                clock_rate: 90_000,
                h264: None,
            }],
            layers,
            spatial_layers: Vec::new(),
        };
        let now = crate::testing::instant();
        Publication::new(now, PublicationId(1), params, &Limits::default())
    }

    #[test]
    fn layers_are_found_by_their_names() {
        let publication = publication(vec![layer(Some("q")), layer(Some("h"))]).expect("valid");
        let rid = |name| Rid::from(name).expect("a short name");
        assert_eq!(publication.rank_of(Some(&rid("h"))), Some(1));
        assert_eq!(publication.rank_of(Some(&rid("f"))), None);
        assert_eq!(publication.rank_of(None), None);
    }

    #[test]
    fn a_single_layer_needs_no_name() {
        let publication = publication(vec![layer(None)]).expect("valid");
        assert_eq!(publication.rank_of(None), Some(0));
        let rid = Rid::from("f").expect("a short name");
        assert_eq!(publication.rank_of(Some(&rid)), Some(0));
    }

    #[test]
    fn payload_types_tell_media_from_repairs() {
        let publication = publication(vec![layer(None)]).expect("valid");
        let kind = |number| publication.payload_kind(PayloadType(number));
        assert_eq!(kind(96), Some(PayloadKind::Media(0)));
        assert_eq!(kind(97), Some(PayloadKind::Repair(0)));
        assert_eq!(kind(98), None);
    }

    #[test]
    fn limits_are_named() {
        let error = publication(vec![]).err();
        assert_eq!(error, Some("layers_per_publication_max"));
        let error = publication(vec![layer(None); 9]).err();
        assert_eq!(error, Some("layers_per_publication_max"));
    }
}
