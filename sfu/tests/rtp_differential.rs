//! Our RTP and RTCP parsers against the independent crates `rtp` and `rtcp`: where both accept a
//! packet, they must have read the same.
//!
//! They may differ in what they accept, and do, on purpose:
//! * RTP of another version than 2, and padding that lies: only we refuse.
//! * Extension elements that reach beyond their block, and the reserved ids: we end the block there
//!   (RFC 8285 section 4.2); `rtp` reads on into the payload, or panics.
//! * The two-byte form with application bits: only we read it.
//! * RTCP padding: only we take it off.
//! * Transport feedback whose chunks promise more deltas than there are, and entries of FIR or NACK
//!   that are no whole ones: only we refuse. The fourth packet state is reserved: we count it as
//!   lost, `rtcp` as received without a time.
//! * Source descriptions and goodbyes whose text lies: each is strict in its own way.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtcp::goodbye::Goodbye;
use rtcp::packet::Packet as TheirPacket;
use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{SdesType, SourceDescription};
use rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use sfu::rtp::packet::Header;
use sfu::rtp::rtcp::report::{self, ReportBlock, SenderInfo};
use sfu::rtp::rtcp::twcc::{Feedback, Recorder};
use sfu::rtp::rtcp::{Rtcp, feedback, parse_compound};
use sfu::unit::{NtpTime, Ssrc};
use webrtc_util::marshal::{Marshal, Unmarshal};

const INPUTS: usize = 40_000;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/corpus/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a committed file");
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty())
        .map(|line| {
            (0..line.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal"))
                .collect()
        })
        .collect()
}

/// The corpus, mutations of it, and random bytes behind a right version.
fn inputs(name: &str) -> impl Iterator<Item = Vec<u8>> {
    let corpus = corpus(name);
    let mut random = StdRng::seed_from_u64(0xd1ff);
    (0..INPUTS).map(move |at| {
        if at < corpus.len() {
            return corpus[at].clone();
        }
        if at % 8 == 0 {
            let len = random.random_range(12..120);
            let mut input: Vec<u8> = (0..len).map(|_| random.random()).collect();
            input[0] = input[0] & 0x3f | 0x80;
            return input;
        }
        let mut input = corpus[random.random_range(0..corpus.len())].clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..input.len());
            match random.random_range(0..3) {
                0 => input[at] = random.random(),
                1 => input[at] ^= 1 << random.random_range(0..8),
                _ => input.truncate(at.max(4)),
            }
        }
        input
    })
}

/// What the other parser says; it may panic on what it does not expect.
fn theirs<T>(parse: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten()
}

/// Panics of the other parser would fill the output.
fn quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let is_ours = info
            .location()
            .is_some_and(|at| at.file().contains("rtp_differential"));
        if is_ours {
            usual(info);
        }
    }));
}

#[test]
fn both_read_the_same_in_rtp() {
    quiet();
    let (mut headers, mut elements, mut payloads) = (0, 0, 0);
    for input in inputs("rtp_header") {
        let Ok(ours) = Header::parse(&input) else {
            continue;
        };
        let Some(packet) = theirs(|| rtp::packet::Packet::unmarshal(&mut &input[..]).ok()) else {
            continue;
        };
        let other = &packet.header;
        headers += 1;
        assert_eq!(ours.payload_type.0, other.payload_type, "{input:02x?}");
        assert_eq!(ours.marker, other.marker, "{input:02x?}");
        assert_eq!(ours.sequence, other.sequence_number, "{input:02x?}");
        assert_eq!(ours.timestamp, other.timestamp, "{input:02x?}");
        assert_eq!(ours.ssrc.0, other.ssrc, "{input:02x?}");

        // A block that they would write as it is here, and without reserved ids, is one without any
        // of the oddities above.
        let has_reserved = other.extensions.iter().any(|extension| extension.id == 0);
        if has_reserved && other.extension_profile == 0xbede {
            continue;
        }
        let written = theirs(|| other.marshal().ok());
        if written.as_deref() != input.get(..ours.len) {
            continue;
        }
        if matches!(other.extension_profile, 0xbede | 0x1000) {
            let found: Vec<_> = ours
                .elements(&input)
                .map(|element| (element.id, element.value))
                .collect();
            let expected: Vec<_> = other
                .extensions
                .iter()
                .map(|extension| (extension.id, &extension.payload[..]))
                .collect();
            assert_eq!(found, expected, "{input:02x?}");
            elements += found.len();
        }
        if let Ok(range) = ours.payload(&input) {
            assert_eq!(input[range], packet.payload[..], "{input:02x?}");
            payloads += 1;
        }
    }
    // The comparison must not have passed by comparing nothing.
    assert!(headers > INPUTS / 3, "{headers} headers");
    assert!(elements > INPUTS / 3, "{elements} elements");
    assert!(payloads > INPUTS / 8, "{payloads} payloads");
}

