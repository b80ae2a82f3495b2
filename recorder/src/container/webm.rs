//! WebM (Matroska, RFC 9559): a file that can be sought, written as frames come.
//!
//! Clusters begin at keyframes or after five seconds; cues name those that begin with a keyframe. The
//! heads of the file are patched at the end, so the output must be able to seek. Times are
//! milliseconds.

use std::io::{self, Seek, SeekFrom, Write};

use super::{Media, TrackInfo, opus_head};

/// A cluster covers at most so many milliseconds; 16 bits of relative time would allow 32 s.
const CLUSTER_MS: u64 = 5_000;

/// Room for three entries of the seek head.
const SEEK_HEAD_ROOM: usize = 160;

mod id {
    pub(super) const EBML: u32 = 0x1a45_dfa3;
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const SEEK_HEAD: u32 = 0x114d_9b74;
    pub(super) const VOID: u32 = 0xec;
    pub(super) const INFO: u32 = 0x1549_a966;
    pub(super) const TRACKS: u32 = 0x1654_ae6b;
    pub(super) const CLUSTER: u32 = 0x1f43_b675;
    pub(super) const CUES: u32 = 0x1c53_bb6b;
}

/// An element: identifier, size, body.
fn element(id: u32, body: &[u8], out: &mut Vec<u8>) {
    put_id(id, out);
    put_size(body.len() as u64, out);
    out.extend_from_slice(body);
}

fn put_id(id: u32, out: &mut Vec<u8>) {
    let bytes = id.to_be_bytes();
    out.extend_from_slice(&bytes[id.leading_zeros() as usize / 8..]);
}

/// Sizes are always written in eight bytes, so that they can be patched.
fn put_size(size: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&(1 << 56 | size).to_be_bytes());
}

fn uint(id: u32, value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let skip = (value.leading_zeros() as usize / 8).min(7);
    element(id, &bytes[skip..], out);
}

fn float(id: u32, value: f64, out: &mut Vec<u8>) {
    element(id, &value.to_be_bytes(), out);
}

#[derive(Debug)]
struct Cluster {
    time_ms: u64,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Cue {
    time_ms: u64,
    track: u64,
    at: u64,
}

/// Writes one file.
#[derive(Debug)]
pub struct WebmWriter<W> {
    out: W,
    /// For each track whether it is a picture, and the time of its last frame.
    tracks: Vec<(bool, Option<u64>)>,
    has_video: bool,
    /// Where the segment's body begins.
    body_at: u64,
    info_at: u64,
    tracks_at: u64,
    duration_at: u64,
    cluster: Option<Cluster>,
    cues: Vec<Cue>,
    end_ms: u64,
}

impl<W: Write + Seek> WebmWriter<W> {
    /// Begins a file. H.264 does not go into WebM: [`io::ErrorKind::Unsupported`].
    pub fn begin(mut out: W, tracks: &[TrackInfo]) -> io::Result<Self> {
        let mut head = Vec::new();
        element(id::EBML, &ebml_body(), &mut head);
        put_id(id::SEGMENT, &mut head);
        put_size((1 << 56) - 1, &mut head); // unknown until the end
        let body_at = head.len() as u64;
        element(id::VOID, &[0; SEEK_HEAD_ROOM - 9], &mut head);
        let info_at = head.len() as u64;
        let mut info = Vec::new();
        uint(0x2a_d7b1, 1_000_000, &mut info);
        for name in [0x4d80, 0x5741] {
            element(name, b"Consilium", &mut info);
        }
        float(0x4489, 0.0, &mut info);
        element(id::INFO, &info, &mut head);
        let duration_at = head.len() as u64 - 8;
        let tracks_at = head.len() as u64;
        let mut entries = Vec::new();
        for (number, track) in (1..).zip(tracks) {
            element(0xae, &track_entry(number, track)?, &mut entries);
        }
        element(id::TRACKS, &entries, &mut head);
        out.write_all(&head)?;
        Ok(Self {
            out,
            tracks: tracks
                .iter()
                .map(|track| (track.media.is_video(), None))
                .collect(),
            has_video: tracks.iter().any(|track| track.media.is_video()),
            body_at,
            info_at,
            tracks_at,
            duration_at,
            cluster: None,
            cues: Vec::new(),
            end_ms: 0,
        })
    }

