//! Fragmented MP4 (ISO/IEC 14496-12) for H.264 beside Opus, written as frames come.
//!
//! A fragment begins at a keyframe of the picture, or after five seconds. The last frame of each track is
//! kept back until the next one says how long it lasts. The boxes are written by `mp4-atom`; when
//! they are cut is decided here. Nothing is patched: any output will do.

use std::io::{self, Write};

use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Codec, Dinf, Dops, Dref, Encode, Ftyp, Hdlr, Header, Matrix, Mdat,
    Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mvex, Mvhd, Opus, Smhd, Stbl, Stco, Stsd, Tfdt, Tfhd, Tkhd,
    Traf, Trak, Trex, Trun, TrunEntry, TrunSamples, Url, Visual, Vmhd,
};

use super::{Media, TrackInfo};

const FRAGMENT_US: u64 = 5_000_000;
const AUDIO_SCALE: u32 = 48_000;
const VIDEO_SCALE: u32 = 90_000;
/// `sample_flags`: depends on no other, or on others and is no sync sample.
const KEYFRAME: u32 = 0x0200_0000;
const OTHER: u32 = 0x0101_0000;
/// How long the last frame of a track lasts: nobody knows.
const LAST_MS: u64 = 20;

#[derive(Debug)]
struct Sample {
    time: u64,
    is_keyframe: bool,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Track {
    scale: u32,
    is_video: bool,
    samples: Vec<Sample>,
}

/// Writes one file.
#[derive(Debug)]
pub struct Fmp4Writer<W> {
    out: W,
    tracks: Vec<Track>,
    has_video: bool,
    fragment: u32,
    fragment_since_us: Option<u64>,
}

fn broken(error: mp4_atom::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl<W: Write> Fmp4Writer<W> {
    /// Begins a file. No other picture than H.264 goes into MP4: [`io::ErrorKind::Unsupported`].
    pub fn begin(mut out: W, tracks: &[TrackInfo]) -> io::Result<Self> {
        let ftyp = Ftyp {
            major_brand: b"iso6".into(),
            minor_version: 0,
            compatible_brands: vec![b"iso6".into(), b"mp41".into()],
        };
        let numbered = || (1..).zip(tracks);
        let moov = Moov {
            mvhd: Mvhd {
                creation_time: 0,
                modification_time: 0,
                timescale: 1000,
                duration: 0,
                rate: 1.into(),
                volume: 1.into(),
                matrix: upright(),
                next_track_id: tracks.len() as u32 + 1,
            },
            mvex: Some(Mvex {
                mehd: None,
                trex: numbered().map(|(number, _)| trex(number)).collect(),
            }),
            trak: numbered()
                .map(|(number, track)| trak(number, track))
                .collect::<io::Result<_>>()?,
            ..Default::default()
        };
        let mut head = Vec::new();
        ftyp.encode(&mut head).map_err(broken)?;
        moov.encode(&mut head).map_err(broken)?;
        out.write_all(&head)?;
        Ok(Self {
            out,
            tracks: tracks
                .iter()
                .map(|track| Track {
                    scale: scale(&track.media),
                    is_video: track.media.is_video(),
                    samples: Vec::new(),
                })
                .collect(),
            has_video: tracks.iter().any(|track| track.media.is_video()),
            fragment: 0,
            fragment_since_us: None,
        })
    }

    /// Adds a frame of the track at `index`. Times of a track rise; one that does not is put right
    /// behind the one before.
    pub fn frame(
        &mut self,
        index: usize,
        time_us: u64,
        is_keyframe: bool,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        let since = *self.fragment_since_us.get_or_insert(time_us);
        let is_start = is_keyframe && self.tracks[index].is_video;
        if is_start || time_us.saturating_sub(since) >= FRAGMENT_US {
            self.flush(false)?;
            self.fragment_since_us = Some(time_us);
        }
        let track = &mut self.tracks[index];
        let time = (u128::from(time_us) * u128::from(track.scale) / 1_000_000) as u64;
        let after = track.samples.last().map_or(0, |last| last.time + 1);
        track.samples.push(Sample {
            time: time.max(after),
            is_keyframe: is_keyframe || !track.is_video,
            bytes,
        });
        Ok(())
    }

    /// Writes what is left and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Whether the file has a picture.
    pub fn has_video(&self) -> bool {
        self.has_video
    }

    fn flush(&mut self, is_end: bool) -> io::Result<()> {
        let mut data = Vec::new();
        let mut runs = Vec::new();
        for (number, track) in (1..).zip(&mut self.tracks) {
            if let Some(run) = track.take_run(is_end, &mut data) {
                runs.push((number, run));
            }
        }
        if runs.is_empty() {
            return Ok(());
        }
        self.fragment += 1;
        // The place of the data depends on the length of the box that names it.
        let mut moof = Vec::new();
        self.moof(&runs, 0).encode(&mut moof).map_err(broken)?;
        let data_at = moof.len() as u32 + 8;
        moof.clear();
        self.moof(&runs, data_at)
            .encode(&mut moof)
            .map_err(broken)?;
        let header = Header {
            kind: Mdat::KIND,
            size: Some(data.len()),
        };
        header.encode(&mut moof).map_err(broken)?;
        self.out.write_all(&moof)?;
        self.out.write_all(&data)
    }

    fn moof(&self, runs: &[(u32, Run)], data_at: u32) -> Moof {
        Moof {
            mfhd: Mfhd {
                sequence_number: self.fragment,
            },
            traf: runs
                .iter()
                .map(|(number, run)| run.traf(*number, data_at))
                .collect(),
        }
    }
}

/// The samples of one track in one fragment.
#[derive(Debug)]
struct Run {
    time: u64,
    offset: u32,
    entries: Vec<TrunEntry>,
}

impl Track {
    /// Takes the samples whose lengths are known and appends their bytes to `data`.
    fn take_run(&mut self, is_end: bool, data: &mut Vec<u8>) -> Option<Run> {
        let keep = usize::from(!is_end);
        let count = self
            .samples
            .len()
            .checked_sub(keep)
            .filter(|&count| count > 0)?;
        let offset = data.len() as u32;
        let time = self.samples[0].time;
        let last = u64::from(self.scale) * LAST_MS / 1000;
        let entries = (0..count)
            .map(|at| {
                let sample = &self.samples[at];
                let next = self
                    .samples
                    .get(at + 1)
                    .map_or(sample.time + last, |next| next.time);
                data.extend_from_slice(&sample.bytes);
                TrunEntry {
                    duration: Some(u32::try_from(next - sample.time).unwrap_or(u32::MAX)),
                    size: Some(sample.bytes.len() as u32),
                    flags: Some(if sample.is_keyframe { KEYFRAME } else { OTHER }),
                    cts: None,
                }
            })
            .collect();
        self.samples.drain(..count);
        Some(Run {
            time,
            offset,
            entries,
        })
    }
}

impl Run {
    fn traf(&self, track_id: u32, data_at: u32) -> Traf {
        Traf {
            tfhd: Tfhd {
                track_id,
                default_base_is_moof: true,
                ..Default::default()
            },
            tfdt: Some(Tfdt {
                base_media_decode_time: self.time,
            }),
            trun: vec![Trun {
                data_offset: Some((data_at + self.offset) as i32),
                samples: TrunSamples::Explicit(self.entries.clone()),
            }],
            ..Default::default()
        }
    }
}

fn scale(media: &Media) -> u32 {
    if media.is_video() {
        VIDEO_SCALE
    } else {
        AUDIO_SCALE
    }
}

fn upright() -> Matrix {
    Matrix {
        a: 0x1_0000,
        d: 0x1_0000,
        w: 0x4000_0000,
        ..Default::default()
    }
}

fn trex(track_id: u32) -> Trex {
    Trex {
        track_id,
        default_sample_description_index: 1,
        ..Default::default()
    }
}

fn trak(track_id: u32, track: &TrackInfo) -> io::Result<Trak> {
    let (codec, width, height) = codec(&track.media)?;
    let is_video = track.media.is_video();
    let minf = Minf {
        vmhd: is_video.then(Vmhd::default),
        smhd: (!is_video).then(Smhd::default),
        dinf: Dinf {
            dref: Dref {
                entries: vec![Url::default().into()],
            },
        },
        stbl: Stbl {
            stsd: Stsd {
                codecs: vec![codec],
            },
            stco: Some(Stco::default()),
            ..Default::default()
        },
        ..Default::default()
    };
    Ok(Trak {
        tkhd: Tkhd {
            track_id,
            enabled: true,
            in_movie: true,
            volume: u8::from(!is_video).into(),
            matrix: upright(),
            width: width.into(),
            height: height.into(),
            ..Default::default()
        },
        mdia: Mdia {
            mdhd: Mdhd {
                timescale: scale(&track.media),
                language: "und".into(),
                ..Default::default()
            },
            hdlr: Hdlr {
                handler: if is_video { b"vide" } else { b"soun" }.into(),
                name: track.name.clone(),
            },
            minf,
        },
        ..Default::default()
    })
}

fn codec(media: &Media) -> io::Result<(Codec, u16, u16)> {
    let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
    match media {
        Media::Opus { channels } => {
            let opus = Opus {
                audio: Audio {
                    data_reference_index: 1,
                    channel_count: u16::from(*channels),
                    sample_size: 16,
                    sample_rate: (AUDIO_SCALE as u16).into(),
                },
                dops: Dops {
                    output_channel_count: *channels,
                    pre_skip: 0,
                    input_sample_rate: AUDIO_SCALE,
                    output_gain: 0,
                    channel_mapping: None,
                },
                btrt: None,
            };
            Ok((Codec::Opus(opus), 0, 0))
        }
        Media::H264 {
            width,
            height,
            sps,
            pps,
        } => {
            let avc1 = Avc1 {
                visual: Visual {
                    width: side(*width),
                    height: side(*height),
                    ..Default::default()
                },
                avcc: Avcc::new(sps, pps).map_err(broken)?,
                ..Default::default()
            };
            Ok((Codec::Avc1(avc1), side(*width), side(*height)))
        }
        Media::Vp8 { .. } | Media::Vp9 { .. } | Media::Av1 { .. } => {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_lasts_until_the_next() {
        let tracks = [TrackInfo {
            media: Media::Opus { channels: 1 },
            name: "microphone".into(),
        }];
        let mut writer = Fmp4Writer::begin(Vec::new(), &tracks).expect("in memory");
        for step in 0..600_u64 {
            writer
                .frame(0, step * 20_000, true, vec![0xf8, 1])
                .expect("in memory");
        }
        assert!(!writer.has_video());
        let bytes = writer.finish().expect("in memory");
        let count = bytes.windows(4).filter(|window| window == b"moof").count();
        assert_eq!(count, 3, "12 s in fragments of five");
    }

    #[test]
    fn no_picture_of_another_format_is_taken() {
        let track = TrackInfo {
            media: Media::Vp8 {
                width: 1,
                height: 1,
            },
            name: String::new(),
        };
        let error = Fmp4Writer::begin(Vec::new(), &[track]).expect_err("is refused");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