/// Each packet of a compound alone, whatever follows it.
fn packets(mut compound: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some(&[_, _, high, low]) = compound.first_chunk::<4>() {
        let len = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let Some((packet, rest)) = compound.split_at_checked(len) else {
            break;
        };
        packets.push(packet);
        compound = rest;
    }
    packets
}

#[test]
fn both_read_the_same_in_rtcp() {
    quiet();
    let mut compared = [0; 9];
    for input in inputs("rtcp_compound") {
        for packet in packets(&input) {
            let is_padded = packet[0] & 0x20 != 0;
            let Some(Ok(ours)) = parse_compound(packet).next() else {
                continue;
            };
            let other = theirs(|| rtcp::packet::unmarshal(&mut &packet[..]).ok());
            let Some(other) = other.filter(|_| !is_padded) else {
                continue;
            };
            compared[compare(&ours, &*other[0])] += 1;
        }
    }
    for (kind, count) in compared.iter().enumerate() {
        assert!(*count > 100, "kind {kind} was compared {count} times");
    }
}

#[test]
fn the_other_reads_what_we_build() {
    let mut random = StdRng::seed_from_u64(0xb111d);
    let mut recorder = Recorder::new();
    let (mut number, mut at) = (65_000_u16, Duration::from_secs(1));
    for _ in 0..500 {
        let mut out = Vec::new();
        let (us, media) = (Ssrc(random.random()), Ssrc(random.random()));
        let block = ReportBlock {
            ssrc: media,
            fraction_lost: random.random(),
            lost: random.random_range(-0x80_0000..0x80_0000),
            highest: random.random(),
            jitter: random.random(),
            last_report: random.random(),
            delay: random.random(),
        };
        let info = SenderInfo {
            ssrc: us,
            ntp: NtpTime(random.random()),
            rtp: random.random(),
            packets: random.random(),
            octets: random.random(),
        };
        report::append_sender_report(&mut out, &info, &[block]);
        let name = vec![b'x'; random.random_range(1..20)];
        report::append_name(&mut out, us, &name);
        report::append_receiver_report(&mut out, us, &vec![block; random.random_range(0..32)]);
        let start: u16 = random.random();
        let missing = (0..60).filter(|_| random.random_bool(0.3));
        let missing: Vec<u16> = missing.map(|at| start.wrapping_add(at)).collect();
        feedback::append_nack(&mut out, us, media, missing.iter().copied());
        feedback::append_pli(&mut out, us, media);
        feedback::append_fir(&mut out, us, media, random.random());
        report::append_bye(&mut out, us);
        for _ in 0..random.random_range(1..200) {
            number = number.wrapping_add(random.random_range(1..4));
            at += Duration::from_micros(random.random_range(0..90_000));
            recorder.note(number, at);
        }
        while recorder.append_report(&mut out, us, media) {}

        let whole = rtcp::packet::unmarshal(&mut &out[..]).expect("theirs reads ours");
        let ours = parse_compound(&out).map(|packet| packet.expect("ours reads ours"));
        let mut kinds = BTreeSet::new();
        for (ours, other) in ours.zip(&whole) {
            kinds.insert(compare(&ours, &**other));
        }
        assert!(kinds.len() >= 7, "{kinds:?}");
    }
}

