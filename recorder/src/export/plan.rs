//! What goes where: people, their lanes, and the files that hold them.
//!
//! A lane is one stream of a file: the tracks of a person from one source in one format, one after
//! the other. Whoever left and came back, or turned a camera off and on, keeps his lane; what runs at
//! the same time has one of its own. Nothing here reads or writes anything.

use std::collections::BTreeMap;

use crate::container::{Media, TrackInfo};
use crate::depacketize::Format;
use crate::journal::body::{MediaKind, Source};
use crate::timeline::{Survey, Tape};

/// A track is replaced by the next one before its end was noticed.
const OVERLAP_US: u64 = 500_000;

/// Streams of one file at most: WebM's short form of a track number has 7 bits.
const STREAMS_MAX: usize = 100;

/// Somebody, however often he joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// The number of the first time.
    pub(super) number: u16,
    pub(super) identity: String,
    pub(super) name: String,
    /// All his numbers.
    pub(super) participants: Vec<u16>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// Index of the person.
    pub(super) person: usize,
    pub(super) info: TrackInfo,
    source: Source,
    until_us: u64,
    pub(super) tracks: Vec<u16>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    WebM,
    Mp4,
}

/// One file and the lanes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePlan {
    pub(super) name: String,
    pub(super) container: Container,
    pub(super) lanes: Vec<usize>,
}

impl FilePlan {
    /// Which stream a lane is in this file.
    pub(super) fn stream_of(&self, lane: usize) -> Option<usize> {
        self.lanes.iter().position(|&it| it == lane)
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) people: Vec<Person>,
    pub(super) lanes: Vec<Lane>,
    pub(super) files: Vec<FilePlan>,
    by_track: BTreeMap<u16, usize>,
}

impl Plan {
    /// The plan for what a recording holds.
    pub(super) fn of(survey: &Survey) -> Self {
        let mut plan = Self {
            people: people(survey),
            ..Self::default()
        };
        let mut tapes: Vec<&Tape> = survey.tracks.values().collect();
        tapes.sort_by_key(|tape| (tape.span, tape.body.track));
        for tape in tapes {
            plan.place(tape);
        }
        for person in 0..plan.people.len() {
            plan.add_files(person);
        }
        plan
    }

    /// The lane of a track; `None` if it is in no file.
    pub(super) fn lane_of(&self, track: u16) -> Option<usize> {
        self.by_track.get(&track).copied()
    }

    /// Channels of the mixed sound: as many as the widest voice has, 0 if nobody is heard.
    pub(super) fn mixed_channels(&self) -> u8 {
        let channels = self.lanes.iter().map(|lane| match lane.info.media {
            Media::Opus { channels } => channels,
            _ => 0,
        });
        channels.max().unwrap_or(0)
    }

