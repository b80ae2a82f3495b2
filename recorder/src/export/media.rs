//! One file of a person: frames in, WebM or fragmented MP4 out.

use std::fs::File;
use std::io::{self, BufWriter};

use super::plan::{Container, FilePlan, Plan};
use crate::container::TrackInfo;
use crate::container::fmp4::Fmp4Writer;
use crate::container::webm::WebmWriter;
use crate::depacketize::Frame;

/// A file while it is written.
#[derive(Debug)]
pub(super) enum MediaFile {
    WebM(WebmWriter<BufWriter<File>>),
    Mp4(Fmp4Writer<BufWriter<File>>),
}

impl MediaFile {
    pub(super) fn begin(out: BufWriter<File>, file: &FilePlan, plan: &Plan) -> io::Result<Self> {
        let infos: Vec<TrackInfo> = file
            .lanes
            .iter()
            .map(|&lane| plan.lanes[lane].info.clone())
            .collect();
        Ok(match file.container {
            Container::WebM => Self::WebM(WebmWriter::begin(out, &infos)?),
            Container::Mp4 => Self::Mp4(Fmp4Writer::begin(out, &infos)?),
        })
    }

    pub(super) fn frame(&mut self, stream: usize, time_us: u64, frame: &Frame) -> io::Result<()> {
        match self {
            Self::WebM(out) => out.frame(stream, time_us, frame.is_keyframe, &frame.bytes),
            Self::Mp4(out) => out.frame(stream, time_us, frame.is_keyframe, frame.bytes.clone()),
        }
    }

    pub(super) fn finish(self) -> io::Result<BufWriter<File>> {
        match self {
            Self::WebM(out) => out.finish(),
            Self::Mp4(out) => out.finish(),
        }
    }
}
