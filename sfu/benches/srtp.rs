//! What protecting and opening one packet costs, in nanoseconds of wall-clock time, the median of
//! several rounds: `cargo bench -p sfu --bench srtp`. Needs no harness.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints"
)]

use std::hint::black_box;
use std::time::Instant;

use sfu::rtp::packet::Header;
use sfu::rtp::rtcp::twcc::Recorder;
use sfu::rtp::rtcp::{Rtcp, parse_compound};
use sfu::transport::srtp::{Inbound, MasterKey, Outbound, Profile};
use sfu::unit::{SeqNo, Ssrc};

const PACKETS: u64 = 20_000;
const ROUNDS: usize = 9;
/// Fixed part, block header and three words of extensions.
const HEADER_LEN: usize = 28;

fn main() {
    println!("{:<44} {:>8} {:>8}", "ns per packet", "160 B", "1200 B");
    for profile in [
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
        Profile::Aes128CmSha1_80,
    ] {
        let [small, large] = [160, 1_200].map(|len| rounds(|| protect(profile, len)));
        println!(
            "{:<44} {small:>8} {large:>8}",
            format!("protect {profile:?}")
        );
        let [small, large] = [160, 1_200].map(|len| rounds(|| unprotect(profile, len)));
        println!(
            "{:<44} {small:>8} {large:>8}",
            format!("unprotect {profile:?}")
        );
    }
    println!(
        "{:<44} {:>8}",
        "parse a header and find one extension",
        rounds(parse)
    );
    println!(
        "{:<44} {:>8}",
        "read feedback, per packet reported",
        rounds(feedback)
    );
}

fn rounds(mut round: impl FnMut() -> u64) -> u64 {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn header(seq: SeqNo) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = 0x90;
    header[1] = 96;
    header[2..4].copy_from_slice(&seq.wire().to_be_bytes());
    header[12..28].copy_from_slice(&[
        0xbe, 0xde, 0, 3, 0x40, b'1', 0x31, 0, 7, 0x22, 1, 2, 3, 0, 0, 0,
    ]);
    header
}

fn keys(profile: Profile) -> (Outbound, Inbound) {
    let key = [7; 32];
    let (key, salt) = (&key[..profile.key_len()], &key[..profile.salt_len()]);
    let master = MasterKey::new(profile, key, salt).expect("the profile's lengths");
    (
        Outbound::new(profile, &master),
        Inbound::new(profile, &master, 4),
    )
}

/// Into an arena that is emptied every 64 packets, as a turn's batch is.
fn protect(profile: Profile, len: usize) -> u64 {
    let (mut outbound, _) = keys(profile);
    let payload = vec![0x5a; len - HEADER_LEN];
    let mut out = Vec::with_capacity(64 * 1_500);
    let start = Instant::now();
    for at in 0..PACKETS {
        if at % 64 == 0 {
            out.clear();
        }
        let seq = SeqNo((1 << 16) + at);
        outbound.protect_rtp(seq, &header(seq), &payload, &mut out);
    }
    black_box(&out);
    start.elapsed().as_nanos() as u64 / PACKETS
}

fn unprotect(profile: Profile, len: usize) -> u64 {
    let (mut outbound, mut inbound) = keys(profile);
    let payload = vec![0x5a; len - HEADER_LEN];
    let mut datagrams = Vec::new();
    for at in 0..PACKETS {
        let seq = SeqNo((1 << 16) + at);
        let mut datagram = Vec::new();
        outbound.protect_rtp(seq, &header(seq), &payload, &mut datagram);
        datagrams.push(datagram);
    }
    let start = Instant::now();
    for datagram in &mut datagrams {
        let header = Header::parse(datagram).expect("ours");
        black_box(inbound.unprotect_rtp(&header, datagram)).expect("ours opens");
    }
    start.elapsed().as_nanos() as u64 / PACKETS
}

fn parse() -> u64 {
    let packet = header(SeqNo(1));
    let start = Instant::now();
    for _ in 0..PACKETS {
        let header = Header::parse(black_box(&packet)).expect("ours");
        black_box(header.extension(&packet, 3));
    }
    start.elapsed().as_nanos() as u64 / PACKETS
}

fn feedback() -> u64 {
    let mut recorder = Recorder::new();
    for number in 0..100_u16 {
        let at = std::time::Duration::from_micros(u64::from(number) * 700);
        recorder.note(number, at);
    }
    let mut out = Vec::new();
    recorder.append_report(&mut out, Ssrc(1), Ssrc(2));
    let start = Instant::now();
    for _ in 0..PACKETS / 100 {
        let Some(Ok(Rtcp::Twcc(feedback))) = parse_compound(black_box(&out)).next() else {
            unreachable!("we built it");
        };
        black_box(feedback.arrivals().count());
    }
    start.elapsed().as_nanos() as u64 / PACKETS
}