/// Compares one packet and says which kind it was.
fn compare(ours: &Rtcp<'_>, theirs: &(dyn TheirPacket + Send + Sync)) -> usize {
    let any = theirs.as_any();
    match ours {
        Rtcp::SenderReport(ours) => {
            let other = any.downcast_ref::<SenderReport>().expect("the same kind");
            assert_eq!((ours.ssrc.0, ours.ntp.0), (other.ssrc, other.ntp_time));
            assert_eq!(ours.rtp, other.rtp_time);
            assert_eq!(
                (ours.packets, ours.octets),
                (other.packet_count, other.octet_count)
            );
            compare_blocks(ours.blocks(), &other.reports);
            0
        }
        Rtcp::ReceiverReport(ours) => {
            let other = any.downcast_ref::<ReceiverReport>().expect("the same kind");
            assert_eq!(ours.ssrc.0, other.ssrc);
            compare_blocks(ours.blocks(), &other.reports);
            1
        }
        Rtcp::Sdes(ours) => {
            let other = any
                .downcast_ref::<SourceDescription>()
                .expect("the same kind");
            let expected = other.chunks.iter().map(|chunk| {
                let name = chunk.items.iter().rev();
                let name = name
                    .into_iter()
                    .find(|item| item.sdes_type == SdesType::SdesCname);
                (chunk.source, name.map(|item| item.text.to_vec()))
            });
            let found = ours
                .names()
                .map(|(ssrc, name)| (ssrc.0, name.map(<[u8]>::to_vec)));
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            2
        }
        Rtcp::Bye(ours) => {
            let other = any.downcast_ref::<Goodbye>().expect("the same kind");
            let found: Vec<_> = ours.sources().map(|ssrc| ssrc.0).collect();
            assert_eq!(found, other.sources);
            3
        }
        Rtcp::Nack(ours) => {
            let other = any
                .downcast_ref::<TransportLayerNack>()
                .expect("the same kind");
            assert_eq!(ours.sender.0, other.sender_ssrc);
            assert_eq!(ours.media.0, other.media_ssrc);
            let expected = other.nacks.iter().flat_map(|pair| pair.packet_list());
            assert_eq!(
                ours.numbers().collect::<Vec<_>>(),
                expected.collect::<Vec<_>>()
            );
            4
        }
        Rtcp::Pli(ours) => {
            let other = any
                .downcast_ref::<PictureLossIndication>()
                .expect("the same kind");
            assert_eq!(ours.sender.0, other.sender_ssrc);
            assert_eq!(ours.media.0, other.media_ssrc);
            5
        }
        Rtcp::Fir(ours) => {
            let other = any
                .downcast_ref::<FullIntraRequest>()
                .expect("the same kind");
            assert_eq!(ours.sender.0, other.sender_ssrc);
            let expected: Vec<_> = other
                .fir
                .iter()
                .map(|entry| (entry.ssrc, entry.sequence_number))
                .collect();
            let found: Vec<_> = ours.commands().map(|(ssrc, nr)| (ssrc.0, nr)).collect();
            assert_eq!(found, expected);
            6
        }
        Rtcp::Remb(ours) => {
            let other = any
                .downcast_ref::<ReceiverEstimatedMaximumBitrate>()
                .expect("the same kind");
            assert_eq!(ours.sender.0, other.sender_ssrc);
            // Exact in both: the mantissa has 18 bits. Ours ends where 64 bits do.
            if ours.bitrate.0 != u64::MAX {
                let is_zero = ours.bitrate.0 == 0;
                assert!(is_zero || ours.bitrate.0 as f32 == other.bitrate);
            }
            let found: Vec<_> = ours.sources().map(|ssrc| ssrc.0).collect();
            assert_eq!(found, other.ssrcs);
            7
        }
        Rtcp::Twcc(ours) => {
            let other = any
                .downcast_ref::<TransportLayerCc>()
                .expect("the same kind");
            compare_feedback(ours, other);
            8
        }
    }
}

fn compare_blocks(ours: impl Iterator<Item = ReportBlock>, theirs: &[ReceptionReport]) {
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, other) in ours.iter().zip(theirs) {
        assert_eq!(ours.ssrc.0, other.ssrc);
        assert_eq!(ours.fraction_lost, other.fraction_lost);
        assert_eq!(ours.lost as u32 & 0xff_ffff, other.total_lost);
        assert_eq!(ours.highest, other.last_sequence_number);
        assert_eq!(ours.jitter, other.jitter);
        assert_eq!(ours.last_report, other.last_sender_report);
        assert_eq!(ours.delay, other.delay);
    }
}

fn compare_feedback(ours: &Feedback<'_>, theirs: &TransportLayerCc) {
    assert_eq!(ours.sender.0, theirs.sender_ssrc);
    assert_eq!(ours.media.0, theirs.media_ssrc);
    assert_eq!(ours.base, theirs.base_sequence_number);
    assert_eq!(ours.count, theirs.packet_status_count);
    assert_eq!(ours.number, theirs.fb_pkt_count);

    let states = theirs.packet_chunks.iter().flat_map(|chunk| match chunk {
        PacketStatusChunk::RunLengthChunk(run) => {
            vec![run.packet_status_symbol; usize::from(run.run_length)]
        }
        PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
    });
    let states: Vec<_> = states.take(usize::from(ours.count)).collect();
    if states.contains(&SymbolTypeTcc::PacketReceivedWithoutDelta) {
        return;
    }
    let reference = (theirs.reference_time << 8) as i32 >> 8; // 24 bits, signed
    let mut at_us = i64::from(reference) * 64_000;
    let mut deltas = theirs.recv_deltas.iter();
    let mut expected = Vec::new();
    for (at, state) in states.iter().enumerate() {
        if *state != SymbolTypeTcc::PacketNotReceived {
            let Some(delta) = deltas.next() else {
                return; // they stop early where the last list reaches beyond the count
            };
            at_us += delta.delta;
            expected.push((ours.base.wrapping_add(at as u16), at_us));
        }
    }
    let found: Vec<_> = ours
        .arrivals()
        .map(|arrival| (arrival.number, arrival.at_us))
        .collect();
    assert_eq!(found, expected);
}
