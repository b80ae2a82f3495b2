//! What unmodified clients really sent: every message decodes, every message of a client encodes to
//! the same bytes again, and every offer gets an answer that an independent parser accepts.
//!
//! `fixtures/livekit` holds message logs (one JSON object a line: direction, kind, bytes as hex)
//! and session descriptions of livekit-client, rtc-node and the Python SDK. Their tokens were made
//! for the occasion.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use prost::Message;
use sfu::media::{Codec, MediaKind, Mid};
use sfu::transport::params::{Fingerprint, IceCredentials};
use sfu::unit::Ssrc;
use signaling::config::Limits;
use signaling::sdp::answered::takes;
use signaling::sdp::build::{AudioHints, Sending, Transport};
use signaling::sdp::{
    Answer, Direction, Offer, Reply, Section, SectionKind, answer, catalogue, offer, params,
};
use signaling::wire::data_packet::{Sender, patch};
use signaling::wire::proto;

fn fixtures(is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/livekit");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the fixtures are part of the tree")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| {
            let name = path.file_name().expect("files have names");
            is_wanted(name.to_str().expect("names are ASCII"))
        })
        .collect();
    files.sort();
    files
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("the fixtures hold hex"))
        .collect()
}

/// Every binary message of the captures with its direction.
fn messages() -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    for file in fixtures(|name| name.ends_with(".jsonl")) {
        for line in fs::read_to_string(&file).expect("UTF-8").lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if let (Some(direction), Some(hex)) = (line["dir"].as_str(), line["hex"].as_str()) {
                messages.push((direction.to_owned(), from_hex(hex)));
            }
        }
    }
    messages
}

#[test]
fn every_captured_message_decodes_and_a_clients_encodes_to_the_same_bytes() {
    let (mut client, mut server, mut data, mut joins) = (0, 0, 0, 0);
    for (direction, bytes) in messages() {
        match direction.as_str() {
            "c2s" => {
                let message = proto::SignalRequest::decode(&bytes[..]).expect("it decodes");
                assert_eq!(message.encode_to_vec(), bytes);
                client += 1;
            }
            "join_request" => {
                let message = proto::JoinRequest::decode(&bytes[..]).expect("it decodes");
                assert_eq!(message.encode_to_vec(), bytes);
                joins += 1;
            }
            "s2c" => {
                proto::SignalResponse::decode(&bytes[..]).expect("it decodes");
                server += 1;
            }
            "dc" => {
                proto::DataPacket::decode(&bytes[..]).expect("it decodes");
                data += 1;
            }
            other => panic!("the captures have no direction {other}"),
        }
    }
    assert_eq!((client, server, data, joins), (366, 228, 46, 15));
}

#[test]
fn captured_data_packets_keep_their_content_when_the_sender_is_stamped_in() {
    let sender = Sender {
        identity: "doctor",
        sid: "PA_doctor",
    };
    for (_, bytes) in messages().iter().filter(|(direction, _)| direction == "dc") {
        let kind = proto::data_packet::Kind::Reliable;
        let patched = patch(bytes, kind, sender).expect("it parses");
        let before = proto::DataPacket::decode(&bytes[..]).expect("it decodes");
        let after = proto::DataPacket::decode(patched.payload).expect("it decodes");
        assert_eq!(after.participant_identity, "doctor");
        assert_eq!(after.participant_sid, "PA_doctor");
        assert_eq!(after.sequence, before.sequence);
        assert_eq!(after.destination_identities, before.destination_identities);
        let is_user = matches!(after.value, Some(proto::data_packet::Value::User(_)));
        assert!(is_user || after.value == before.value);
    }
}

fn mid(number: usize) -> Mid {
    Mid::from(&number.to_string()).expect("short enough")
}

/// As many sections as clients of a room of five are offered, the last of them retired.
fn offered() -> Vec<Section> {
    let kinds = [MediaKind::Audio, MediaKind::Video].into_iter().cycle();
    let tracks = kinds.take(10).enumerate();
    let media = tracks.map(|(i, kind)| catalogue::media(mid(i + 1), kind));
    let mut sections: Vec<Section> = [catalogue::data(mid(0))].into_iter().chain(media).collect();
    sections[10].is_rejected = true;
    sections
}

