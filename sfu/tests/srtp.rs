//! SRTP through its public face: what a peer may do to us, and agreement with an independent
//! implementation, `webrtc-srtp`, in both directions and across wraps of the sequence number.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sfu::error::Reject;
use sfu::media::Mid;
use sfu::rtp::packet::{Header, OutgoingExtensions, OutgoingHeader};
use sfu::transport::srtp::{Inbound, KeyingMaterial, MasterKey, Outbound, Profile};
use sfu::unit::{PayloadType, SeqNo, Ssrc};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

const PROFILES: [Profile; 3] = [
    Profile::Aes128CmSha1_80,
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
];
const SOURCES_MAX: usize = 4;

fn key_and_salt(profile: Profile) -> (Vec<u8>, Vec<u8>) {
    let key = (0..profile.key_len()).map(|at| at as u8 ^ 0x5a).collect();
    let salt = (0..profile.salt_len()).map(|at| at as u8 ^ 0xc3).collect();
    (key, salt)
}

fn pair(profile: Profile) -> (Outbound, Inbound) {
    let (key, salt) = key_and_salt(profile);
    let master = MasterKey::new(profile, &key, &salt).expect("the right lengths");
    (
        Outbound::new(profile, &master),
        Inbound::new(profile, &master, SOURCES_MAX),
    )
}

fn theirs(profile: Profile) -> Context {
    let (key, salt) = key_and_salt(profile);
    let profile = match profile {
        Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    Context::new(&key, &salt, profile, None, None).expect("the right lengths")
}

/// A header with extensions, so that more than the fixed part is authenticated only.
fn header(ssrc: u32, seq: SeqNo) -> Vec<u8> {
    let extensions = OutgoingExtensions {
        mid: Some((4, Mid::from("7").expect("short"))),
        transport_cc: Some(3),
        ..OutgoingExtensions::default()
    };
    let mut header = OutgoingHeader::new(Ssrc(ssrc), &extensions);
    header.set(PayloadType(111), false, seq, 960 * seq.0 as u32);
    header.set_transport_cc(seq.wire());
    header.bytes().to_vec()
}

fn sealed(outbound: &mut Outbound, ssrc: u32, seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(outbound.protect_rtp(SeqNo(seq), &header(ssrc, SeqNo(seq)), payload, &mut out));
    out
}

fn open(inbound: &mut Inbound, datagram: &[u8]) -> Result<(SeqNo, Vec<u8>), Reject> {
    let mut datagram = datagram.to_vec();
    let header = Header::parse(&datagram)?;
    let (seq, len) = inbound.unprotect_rtp(&header, &mut datagram)?;
    datagram.truncate(len);
    Ok((seq, datagram))
}

fn open_rtcp(inbound: &mut Inbound, datagram: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut datagram = datagram.to_vec();
    let len = inbound.unprotect_rtcp(&mut datagram)?;
    datagram.truncate(len);
    Ok(datagram)
}

const REPORT: [u8; 12] = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];

#[test]
fn the_exported_secret_is_taken_apart_in_the_order_of_rfc_5764() {
    for profile in PROFILES {
        let exported: Vec<u8> = (0..profile.exported_len() as u8).collect();
        let keys = KeyingMaterial::split(profile, &exported).expect("the right length");
        let (key, salt) = (profile.key_len(), profile.salt_len());
        let client = MasterKey::new(
            profile,
            &exported[..key],
            &exported[2 * key..2 * key + salt],
        );
        let server = MasterKey::new(
            profile,
            &exported[key..2 * key],
            &exported[2 * key + salt..],
        );
        for (split, expected) in [(&keys.client, client), (&keys.server, server)] {
            let mut outbound = Outbound::new(profile, split);
            let mut inbound = Inbound::new(profile, &expected.expect("the right lengths"), 1);
            let packet = sealed(&mut outbound, 1, 70_000, b"media");
            assert!(open(&mut inbound, &packet).is_ok(), "{profile:?}");
        }
        assert!(KeyingMaterial::split(profile, &exported[1..]).is_none());
    }
    assert_eq!(Profile::AeadAes128Gcm.exported_len(), 56);
    assert_eq!(Profile::AeadAes256Gcm.exported_len(), 88);
    assert_eq!(Profile::Aes128CmSha1_80.exported_len(), 60);
}

