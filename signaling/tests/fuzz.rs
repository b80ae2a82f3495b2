//! The crate's fuzz functions over the captures, over mutations of them and over plain noise, with
//! a committed seed.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use signaling::fuzz;

/// The committed seed, or another one that `make fuzz` gives.
fn seed() -> u64 {
    std::env::var("FUZZ_SEED").map_or(0x5eed_0002, |seed| seed.parse().expect("a number"))
}

/// The committed corpus: bytes of every captured message of one direction, or the captured offers or
/// answers.
fn corpus(direction: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/livekit");
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder).expect("the fixtures are part of the tree") {
        let path = entry.expect("the folder can be read").path();
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let is_wanted = match direction {
            "offers" => name.ends_with(".sdp") && name.contains("offer."),
            "answers" => name.ends_with(".sdp") && name.contains("answer."),
            _ => false,
        };
        if is_wanted {
            inputs.push(text.into_bytes());
        } else if name.ends_with(".jsonl") {
            inputs.extend(text.lines().filter_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let hex = line["hex"].as_str().filter(|_| line["dir"] == direction)?;
                let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).ok();
                (0..hex.len())
                    .step_by(2)
                    .map(byte)
                    .collect::<Option<Vec<u8>>>()
            }));
        }
    }
    inputs.sort();
    inputs.dedup();
    assert!(!inputs.is_empty(), "the corpus of {direction} is empty");
    inputs
}

/// Replaces, inserts, removes and repeats bytes at a few places.
fn mutate(random: &mut StdRng, input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..8) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..5) {
            0 => bytes[at] = random.random(),
            1 => bytes.insert(at, random.random()),
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            _ => {
                let end = (at + random.random_range(1..64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn run(target: fn(&[u8]), corpus: &[Vec<u8>], rounds: usize) {
    let mut random = StdRng::seed_from_u64(seed());
    corpus.iter().for_each(|input| target(input));
    for round in 0..rounds {
        if round % 4 == 0 {
            let noise: Vec<u8> = (0..random.random_range(0..200))
                .map(|_| random.random())
                .collect();
            target(&noise);
        } else {
            let input = &corpus[random.random_range(0..corpus.len())];
            target(&mutate(&mut random, input));
        }
    }
}

#[test]
fn session_descriptions() {
    // Twenty kilobytes each: fewer rounds, and the whole run over lines cut out of offers.
    let offers = corpus("offers");
    run(fuzz::sdp, &offers, 2_000);
    let short: Vec<Vec<u8>> = offers
        .iter()
        .map(|offer| {
            let text = String::from_utf8_lossy(offer);
            let lines: Vec<&str> = text
                .split("\r\n")
                .filter(|line| !line.contains("rtcp-fb"))
                .collect();
            lines[..lines.len().min(45)].join("\r\n").into_bytes()
        })
        .collect();
    run(fuzz::sdp, &short, 100_000);
}

#[test]
fn session_description_fragments() {
    // What WHIP's own examples send, beside whole offers.
    let fragment = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
                    m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
                    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\n\
                    a=end-of-candidates\r\n";
    let mut inputs = corpus("offers");
    run(fuzz::sdp_fragment, &inputs, 500);
    inputs = vec![fragment.as_bytes().to_vec()];
    run(fuzz::sdp_fragment, &inputs, 100_000);
}

#[test]
fn answers() {
    let answers = corpus("answers");
    run(fuzz::answer, &answers, 1_000);
    let short: Vec<Vec<u8>> = answers
        .into_iter()
        .filter(|one| one.len() < 2_000)
        .collect();
    run(fuzz::answer, &short, 20_000);
}

#[test]
fn attributes() {
    let texts = ["eyJhIjoiYiJ9", "eyJhIjp7ImIiOltdfX0=", "bnVsbA", "W1tbW10"];
    let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    run(fuzz::attributes, &texts, 100_000);
}

#[test]
fn data_packets() {
    run(fuzz::data_packet, &corpus("dc"), 100_000);
}

#[test]
fn signal_frames() {
    let short: Vec<Vec<u8>> = corpus("c2s")
        .into_iter()
        .filter(|m| m.len() < 2_000)
        .collect();
    run(fuzz::signal_frame, &short, 100_000);
}

#[test]
fn join_requests() {
    let wrapped: Vec<Vec<u8>> = corpus("join_request")
        .into_iter()
        .map(|mut join_request| {
            // Field 2, length-delimited: an uncompressed request, its offer cut away.
            join_request.truncate(60);
            [&[0x12, join_request.len() as u8][..], &join_request].concat()
        })
        .collect();
    run(fuzz::join_request, &wrapped, 100_000);
}

#[test]
fn requests_to_the_server_api() {
    let mut inputs = corpus("c2s");
    inputs.push(br#"{"roomName":"r","fileOutputs":[{"filepath":"x"}],"layout":"grid"}"#.to_vec());
    inputs.push(br#"{"room_name":"r","track_id":"TR_x","file":{"filepath":"/x.ogg"}}"#.to_vec());
    inputs.push(vec![b'['; 100_000]);
    run(fuzz::api_request, &inputs, 5_000);
}

#[test]
fn what_people_write() {
    run(fuzz::chat, &corpus("dc"), 20_000);
}

#[test]
fn turn_clients() {
    run(fuzz::turn, &fuzz::turn_corpus(), 20_000);
}

#[test]
fn first_bytes() {
    run(fuzz::first_bytes, &fuzz::turn_corpus(), 100_000);
}
