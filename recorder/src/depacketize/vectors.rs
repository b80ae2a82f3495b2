//! Packets that Chromium sent, and the frames that they make: `tests/media/*.rtp` and `*.frames`, which
//! the console's depacketisers are tested with as well.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::{Depacketizer, Format, Frame};
use crate::digest::Digest;

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media")).join(name)
}

/// Packets and when they arrived: four bytes of microseconds and two of length before each.
pub(crate) fn packets(name: &str) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(path(name)).expect("is in the tree");
    let (mut rest, mut packets) = (&bytes[..], Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<6>() {
        let (at, len) = head.split_first_chunk::<4>().expect("six bytes");
        let len = u16::from_le_bytes(len.try_into().expect("two bytes"));
        let (packet, after) = after.split_at(len.into());
        packets.push((u32::from_le_bytes(*at).into(), packet.to_vec()));
        rest = after;
    }
    packets
}

fn frames(format: Format, packets: &[(u64, Vec<u8>)]) -> Vec<Frame> {
    let mut depacketizer = Depacketizer::new(format);
    for (at, packet) in packets {
        depacketizer.push(packet, *at);
    }
    depacketizer.finish();
    std::iter::from_fn(|| depacketizer.pop()).collect()
}

fn told(frames: &[Frame]) -> String {
    let mut text = String::new();
    for frame in frames {
        let kind = if frame.is_keyframe { "key" } else { "delta" };
        let (width, height) = frame.size.unwrap_or_default();
        let (rtp, len) = (frame.rtp as u32, frame.bytes.len());
        let digest = Digest::of(&frame.bytes);
        writeln!(text, "{rtp} {kind} {width}x{height} {len} {digest}").expect("into memory");
    }
    text
}

const ALL: [(&str, Format, usize); 3] = [
    // Two layers that keyframes alone make from each other (L3T3_KEY), and that all do (L3T3).
    ("camera.vp9", Format::Vp9, 20),
    ("camera-chained.vp9", Format::Vp9, 10),
    ("camera.av1", Format::Av1, 20),
];

#[test]
fn what_chromium_sends_in_layers_becomes_the_frames_that_are_written_down() {
    for (name, format, count) in ALL {
        let frames = frames(format, &packets(&format!("{name}.rtp")));
        assert_eq!(frames.len(), count, "{name}");
        let told = told(&frames);
        let path = path(&format!("{name}.frames"));
        if std::env::var_os("CONSILIUM_UPDATE").is_some() {
            fs::write(&path, &told).expect("is written");
        }
        let expected = fs::read_to_string(&path).expect("is in the tree");
        assert_eq!(told, expected, "{name}; CONSILIUM_UPDATE=1 writes it anew");
    }
}

#[test]
fn a_lost_packet_hides_pictures_up_to_the_next_keyframe() {
    for (name, format, count) in ALL {
        let all = packets(&format!("{name}.rtp"));
        let whole = frames(format, &all);
        for lost in 0..all.len() {
            let mut left = all.clone();
            left.remove(lost);
            let frames = frames(format, &left);
            assert!(frames.len() < count, "{name}, {lost}");
            assert!(
                frames.iter().all(|frame| whole.contains(frame)),
                "{name}, {lost}"
            );
            assert!(frames.first().is_none_or(|frame| frame.is_keyframe));
            let gap = whole.iter().position(|frame| !frames.contains(frame));
            let after = frames.get(gap.expect("one is missing"));
            assert!(
                after.is_none_or(|frame| frame.is_keyframe),
                "{name}, {lost}"
            );
        }
    }
}