/// The packet and keys that libsrtp ships as its self-test, keyed as in RFC 3711 appendix B.3.
#[test]
fn a_whole_packet_is_protected_as_libsrtp_does_it() {
    let profile = Profile::Aes128CmSha1_80;
    let key = [
        0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41,
        0x39,
    ];
    let salt = [
        0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6,
    ];
    let header = [
        0x80, 0x0f, 0x12, 0x34, 0xde, 0xca, 0xfb, 0xad, 0xca, 0xfe, 0xba, 0xbe,
    ];
    let master = MasterKey::new(profile, &key, &salt).expect("the right lengths");
    let mut out = Vec::new();
    Outbound::new(profile, &master).protect_rtp(
        SeqNo::first(0x1234),
        &header,
        &[0xab; 16],
        &mut out,
    );
    assert_eq!(
        out[12..],
        [
            0x4e, 0x55, 0xdc, 0x4c, 0xe7, 0x99, 0x78, 0xd8, 0x8c, 0xa4, 0xd2, 0x15, 0x94, 0x9d,
            0x24, 0x02, 0xb7, 0x8d, 0x6a, 0xcc, 0x99, 0xea, 0x17, 0x9b, 0x8d, 0xbb,
        ]
    );
}

#[test]
fn what_is_sealed_opens_across_wraps_and_reordering() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        for seq in [
            (1 << 16) + 65_530,
            (1 << 16) + 65_534,
            1 << 17,            // the wrap
            (1 << 16) + 65_535, // late, from before it
            (1 << 17) + 30_000,
            (1 << 17) + 60_000,
            (3 << 16) + 20_000, // the wrap after it
            (3 << 16) + 19_500,
        ] {
            let packet = sealed(&mut outbound, 1, seq, b"media");
            assert_eq!(
                packet.len(),
                header(1, SeqNo(seq)).len() + 5 + profile.rtp_overhead()
            );
            let (found, plain) = open(&mut inbound, &packet).expect("ours opens");
            assert_eq!(found, SeqNo(seq), "{profile:?}");
            assert_eq!(plain, [&header(1, SeqNo(seq))[..], b"media"].concat());
        }
    }
}

#[test]
fn a_packet_in_parts_is_the_packet_as_a_whole() {
    for profile in PROFILES {
        let (mut outbound, _) = pair(profile);
        let seq = SeqNo(70_000);
        let mut parts = vec![9; 3];
        outbound.protect_rtp_parts(seq, &header(1, seq), &[b"me", b"", b"dia"], &mut parts);
        let mut whole = vec![9; 3];
        outbound.protect_rtp(seq, &header(1, seq), b"media", &mut whole);
        assert_eq!(parts, whole);
    }
}

#[test]
fn a_replay_is_refused_and_the_newest_stays_open() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let first = sealed(&mut outbound, 1, 70_000, b"a");
        let late = sealed(&mut outbound, 1, 69_999, b"b");
        let far = sealed(&mut outbound, 1, 71_000, b"c");
        let too_old = sealed(&mut outbound, 1, 69_998, b"d");
        assert!(open(&mut inbound, &first).is_ok());
        assert_eq!(open(&mut inbound, &first), Err(Reject::SrtpReplay));
        assert!(open(&mut inbound, &late).is_ok());
        assert_eq!(open(&mut inbound, &late), Err(Reject::SrtpReplay));
        assert!(open(&mut inbound, &far).is_ok());
        assert_eq!(open(&mut inbound, &first), Err(Reject::SrtpReplay));
        assert_eq!(open(&mut inbound, &too_old), Err(Reject::SrtpReplay));
    }
}