#[test]
fn our_own_offers_are_read_by_an_independent_parser_and_by_ourselves() {
    let sections = offered();
    let carried: Vec<Reply> = sections
        .iter()
        .zip(0..)
        .map(|(section, number)| match section.kind {
            _ if section.is_rejected => Reply::Reject,
            SectionKind::Data => Reply::Data,
            SectionKind::Media(kind) if number % 3 > 0 => {
                let sending = Sending {
                    stream: "PA_other|camera".into(),
                    track: format!("TR_{number}"),
                    cname: "PA_other".into(),
                    ssrc: Ssrc(1_000 + number),
                    rtx_ssrc: (kind == MediaKind::Video).then_some(Ssrc(2_000 + number)),
                    stereo: number == 5,
                };
                Reply::Send(match number {
                    7 => sending.named_by_stream(),
                    _ => sending,
                })
            }
            _ => Reply::Idle,
        })
        .collect();
    let transport = Transport {
        session_id: 77,
        version: 3,
        ice: &IceCredentials::generate(sfu::id::TransportId(1), [7; 28]),
        fingerprint: Fingerprint([0xab; 32]),
        candidates: &["127.0.0.1:7882".parse().expect("an address")],
        tcp_candidates: &[],
        message_size_max: 64_000,
    };
    let text = offer(&sections, &transport, &carried);
    let parsed =
        webrtc_sdp::parse_sdp(&text, true).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(parsed.media.len(), sections.len());
    let ports: Vec<u32> = parsed.media.iter().map(|media| media.get_port()).collect();
    assert_eq!(ports, [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0]);
    let sent = carried.iter().filter(|one| matches!(one, Reply::Send(_)));
    assert_eq!(text.matches("a=sendonly").count(), sent.count());
    assert!(text.contains("a=msid:PA_other|TR_7 TR_7\r\n"));
    assert!(text.contains("a=group:BUNDLE 0 1 2 3 4 5 6 7 8 9\r\n"));
    assert_eq!(text.matches("a=setup:actpass").count(), 10);
    // What we write we read as it was meant, down to the last number.
    let read = Offer::parse(&text, &Limits::default()).expect("ours");
    for (section, ours) in read.sections.iter().zip(&sections) {
        assert_eq!((section.mid, section.kind), (ours.mid, ours.kind));
        assert_eq!(section.is_rejected, ours.is_rejected);
        if !ours.is_rejected {
            assert_eq!(section.codecs, ours.codecs);
            assert_eq!(section.extensions, ours.extensions);
        }
    }
    let sound: Vec<Codec> = sections[1]
        .codecs
        .iter()
        .map(|one| one.params.codec)
        .collect();
    assert_eq!(sound, [Codec::Opus, Codec::Red]);
    assert!(text.contains("a=fmtp:63 111/111\r\n"), "RED says of what");
}

#[test]
fn every_captured_answer_to_an_offer_is_one_to_ours() {
    let answers = fixtures(|name| name.contains(".subanswer."));
    assert_eq!(answers.len(), 4);
    for path in answers {
        let name = path.display();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let answer = Answer::parse(&text, &Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let count = answer.sections.len();
        let answer = answer.to(&offered()[..count]);
        let answer = answer.unwrap_or_else(|| panic!("{name} answers something else"));
        let ice = IceCredentials::generate(sfu::id::TransportId(1), [7; 28]);
        let transport = answer.transport(ice);
        assert_eq!(transport.sctp.map(|sctp| sctp.port), Some(5000), "{name}");
        let media = &answer.sections[1..];
        for section in media {
            assert!(takes(section), "{name}");
            let has_rtx = section.codecs[0].params.rtx_payload_type.is_some();
            assert_eq!(
                has_rtx,
                section.kind == SectionKind::Media(MediaKind::Video),
                "{name}"
            );
        }
        if !media.is_empty() {
            assert_eq!(transport.extensions.mid, Some(4), "{name}");
            assert_eq!(transport.extensions.transport_cc, Some(3), "{name}");
        }
    }
}

fn offers() -> Vec<(String, Offer)> {
    fixtures(|name| name.contains(".offer.") || name.contains(".joinoffer."))
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let offer = Offer::parse(&text, &Limits::default())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.display().to_string(), offer)
        })
        .collect()
}

