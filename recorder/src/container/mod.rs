//! Containers: frames with times into files that players open.
//!
//! WebM takes VP8, VP9, AV1 and Opus, fragmented MP4 takes H.264 and Opus: Chromium refuses VP8 in MP4
//! and H.264 in Matroska, and what both take stands with VP8, so that whoever changed his codec has
//! one file. Ogg takes Opus that we made.

pub mod fmp4;
pub mod ogg;
pub mod webm;

/// One track of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// What it holds.
    pub media: Media,
    /// What players show.
    pub name: String,
}

/// What a track holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// Opus.
    Opus {
        /// 1 or 2.
        channels: u8,
    },
    /// VP8.
    Vp8 {
        /// Pixels across at first.
        width: u32,
        /// Pixels down at first.
        height: u32,
    },
    /// VP9, of several layers as superframes.
    Vp9 {
        /// Pixels across at first.
        width: u32,
        /// Pixels down at first.
        height: u32,
    },
    /// AV1 in temporal units.
    Av1 {
        /// Pixels across at first.
        width: u32,
        /// Pixels down at first.
        height: u32,
        /// `av1C` with the first sequence header.
        configuration: Vec<u8>,
    },
    /// H.264 with lengths before its units.
    H264 {
        /// Pixels across at first.
        width: u32,
        /// Pixels down at first.
        height: u32,
        /// The first sequence parameter set.
        sps: Vec<u8>,
        /// The first picture parameter set.
        pps: Vec<u8>,
    },
}

impl Media {
    /// Whether it is a picture.
    pub fn is_video(&self) -> bool {
        !matches!(self, Self::Opus { .. })
    }
}

/// The head that describes Opus to a decoder (RFC 7845 section 5.1). Calls have no skip at the
/// beginning: the first packet of a recording is not the first of its encoder.
pub(crate) fn opus_head(channels: u8, skip: u16) -> [u8; 19] {
    let mut head = *b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0";
    head[9] = channels;
    head[10..12].copy_from_slice(&skip.to_le_bytes());
    head
}