    /// Adds a frame of the track at `index`. Times of a track rise; a frame that does not is put one
    /// millisecond behind the one before. Frames of different tracks may be out of order by less than
    /// a cluster's length.
    pub fn frame(
        &mut self,
        index: usize,
        time_us: u64,
        is_keyframe: bool,
        bytes: &[u8],
    ) -> io::Result<()> {
        let (is_video, last) = self.tracks[index];
        let time_ms = (time_us / 1000).max(last.map_or(0, |last| last + 1));
        self.tracks[index].1 = Some(time_ms);
        self.end_ms = self.end_ms.max(time_ms);
        let leads = is_keyframe && (is_video || !self.has_video);
        if self.needs_cluster(time_ms, leads && is_video) {
            self.flush_cluster()?;
            let at = self.out.stream_position()? - self.body_at;
            if leads {
                self.cues.push(Cue {
                    time_ms,
                    track: index as u64 + 1,
                    at,
                });
            }
            let mut body = Vec::new();
            uint(0xe7, time_ms, &mut body);
            self.cluster = Some(Cluster { time_ms, body });
        }
        let cluster = self.cluster.as_mut().expect("it was begun above");
        let relative = time_ms as i64 - cluster.time_ms as i64;
        let relative = i16::try_from(relative).expect("a cluster is shorter than 32 s");
        let mut block = Vec::with_capacity(bytes.len() + 4);
        block.push(0x80 | (index as u8 + 1));
        block.extend_from_slice(&relative.to_be_bytes());
        block.push(if is_keyframe { 0x80 } else { 0 });
        block.extend_from_slice(bytes);
        element(0xa3, &block, &mut cluster.body);
        Ok(())
    }

    /// Writes what is left, the cues and the heads, and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_cluster()?;
        let cues_at = self.out.stream_position()?;
        let mut cues = Vec::new();
        for cue in &self.cues {
            element(0xbb, &cue_point(cue), &mut cues);
        }
        let mut tail = Vec::new();
        if !self.cues.is_empty() {
            element(id::CUES, &cues, &mut tail);
        }
        self.out.write_all(&tail)?;
        let end = self.out.stream_position()?;
        self.patch(
            self.body_at - 8,
            &(1_u64 << 56 | (end - self.body_at)).to_be_bytes(),
        )?;
        let seek_head = self.seek_head((!self.cues.is_empty()).then_some(cues_at));
        self.patch(self.body_at, &seek_head)?;
        // The last frame lasts as long as a frame of sound.
        let duration = (self.end_ms + 20) as f64;
        self.patch(self.duration_at, &duration.to_be_bytes())?;
        self.out.seek(SeekFrom::Start(end))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn needs_cluster(&self, time_ms: u64, is_picture_keyframe: bool) -> bool {
        let Some(cluster) = &self.cluster else {
            return true;
        };
        let within = time_ms as i64 - cluster.time_ms as i64;
        is_picture_keyframe || within >= CLUSTER_MS as i64 || within < i64::from(i16::MIN)
    }

    fn flush_cluster(&mut self) -> io::Result<()> {
        if let Some(cluster) = self.cluster.take() {
            let mut bytes = Vec::with_capacity(cluster.body.len() + 12);
            element(id::CLUSTER, &cluster.body, &mut bytes);
            self.out.write_all(&bytes)?;
        }
        Ok(())
    }

    fn seek_head(&self, cues_at: Option<u64>) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut targets = vec![(id::INFO, self.info_at), (id::TRACKS, self.tracks_at)];
        targets.extend(cues_at.map(|at| (id::CUES, at)));
        for (target, at) in targets {
            let mut seek = Vec::new();
            element(0x53ab, &target.to_be_bytes(), &mut seek);
            uint(0x53ac, at - self.body_at, &mut seek);
            // Short sizes, or three entries would not fit.
            entries.extend_from_slice(&[0x4d, 0xbb, 0x80 | seek.len() as u8]);
            entries.extend_from_slice(&seek);
        }
        let mut head = Vec::new();
        put_id(id::SEEK_HEAD, &mut head);
        head.extend_from_slice(&[0x40, entries.len() as u8]);
        head.extend_from_slice(&entries);
        let room = SEEK_HEAD_ROOM
            .checked_sub(head.len() + 9)
            .expect("three entries fit");
        element(id::VOID, &vec![0; room], &mut head);
        head
    }

    fn patch(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(at))?;
        self.out.write_all(bytes)
    }
}

fn ebml_body() -> Vec<u8> {
    let mut body = Vec::new();
    uint(0x4286, 1, &mut body);
    uint(0x42f7, 1, &mut body);
    uint(0x42f2, 4, &mut body);
    uint(0x42f3, 8, &mut body);
    element(0x4282, b"webm", &mut body);
    uint(0x4287, 4, &mut body);
    uint(0x4285, 2, &mut body);
    body
}