/// Receives everything that is offered and sends in every section that takes something.
fn reply(section: &Section, number: u32) -> Reply {
    match (section.kind, section.direction) {
        (SectionKind::Data, _) => Reply::Data,
        (SectionKind::Media(_), Direction::SendOnly) => Reply::Receive {
            codecs: params::publication_codecs(section, None, true),
            audio: AudioHints {
                dtx: true,
                stereo: true,
            },
        },
        (SectionKind::Media(kind), Direction::ReceiveOnly) if number.is_multiple_of(2) => {
            Reply::Send(Sending {
                stream: "PA_other|camera".into(),
                track: format!("TR_{number}"),
                cname: "PA_other".into(),
                ssrc: Ssrc(1_000 + number),
                rtx_ssrc: (kind == MediaKind::Video).then_some(Ssrc(2_000 + number)),
                stereo: false,
            })
        }
        _ => Reply::Idle,
    }
}

#[test]
fn every_captured_offer_gets_an_answer_that_an_independent_parser_accepts() {
    let offers = offers();
    assert_eq!(offers.len(), 70);
    let ice = IceCredentials::generate(sfu::id::TransportId(1), [7; 28]);
    let candidates: [SocketAddr; 2] = [
        "127.0.0.1:7882".parse().expect("an address"),
        "[fd00::2]:7882".parse().expect("an address"),
    ];
    for (name, offer) in offers {
        let replies: Vec<Reply> = (0..)
            .zip(&offer.sections)
            .map(|(i, s)| reply(s, i))
            .collect();
        let transport = Transport {
            session_id: 77,
            version: 1,
            ice: &ice,
            fingerprint: Fingerprint([0xab; 32]),
            candidates: &candidates,
            tcp_candidates: &candidates[..1],
            message_size_max: 64_000,
        };
        let text = answer(&offer, &transport, &replies);
        let parsed = webrtc_sdp::parse_sdp(&text, true)
            .unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        assert_eq!(parsed.media.len(), offer.sections.len(), "{name}");
        assert_eq!(text.matches("a=ice-lite\r\n").count(), 1);
        assert!(
            !text.contains(" 0 UDP/TLS"),
            "{name}: no section is retired"
        );
        for (media, section) in parsed.media.iter().zip(&offer.sections) {
            assert_eq!(media.get_port(), 9, "{name}");
            let mid = media
                .get_attribute(webrtc_sdp::attribute_type::SdpAttributeType::Mid)
                .map(ToString::to_string);
            assert_eq!(mid, Some(format!("mid:{}", section.mid)), "{name}");
        }
        let sent = replies.iter().filter(|one| matches!(one, Reply::Send(_)));
        assert_eq!(text.matches("a=sendonly").count(), sent.count(), "{name}");
        let received = offer.sections.iter().filter(|one| !one.rids.is_empty());
        assert_eq!(
            text.matches("a=simulcast:recv ").count(),
            received.count(),
            "{name}"
        );
    }
}

#[test]
fn every_captured_offer_boils_down_to_a_transport_with_what_the_media_plane_needs() {
    for (name, offer) in offers() {
        let ice = IceCredentials::generate(sfu::id::TransportId(1), [7; 28]);
        let transport = params::transport(&offer, ice);
        assert!(transport.sctp.is_some() || name.contains("-v0."), "{name}");
        let has_video = offer
            .sections
            .iter()
            .any(|section| section.kind == SectionKind::Media(MediaKind::Video));
        if has_video {
            assert_eq!(transport.extensions.transport_cc, Some(3), "{name}");
            assert_eq!(transport.extensions.mid, Some(4), "{name}");
            assert_eq!(transport.extensions.rid, Some(10), "{name}");
            assert_eq!(transport.extensions.repaired_rid, Some(11), "{name}");
        }
        for section in &offer.sections {
            let SectionKind::Media(kind) = section.kind else {
                continue;
            };
            assert!(
                !section.codecs.is_empty() || kind == MediaKind::Video,
                "{name}"
            );
            let codecs = params::publication_codecs(section, None, true);
            let params = params::publication(section, kind, codecs, &[]);
            assert_eq!(params.layers.len(), section.rids.len().max(1), "{name}");
            let rids: Vec<_> = params
                .layers
                .iter()
                .filter_map(|l| l.rid.as_deref())
                .collect();
            assert!(
                matches!(rids[..], [] | ["q"] | ["q", "h"] | ["q", "h", "f"]),
                "{name}: {rids:?}"
            );
        }
    }
}
