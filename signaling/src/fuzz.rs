//! One function per parser of bytes from outside: any bytes in, no panic, no unbounded work.
//!
//! The tests run them over committed corpora and seeded random input; a fuzzer may call the same
//! functions for longer.

use axum::extract::ws::Message as Frame;
use prost::Message;
use sfu::id::TransportId;
use sfu::transport::params::{Fingerprint, IceCredentials};
use sfu::unit::Ssrc;

use crate::config::{DEV_KEY, DEV_SECRET, Limits, Secret};
use crate::sdp::answered::takes;
use crate::sdp::build::{self, Transport};
use crate::sdp::{
    Answer, Fragment, Offer, Reply, Section, SectionKind, catalogue, fragment, offer, params,
};
use crate::token::Keyring;
use crate::wire;

/// Tokens, as they come in a header or a query.
pub fn token(bytes: &[u8]) {
    let keys = [(DEV_KEY.to_owned(), Secret::new(DEV_SECRET))];
    let keyring = Keyring::new(
        keys.iter().map(|(id, secret)| (id, secret)),
        &Limits::default(),
    );
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Random bytes carry no valid signature, whatever else they are.
        assert!(keyring.verify(text).is_err());
    }
}

/// Session descriptions: reading an offer, and answering whatever was read.
pub fn sdp(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(offer) = Offer::parse(text, &Limits::default()) else {
        return;
    };
    let ice = IceCredentials::generate(TransportId(1), [7; 28]);
    let replies: Vec<Reply> = offer.sections.iter().map(idle).collect();
    assert_ours(&build::answer(&offer, &describe(&ice), &replies));
    let _ = params::transport(&offer, ice); // only that it does not panic
}

/// A client's answer to an offer of ours that fits it, and the offer after that.
pub fn answer(bytes: &[u8]) {
    let limits = Limits::default();
    let parse = |bytes| Answer::parse(std::str::from_utf8(bytes).ok()?, &limits).ok();
    let Some(answer) = parse(bytes) else {
        return;
    };
    let offered = answer.sections.iter().map(|section| match section.kind {
        SectionKind::Media(kind) => catalogue::media(section.mid, kind),
        SectionKind::Data | SectionKind::Other => catalogue::data(section.mid),
    });
    let mut offered: Vec<Section> = offered.collect();
    let Some(answer) = answer.to(&offered) else {
        return;
    };
    for (section, ours) in answer.sections.iter().zip(&mut offered) {
        // A client has the choice among our numbers, and no others.
        for codec in &section.codecs {
            let numbers = ours.codecs.iter().map(|one| one.params.payload_type);
            assert!(
                numbers
                    .into_iter()
                    .any(|one| one == codec.params.payload_type)
            );
        }
        ours.is_rejected = section.is_rejected;
        let _ = takes(section); // likewise
        let _ = params::subscription(section, Ssrc(1), Some(Ssrc(2))); // that it does not panic
    }
    let ice = IceCredentials::generate(TransportId(1), [7; 28]);
    let described = describe(&ice);
    let carried: Vec<Reply> = offered.iter().map(idle).collect();
    assert_ours(&offer(&offered, &described, &carried));
    let _ = answer.transport(ice.clone()); // likewise
}

/// Nothing of a client's may smuggle a line of its own into a description of ours.
fn assert_ours(text: &str) {
    let is_ours = |line: &str| line.is_ascii() && line.as_bytes().get(1) == Some(&b'=');
    let mut lines = text.split("\r\n");
    assert!(lines.all(|line| line.is_empty() || is_ours(line)));
}

fn describe(ice: &IceCredentials) -> Transport<'_> {
    Transport {
        session_id: 1,
        version: 1,
        ice,
        fingerprint: Fingerprint([7; 32]),
        candidates: &[],
        tcp_candidates: &[],
        message_size_max: 64_000,
    }
}

/// The `attributes` parameter.
pub fn attributes(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = wire::decode_attributes(text); // a reason is as good as attributes
    }
}

/// Fragments of session descriptions, and those that are cut from answers.
pub fn sdp_fragment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = fragment::of_answer(text); // ours only, but nothing may make it panic
    let Ok(read) = Fragment::parse(text, &Limits::default()) else {
        return;
    };
    let known = IceCredentials::generate(TransportId(1), [7; 28]);
    if let Ok(Some(ice)) = read.fresh(&known) {
        // What is kept may be printed into a line.
        let signs = [ice.ufrag, ice.password].concat();
        assert!(signs.is_ascii() && !signs.contains(['\r', '\n', ' ']));
    }
}

fn idle(section: &Section) -> Reply {
    match (section.is_rejected, section.kind) {
        (true, _) => Reply::Reject,
        (false, SectionKind::Data) => Reply::Data,
        (false, _) => Reply::Idle,
    }
}

/// The `join_request` parameter after base64.
pub fn join_request(bytes: &[u8]) {
    let bytes_max = Limits::default().join_request_bytes_max;
    let _ = wire::decode_wrapped_join_request(bytes, bytes_max); // a reason is as good as a request
}

/// What a connection is for: the same however its first bytes come, and known after ten at most.
pub fn first_bytes(bytes: &[u8]) {
    use crate::tcp::first_bytes::kind;
    let whole = kind(bytes);
    assert!(whole.is_some() || bytes.len() < 10);
    let known = (0..=bytes.len()).find_map(|len| kind(&bytes[..len]));
    assert_eq!(known, whole);
}

/// Inputs of [`turn`] and [`first_bytes`] to begin with.
pub fn turn_corpus() -> Vec<Vec<u8>> {
    crate::tcp::turn::fuzz::corpus()
}

/// What a TURN client sends, before and behind its proof: nothing it says leads anywhere but to us.
pub fn turn(bytes: &[u8]) {
    crate::tcp::turn::fuzz::connection(bytes);
}

/// Data channel messages: what is passed on still parses and names the true sender.
pub fn data_packet(bytes: &[u8]) {
    let sender = wire::data_packet::Sender {
        identity: "doctor",
        sid: "PA_doctor",
    };
    let kind = wire::proto::data_packet::Kind::Lossy;
    let Ok(patched) = wire::data_packet::patch(bytes, kind, sender) else {
        return;
    };
    if let Ok(packet) = wire::proto::DataPacket::decode(patched.payload) {
        assert_eq!(packet.participant_identity, "doctor");
        assert_eq!(packet.participant_sid, "PA_doctor");
    }
}

/// Requests to the server API, in both encodings.
pub fn api_request(bytes: &[u8]) {
    crate::http::twirp::fuzz(bytes);
}

/// What people write to each other, as far as it is read on its way through.
pub fn chat(bytes: &[u8]) {
    let mut reader = crate::room::chat::ChatReader::default();
    let sender = crate::room::participant::ParticipantKey(1);
    for piece in bytes.chunks(bytes.len().div_ceil(3).max(1)) {
        let _ = reader.read(sender, piece); // a text or not
    }
    let _ = reader.read(sender, bytes); // likewise
}

/// Frames of the signalling WebSocket, in both encodings.
pub fn signal_frame(bytes: &[u8]) {
    let frame = Frame::Binary(bytes.to_vec().into());
    let _ = wire::decode_request(&frame); // a reason is as good as a request
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = wire::decode_request(&Frame::Text(text.into())); // likewise
    }
}