fn track_entry(number: u64, track: &TrackInfo) -> io::Result<Vec<u8>> {
    let mut entry = Vec::new();
    uint(0xd7, number, &mut entry);
    uint(0x73c5, number, &mut entry);
    uint(0x9c, 0, &mut entry);
    element(0x22_b59c, b"und", &mut entry);
    element(0x536e, track.name.as_bytes(), &mut entry);
    match &track.media {
        Media::Opus { channels } => {
            element(0x86, b"A_OPUS", &mut entry);
            uint(0x83, 2, &mut entry);
            element(0x63a2, &opus_head(*channels, 0), &mut entry);
            uint(0x56aa, 0, &mut entry);
            uint(0x56bb, 80_000_000, &mut entry);
            let mut audio = Vec::new();
            float(0xb5, 48_000.0, &mut audio);
            uint(0x9f, u64::from(*channels), &mut audio);
            element(0xe1, &audio, &mut entry);
        }
        Media::Vp8 { width, height } => put_picture(b"V_VP8", *width, *height, &mut entry),
        Media::Vp9 { width, height } => put_picture(b"V_VP9", *width, *height, &mut entry),
        Media::Av1 {
            width,
            height,
            configuration,
        } => {
            put_picture(b"V_AV1", *width, *height, &mut entry);
            element(0x63a2, configuration, &mut entry);
        }
        Media::H264 { .. } => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok(entry)
}

fn put_picture(codec: &[u8], width: u32, height: u32, entry: &mut Vec<u8>) {
    element(0x86, codec, entry);
    uint(0x83, 1, entry);
    let mut video = Vec::new();
    uint(0xb0, u64::from(width), &mut video);
    uint(0xba, u64::from(height), &mut video);
    element(0xe0, &video, entry);
}

fn cue_point(cue: &Cue) -> Vec<u8> {
    let mut position = Vec::new();
    uint(0xf7, cue.track, &mut position);
    uint(0xf1, cue.at, &mut position);
    let mut point = Vec::new();
    uint(0xb3, cue.time_ms, &mut point);
    element(0xb7, &position, &mut point);
    point
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn tracks() -> [TrackInfo; 2] {
        [
            TrackInfo {
                media: Media::Opus { channels: 1 },
                name: "microphone".into(),
            },
            TrackInfo {
                media: Media::Vp8 {
                    width: 320,
                    height: 240,
                },
                name: "camera".into(),
            },
        ]
    }

    /// Walks the elements of a body: identifier, where the body begins, its length.
    fn walk(bytes: &[u8]) -> Vec<(u32, usize, usize)> {
        let mut at = 0;
        let mut found = Vec::new();
        while at < bytes.len() {
            let id_len = bytes[at].leading_zeros() as usize + 1;
            let id = bytes[at..at + id_len]
                .iter()
                .fold(0, |id, &byte| id << 8 | u32::from(byte));
            at += id_len;
            let size_len = bytes[at].leading_zeros() as usize + 1;
            let mut size = u64::from(bytes[at]) & ((1 << (8 - size_len)) - 1);
            for &byte in &bytes[at + 1..at + size_len] {
                size = size << 8 | u64::from(byte);
            }
            at += size_len;
            found.push((id, at, size as usize));
            at += size as usize;
        }
        assert_eq!(at, bytes.len(), "every size is right");
        found
    }

    #[test]
    fn heads_point_at_what_they_name() {
        let mut writer = WebmWriter::begin(Cursor::new(Vec::new()), &tracks()).expect("in memory");
        for step in 0..600_u64 {
            writer
                .frame(0, step * 20_000, true, &[0xf8, 1])
                .expect("in memory");
            if step % 2 == 0 {
                writer
                    .frame(1, step * 20_000, step % 200 == 0, &[9; 100])
                    .expect("in memory");
            }
        }
        let bytes = writer.finish().expect("in memory").into_inner();
        let top = walk(&bytes);
        assert_eq!(
            top.iter().map(|part| part.0).collect::<Vec<_>>(),
            [id::EBML, id::SEGMENT]
        );
        let (_, at, len) = top[1];
        let body = &bytes[at..at + len];
        let parts = walk(body);
        let clusters: Vec<usize> = parts
            .iter()
            .filter(|part| part.0 == id::CLUSTER)
            .map(|part| part.1 - 12)
            .collect();
        assert_eq!(parts.iter().filter(|part| part.0 == id::CUES).count(), 1);
        let (_, cues_at, cues_len) = *parts.last().expect("cues are last");
        let cues = walk(&body[cues_at..cues_at + cues_len]);
        assert_eq!(cues.len(), 3, "one for each keyframe that begins a cluster");
        for (_, point_at, point_len) in cues {
            let point = &body[cues_at + point_at..cues_at + point_at + point_len];
            let (_, positions_at, positions_len) = walk(point)[1];
            let positions = &point[positions_at..positions_at + positions_len];
            let (_, value_at, value_len) = walk(positions)[1];
            let value = positions[value_at..value_at + value_len].iter();
            let place = value.fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            assert!(clusters.contains(&place), "{place} of {clusters:?}");
        }
    }

    #[test]
    fn times_of_a_track_rise() {
        let mut writer = WebmWriter::begin(Cursor::new(Vec::new()), &tracks()).expect("in memory");
        for time in [5_000, 5_000, 4_000, 40_000_000] {
            writer.frame(1, time, true, &[1]).expect("in memory");
        }
        assert_eq!(writer.end_ms, 40_000);
        assert_eq!(writer.tracks[1].1, Some(40_000));
        writer.finish().expect("in memory");
    }

    #[test]
    fn no_picture_of_another_format_is_taken() {
        let track = TrackInfo {
            media: Media::H264 {
                width: 1,
                height: 1,
                sps: vec![],
                pps: vec![],
            },
            name: String::new(),
        };
        let error = WebmWriter::begin(Cursor::new(Vec::new()), &[track]).expect_err("is refused");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