#[test]
fn any_flipped_bit_is_refused_and_changes_nothing() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        open(&mut inbound, &sealed(&mut outbound, 1, 70_000, b"start")).expect("ours opens");
        let packet = sealed(&mut outbound, 1, 70_001, b"media");
        for bit in 8..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open(&mut inbound, &forged).is_err(),
                "{profile:?} bit {bit}"
            );
        }
        // Forgeries with every number of the source: rollover and window must not follow them.
        for wire in (0..=u16::MAX).step_by(97) {
            let mut forged = packet.clone();
            forged[2..4].copy_from_slice(&wire.to_be_bytes());
            assert!(wire == 70_001_u32 as u16 || open(&mut inbound, &forged).is_err());
        }
        let (seq, _) = open(&mut inbound, &packet).expect("the true one still opens");
        assert_eq!(seq, SeqNo(70_001));
    }
}

#[test]
fn a_forgery_takes_no_place_in_the_table_of_sources() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        for ssrc in 100..1_000 {
            let mut forged = sealed(&mut outbound, ssrc, 70_000, b"media");
            *forged.last_mut().expect("not empty") ^= 1;
            assert_eq!(open(&mut inbound, &forged), Err(Reject::SrtpAuthentication));
        }
        for ssrc in 0..SOURCES_MAX as u32 {
            let packet = sealed(&mut outbound, ssrc, 70_000, b"media");
            assert!(open(&mut inbound, &packet).is_ok(), "{profile:?}");
        }
        let packet = sealed(&mut outbound, 99, 70_000, b"media");
        assert_eq!(open(&mut inbound, &packet), Err(Reject::TooManySources));
        inbound.forget(Ssrc(0));
        assert!(open(&mut inbound, &packet).is_ok());
    }
}

#[test]
fn every_shorter_datagram_is_refused() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let packet = sealed(&mut outbound, 1, 70_000, b"media");
        for len in 0..packet.len() {
            assert!(open(&mut inbound, &packet[..len]).is_err());
        }
        let mut packet = Vec::new();
        outbound.protect_rtcp(&REPORT, &mut packet);
        for len in 0..packet.len() {
            assert!(open_rtcp(&mut inbound, &packet[..len]).is_err());
        }
    }
}

#[test]
fn a_number_without_an_index_is_not_sealed() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let mut out = Vec::new();
        for seq in [SeqNo(0), SeqNo((1 << 16) - 1), SeqNo((1 << 48) + (1 << 16))] {
            assert!(!outbound.protect_rtp(seq, &header(1, seq), b"media", &mut out));
        }
        assert!(out.is_empty());
        assert!(!outbound.protect_rtcp(&REPORT[..7], &mut out));
        assert!(out.is_empty());
        // And what would have such a number is too old to open.
        let first = sealed(&mut outbound, 1, 1 << 16, b"media");
        assert!(open(&mut inbound, &first).is_ok());
        let mut before = first.clone();
        before[2..4].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(open(&mut inbound, &before), Err(Reject::SrtpReplay));
    }
}

#[test]
fn rtcp_is_opened_once_and_only_encrypted() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let mut packet = Vec::new();
        assert!(outbound.protect_rtcp(&REPORT, &mut packet));
        assert_eq!(packet.len(), REPORT.len() + profile.rtcp_overhead());
        for bit in 0..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open_rtcp(&mut inbound, &forged).is_err(),
                "{profile:?} bit {bit}"
            );
        }
        assert_eq!(open_rtcp(&mut inbound, &packet), Ok(REPORT.to_vec()));
        assert_eq!(open_rtcp(&mut inbound, &packet), Err(Reject::SrtpReplay));
        let mut next = Vec::new();
        outbound.protect_rtcp(&REPORT, &mut next);
        assert_ne!(next, packet);
        assert!(open_rtcp(&mut inbound, &next).is_ok());
    }
}