    fn place(&mut self, tape: &Tape) {
        let number = tape.body.participant;
        let holds = |person: &Person| person.participants.contains(&number);
        let person = self.people.iter().position(holds);
        let (Some(person), Some(media), Some((from, until))) = (person, media(tape), tape.span)
        else {
            return;
        };
        let fits = |lane: &Lane| {
            lane.person == person
                && lane.source == tape.body.source
                && is_same_format(&lane.info.media, &media)
                && lane.until_us <= from + OVERLAP_US
        };
        let index = self.lanes.iter().position(fits);
        let index = index.unwrap_or_else(|| {
            self.lanes.push(Lane {
                person,
                info: TrackInfo {
                    media: media.clone(),
                    name: called(tape.body.source).to_owned(),
                },
                source: tape.body.source,
                until_us: 0,
                tracks: Vec::new(),
            });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[index];
        if let (Media::Opus { channels }, Media::Opus { channels: more }) =
            (&mut lane.info.media, &media)
        {
            *channels = (*channels).max(*more);
        }
        lane.tracks.push(tape.body.track);
        lane.until_us = lane.until_us.max(until);
        self.by_track.insert(tape.body.track, index);
    }

    /// WebM for what goes there; MP4 for H.264. Whoever has both has both, each with his sound.
    fn add_files(&mut self, person: usize) {
        let mut mine: Vec<usize> = (0..self.lanes.len())
            .filter(|&lane| self.lanes[lane].person == person)
            .collect();
        // The face first: it is what players show of several pictures.
        mine.sort_by_key(|&lane| (rank(&self.lanes[lane]), lane));
        let is = |lane: &usize, container| home(&self.lanes[*lane].info.media) == container;
        let has_h264 = mine.iter().any(|lane| is(lane, Some(Container::Mp4)));
        let has_webm = mine.iter().any(|lane| is(lane, Some(Container::WebM)));
        let number = self.people[person].number;
        let mut files = Vec::new();
        for (container, ending, is_wanted) in [
            (Container::WebM, "webm", has_webm || !has_h264),
            (Container::Mp4, "mp4", has_h264),
        ] {
            let goes = |lane: &&usize| {
                home(&self.lanes[**lane].info.media).is_none_or(|home| home == container)
            };
            let lanes: Vec<usize> = mine.iter().filter(goes).copied().collect();
            if !is_wanted {
                continue;
            }
            for (part, lanes) in lanes.chunks(STREAMS_MAX).enumerate() {
                let part = match part {
                    0 => String::new(),
                    more => format!("-{}", more + 1),
                };
                files.push(FilePlan {
                    name: format!("participant-{number:02}{part}.{ending}"),
                    container,
                    lanes: lanes.to_vec(),
                });
            }
        }
        self.files.extend(files);
    }
}

/// Participants with one identity are one person.
fn people(survey: &Survey) -> Vec<Person> {
    let mut people: Vec<Person> = Vec::new();
    for one in survey.participants.values() {
        match people.iter_mut().find(|it| it.identity == one.identity) {
            Some(known) => known.participants.push(one.participant),
            None => people.push(Person {
                number: one.participant,
                identity: one.identity.clone(),
                name: one.name.clone(),
                participants: vec![one.participant],
            }),
        }
    }
    people
}

fn media(tape: &Tape) -> Option<Media> {
    if tape.unplayable().is_some() {
        return None;
    }
    Some(match (tape.format?, tape.picture.as_ref()) {
        (Format::Opus { .. }, _) => Media::Opus {
            channels: tape.body.channels.clamp(1, 2),
        },
        (Format::Vp8, picture) => {
            let picture = picture?;
            Media::Vp8 {
                width: picture.width,
                height: picture.height,
            }
        }
        (Format::Vp9, picture) => {
            let picture = picture?;
            Media::Vp9 {
                width: picture.width,
                height: picture.height,
            }
        }
        (Format::Av1, picture) => {
            let picture = picture?;
            Media::Av1 {
                width: picture.width,
                height: picture.height,
                configuration: picture.configuration.clone(),
            }
        }
        (Format::H264, picture) => {
            let picture = picture?;
            Media::H264 {
                width: picture.width,
                height: picture.height,
                sps: picture.sps.clone(),
                pps: picture.pps.clone(),
            }
        }
    })
}

fn is_same_format(one: &Media, other: &Media) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// The container that a picture needs; sound goes with either.
fn home(media: &Media) -> Option<Container> {
    match media {
        Media::Opus { .. } => None,
        Media::Vp8 { .. } | Media::Vp9 { .. } | Media::Av1 { .. } => Some(Container::WebM),
        Media::H264 { .. } => Some(Container::Mp4),
    }
}

fn rank(lane: &Lane) -> u8 {
    match (lane.info.media.is_video(), lane.source) {
        (true, Source::Camera) => 0,
        (true, _) => 1,
        (false, Source::Microphone) => 2,
        (false, _) => 3,
    }
}

fn called(source: Source) -> &'static str {
    match source {
        Source::Microphone => "microphone",
        Source::Camera => "camera",
        Source::ScreenShare => "screen share",
        Source::ScreenShareAudio => "screen share audio",
        Source::Unknown => "track",
    }
}

/// Sound or picture, in one word.
pub(super) fn kind_word(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
