//! One function per parser of bytes from outside: any bytes in, no panic, no unbounded work.
//!
//! The tests run them over committed corpora and seeded random input; a fuzzer may call the same
//! functions for longer.

use axum::extract::ws::Message as Frame;
use prost::Message;
use sfu::id::TransportId;
use sfu::transport::params::{Fingerprint, IceCredentials};

use crate::config::{DEV_KEY, DEV_SECRET, Limits, Secret};
use crate::sdp::build::Transport;
use crate::sdp::{Fragment, Offer, Reply, Section, SectionKind, answer, fragment, params};
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
    let transport = Transport {
        session_id: 1,
        version: 1,
        ice: &ice,
        fingerprint: Fingerprint([7; 32]),
        candidates: &[],
        message_size_max: 64_000,
    };
    let replies: Vec<Reply> = offer.sections.iter().map(idle).collect();
    let answer = answer(&offer, &transport, &replies);
    // Nothing of the offer may smuggle a line of its own into the answer.
    let is_ours = |line: &str| line.is_ascii() && line.as_bytes().get(1) == Some(&b'=');
    assert!(
        answer
            .split("\r\n")
            .all(|line| line.is_empty() || is_ours(line))
    );
    let _ = params::transport(&offer, ice); // only that it does not panic
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