/// Numbers that leap forwards by up to 20,000 and back by up to 50, so that 400 packets cross about
/// forty wraps.
fn numbers(seed: u64) -> Vec<SeqNo> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut newest = (1 << 16) + 65_000;
    let mut numbers = vec![SeqNo(newest)];
    for _ in 0..400 {
        let leap = random.random_range(51..20_000);
        newest += leap;
        numbers.push(SeqNo(newest));
        numbers.push(SeqNo(newest - random.random_range(1..51)));
    }
    numbers
}

#[test]
fn an_independent_implementation_opens_what_we_seal() {
    for profile in PROFILES {
        let (mut outbound, _) = pair(profile);
        let mut theirs = theirs(profile);
        for (at, seq) in numbers(1).into_iter().enumerate() {
            let payload = vec![at as u8; at % 1_200 + 1];
            let packet = sealed(&mut outbound, 0xcafe, seq.0, &payload);
            let plain = theirs.decrypt_rtp(&packet).expect("theirs opens ours");
            assert_eq!(plain, [&header(0xcafe, seq)[..], &payload].concat());
        }
        for _ in 0..100 {
            let mut packet = Vec::new();
            outbound.protect_rtcp(&REPORT, &mut packet);
            let plain = theirs.decrypt_rtcp(&packet).expect("theirs opens ours");
            assert_eq!(plain[..], REPORT);
        }
    }
}

#[test]
fn we_open_what_an_independent_implementation_seals() {
    for profile in PROFILES {
        let (_, mut inbound) = pair(profile);
        let mut theirs = theirs(profile);
        for (at, seq) in numbers(2).into_iter().enumerate() {
            let plain = [&header(0xcafe, seq)[..], &vec![at as u8; at % 1_200 + 1]].concat();
            let packet = theirs.encrypt_rtp(&plain).expect("theirs seals");
            let (found, opened) = open(&mut inbound, &packet).expect("ours opens theirs");
            // They count rollovers from the first packet they see, as we do.
            assert_eq!((found, opened), (seq, plain), "{profile:?}");
        }
        for _ in 0..100 {
            let packet = theirs.encrypt_rtcp(&REPORT).expect("theirs seals");
            assert_eq!(open_rtcp(&mut inbound, &packet), Ok(REPORT.to_vec()));
        }
    }
}

#[test]
fn a_payload_opened_elsewhere_is_the_one_opened_where_it_lies() {
    for profile in PROFILES {
        let (mut outbound, mut here) = pair(profile);
        let (_, mut elsewhere) = pair(profile);
        for payload in [&b"media"[..], b"", &[7; 1_200]] {
            let seq = 70_000 + payload.len() as u64;
            let datagram = sealed(&mut outbound, 9, seq, payload);
            let header = Header::parse(&datagram).expect("ours");
            let (number, packet) = open(&mut here, &datagram).expect("ours");
            let mut plain = vec![0xaa; payload.len() + 3];

            let mut changed = datagram.clone();
            *changed.last_mut().expect("a tag") ^= 1;
            let result = elsewhere.unprotect_rtp_into(&header, &changed, &mut plain);
            assert_eq!(result, Err(Reject::SrtpAuthentication), "{profile:?}");
            let cut = &datagram[..header.len + 5];
            let result = elsewhere.unprotect_rtp_into(&header, cut, &mut plain);
            assert_eq!(result, Err(Reject::Length), "{profile:?}");
            if let Some(short) = payload.len().checked_sub(1) {
                let room = &mut plain[..short];
                let result = elsewhere.unprotect_rtp_into(&header, &datagram, room);
                assert_eq!(result, Err(Reject::Length), "there is no room for it");
            }

            plain.fill(0xaa);
            let opened = elsewhere.unprotect_rtp_into(&header, &datagram, &mut plain);
            assert_eq!(opened, Ok((number, payload.len())), "{profile:?}");
            assert_eq!(plain[..payload.len()], packet[header.len..]);
            assert_eq!(plain[payload.len()..], [0xaa; 3]);
            let again = elsewhere.unprotect_rtp_into(&header, &datagram, &mut plain);
            assert_eq!(again, Err(Reject::SrtpReplay), "{profile:?}");
        }
    }
}
