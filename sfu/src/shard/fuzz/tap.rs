//! The same with taps: attached, detached and replaced, gates opened and closed, read in time or
//! not at all. What must hold of every recording: nothing enters outside a start and an end, and
//! every packet that was given is read or told by a gap.

use std::collections::HashMap;

use super::{Play, Script};
use crate::config::Limits;
use crate::id::{PublicationId, TransportId};
use crate::media::LayerWish;
use crate::rtp::packet::Header;
use crate::shard::StableHash;
use crate::shard::command::Command;
use crate::tap::{Entry, PictureSize, RecordingMemory, TapMemory, TapReader, TapState};

/// Plays a script with a room that is recorded, in memory for a handful of packets.
pub fn tap(bytes: &[u8]) {
    record(bytes);
}

/// Returns how many packets were read, and how many gaps told of.
fn record(bytes: &[u8]) -> (u64, u64) {
    let limits = Limits {
        tap_arena_bytes: 4_096,
        tap_recording_bytes_max: 2 * 4_096,
        ..Limits::default()
    };
    let mut play = Play::new();
    let mut archive = Archive {
        memory: TapMemory::new(&limits).recording(),
        readers: Vec::new(),
        read: 0,
        told: 0,
    };
    let mut script = Script { bytes };
    archive.command(&mut play, 0, 0);
    for peer in 1..=2 {
        archive.command(&mut play, 2, 8 * peer + 1);
    }
    while let Some(step) = script.byte() {
        match step % 4 {
            0 => play.step(step / 4, &mut script),
            1 if step > 192 => storm(&mut play, script.small()),
            1 => play.media(&mut script),
            2 => archive.command(&mut play, script.small(), script.small()),
            _ => archive.read(usize::from(script.small())),
        }
        play.poll();
    }
    for room in [1, 2] {
        play.command(room, Command::CloseRoom);
        play.poll();
    }
    archive.read(usize::MAX);
    for lane in &archive.readers {
        // One that was meant for a room that had been closed was never attached.
        let is_refused = lane.reader.state() == TapState::Lost && lane.tracks.is_empty();
        assert!(is_refused || lane.reader.state() == TapState::Ended);
        lane.check_sums();
    }
    let stats = play.shard.stats();
    assert_eq!((stats.taps, stats.slabs_used), (0, 0), "something is left");
    assert_eq!(stats.tap_packets, archive.read + archive.told);
    assert_eq!(stats.tap_packets_dropped, archive.told);
    archive.readers.clear();
    assert_eq!(archive.memory.used(), 0, "memory is given back");
    (archive.read, archive.told)
}

/// More than an arena holds, of one stream.
fn storm(play: &mut Play, kind: u8) {
    let mut packet = [0xaa; 259];
    packet[..4].copy_from_slice(&[kind, 4, 0, 255]);
    for _ in 0..16 {
        play.media(&mut Script { bytes: &packet });
        play.poll();
    }
}

/// All taps of the room, one after the other.
struct Archive {
    memory: RecordingMemory,
    readers: Vec<Lane>,
    read: u64,
    told: u64,
}

/// One of them with what has been read.
struct Lane {
    reader: TapReader,
    tracks: HashMap<PublicationId, Track, StableHash>,
}

#[derive(Default)]
struct Track {
    is_open: bool,
    has_layer: bool,
    given: u64,
    found: u64,
}

impl Archive {
    fn command(&mut self, play: &mut Play, kind: u8, which: u8) {
        let publication = PublicationId(1 + u64::from(which % 3));
        let command = match kind % 5 {
            0 => {
                // With a reader that is behind there may be no memory for another tap.
                let Ok((tap, reader)) = crate::tap::tap(play.now, &self.memory) else {
                    return;
                };
                self.readers.push(Lane {
                    reader,
                    tracks: HashMap::default(),
                });
                let side = u32::from(which) * 4;
                Command::AttachTap {
                    tap: Box::new(tap),
                    picture_max: PictureSize {
                        width: side,
                        height: side,
                    },
                }
            }
            1 if which > 200 => Command::DetachTap,
            1 if which > 180 => Command::RefreshTap,
            1 | 2 => Command::SetTapGate {
                transport: TransportId(u64::from(which / 8 % 5)),
                is_open: which & 1 != 0,
            },
            3 => Command::SetTapWish {
                publication,
                wish: Some(LayerWish::Rank(which / 64)),
            },
            _ => Command::SetTapWish {
                publication,
                wish: (which > 128).then_some(LayerWish::Paused),
            },
        };
        play.command(1, command);
    }

    /// At most so many entries of each.
    fn read(&mut self, count: usize) {
        for lane in &mut self.readers {
            for _ in 0..count {
                let Some(entry) = lane.reader.read() else {
                    break;
                };
                note(entry, &mut lane.tracks, &mut self.read, &mut self.told);
            }
        }
    }
}

fn note(
    entry: Entry<'_>,
    tracks: &mut HashMap<PublicationId, Track, StableHash>,
    read: &mut u64,
    told: &mut u64,
) {
    match entry {
        Entry::TrackStarted(start) => {
            let track = tracks.entry(start.publication).or_default();
            assert!(!track.is_open, "it starts once");
            track.is_open = true;
            track.has_layer = false;
        }
        Entry::LayerChanged(change) => {
            tracks.entry(change.publication).or_default().has_layer = change.rank.is_some();
        }
        Entry::Rtp(packet) => {
            let track = tracks.entry(packet.publication).or_default();
            assert!(track.is_open && track.has_layer, "an announced packet");
            track.found += 1;
            *read += 1;
            let header = Header::parse(packet.bytes).expect("a whole header");
            assert_eq!(header.sequence, packet.seq.wire());
            assert_eq!(packet.bytes[0] & 0x20, 0, "without padding");
        }
        Entry::SenderReport(report) => {
            assert!(tracks.entry(report.publication).or_default().is_open);
        }
        Entry::TrackEnded(end) => {
            let track = tracks.entry(end.publication).or_default();
            assert!(std::mem::take(&mut track.is_open), "it had started");
            track.given += end.packets;
        }
        Entry::HeldBack(held) => assert!(held.packets > 0),
        Entry::Gap(gap) => {
            assert!(gap.from <= gap.until && gap.notices == 0);
            for missing in &gap.tracks {
                tracks.entry(missing.publication).or_default().found += missing.packets;
                *told += missing.packets;
            }
        }
    }
}

impl Lane {
    fn check_sums(&self) {
        for track in self.tracks.values() {
            assert!(!track.is_open, "what has started has ended");
            assert_eq!(track.given, track.found, "given is read or told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reaches_the_reader_and_the_bound() {
        let pictures = [1, 0, 4, 0, 1, 0xaa];
        let (read, told) = record(&[pictures, pictures, pictures].concat());
        assert_eq!((read, told), (3, 0));
        let storms = [197, 0, 197, 0, 197, 0];
        let (read, told) = record(&storms);
        assert_eq!(read + told, 48);
        assert!(read > 10 && told > 10, "{read} read, {told} told");
    }
}
