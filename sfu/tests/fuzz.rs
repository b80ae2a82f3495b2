//! Every function of `sfu::fuzz` over its committed corpus and over 100,000 seeded inputs: random
//! ones and mutations of the corpus. An input that once broke something is kept in the corpus.

use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sfu::fuzz::{TARGETS, Target};

const INPUTS: usize = 100_000;

/// The committed seed, or another one that `make fuzz` gives.
fn seed() -> u64 {
    std::env::var("FUZZ_SEED").map_or(0x5eed, |seed| seed.parse().expect("a number"))
}

/// One input per line, in hexadecimal; a `#` begins a comment.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let path = folder.join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path).expect("every target has a corpus");
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .map(|line| line.replace(' ', ""))
        .filter(|line| !line.is_empty())
        .map(|line| {
            (0..line.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal"))
                .collect()
        })
        .collect()
}

fn random_bytes(random: &mut StdRng) -> Vec<u8> {
    let len = random.random_range(0..200);
    (0..len).map(|_| random.random()).collect()
}

fn mutate(random: &mut StdRng, input: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..6) {
            0 => input.truncate(at),
            1 => input.insert(at, random.random()),
            2 if at < input.len() => {
                input.remove(at);
            }
            3 if at < input.len() => input[at] = random.random(),
            4 if at < input.len() => {
                input[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)];
            }
            _ if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
}

fn run(name: &str, target: Target) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 4, "{name} has a corpus worth the name");
    for input in &corpus {
        target(input);
        for len in 0..input.len() {
            target(&input[..len]);
        }
    }
    let mut random = StdRng::seed_from_u64(seed());
    for at in 0..INPUTS {
        let mut input = if at % 4 == 0 {
            random_bytes(&mut random)
        } else {
            let mut input = corpus[random.random_range(0..corpus.len())].clone();
            mutate(&mut random, &mut input);
            input
        };
        // Say which input it was, so that it can be kept.
        let bytes = std::mem::take(&mut input);
        let outcome = std::panic::catch_unwind(|| target(&bytes));
        assert!(outcome.is_ok(), "{name}, input {at}: {bytes:02x?}");
    }
}

macro_rules! targets {
    ($($name:ident,)*) => {
        const NAMED: &[&str] = &[$(stringify!($name),)*];
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                let (_, target) = TARGETS
                    .iter()
                    .find(|(target, _)| *target == name)
                    .expect("a function of this name");
                run(name, *target);
            }
        )*
    };
}

// One test each, so that they share the cores and a failure says where it is.
targets! {
    rtp_header,
    rtcp_compound,
    twcc,
    bandwidth,
    nack,
    vp8,
    vp9,
    av1,
    described,
    h264,
    opus,
    red,
    dependency,
    srtp,
    stun,
    dcep,
    dtls,
    sctp,
    shard,
    relay,
    tap,
    frames,
}

#[test]
fn no_function_is_left_out() {
    for (name, _) in TARGETS {
        assert!(NAMED.contains(name), "{name} is not run");
    }
}
