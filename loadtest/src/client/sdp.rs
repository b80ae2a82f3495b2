//! Session descriptions, as little of them as a synthetic client needs.
//!
//! Writes offers and answers from a list of sections, and reads from the other side's text what
//! a transport needs: credentials, fingerprint, role, candidates, and per section direction and
//! extension ids. It is no general parser.

use std::fmt::Write;
use std::net::SocketAddr;

/// The payload type of Opus in our offers.
pub(crate) const OPUS: u8 = 111;
/// The payload type of VP8 in our offers.
pub(crate) const VP8: u8 = 96;
/// The payload type of resent VP8 in our offers.
pub(crate) const VP8_RTX: u8 = 97;

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Ids of the header extensions we know, 0 where not agreed. The default is what we offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExtensionIds {
    /// Audio level.
    pub(crate) level: u8,
    /// Transport-wide sequence number.
    pub(crate) transport_cc: u8,
    /// Section.
    pub(crate) mid: u8,
    /// Simulcast layer.
    pub(crate) rid: u8,
}

impl ExtensionIds {
    /// What our offers say: the ids that browsers use.
    pub(crate) const OFFERED: Self = Self {
        level: 1,
        transport_cc: 3,
        mid: 4,
        rid: 10,
    };
    /// Nothing agreed.
    pub(crate) const NONE: Self = Self {
        level: 0,
        transport_cc: 0,
        mid: 0,
        rid: 0,
    };

    fn note(&mut self, id: u8, uri: &str) {
        match uri {
            MID => self.mid = id,
            RID => self.rid = id,
            LEVEL => self.level = id,
            TRANSPORT_CC => self.transport_cc = id,
            _ => {}
        }
    }
}

/// What a section carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
    /// Data channels.
    Application,
}

/// Which way, from the writer's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Only to the other side.
    SendOnly,
    /// Only from it.
    RecvOnly,
    /// Not used at the moment.
    Inactive,
}

/// A track that a section sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sending {
    /// The client's id of the track.
    pub(crate) cid: String,
    /// One per simulcast layer, lowest first.
    pub(crate) ssrcs: Vec<u32>,
}

/// One `m=` section of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// What it carries.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) mid: String,
    /// Which way.
    pub(crate) direction: Direction,
    /// What it sends.
    pub(crate) sending: Option<Sending>,
    /// Payload types: the codec and, for video, its resending (0 for none).
    pub(crate) payload_types: (u8, u8),
    /// Extension ids.
    pub(crate) ids: ExtensionIds,
}

impl Section {
    /// A section as our own offers have it.
    pub(crate) fn offered(kind: Kind, mid: usize, sending: Option<Sending>) -> Self {
        let direction = match (kind, &sending) {
            (Kind::Application, _) => Direction::Inactive,
            (_, Some(_)) => Direction::SendOnly,
            (_, None) => Direction::RecvOnly,
        };
        let payload_types = match kind {
            Kind::Audio => (OPUS, 0),
            Kind::Video => (VP8, VP8_RTX),
            Kind::Application => (0, 0),
        };
        let ids = ExtensionIds::OFFERED;
        Self {
            kind,
            mid: mid.to_string(),
            direction,
            sending,
            payload_types,
            ids,
        }
    }
}

/// Names of simulcast layers, lowest first.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

/// What all sections of ours share.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    /// ICE user name fragment.
    pub(crate) ufrag: String,
    /// ICE password.
    pub(crate) password: String,
    /// SHA-256 of our certificate, as in the attribute.
    pub(crate) fingerprint: String,
    /// Our socket.
    pub(crate) address: SocketAddr,
}

/// Writes a description. `setup` is `actpass` in an offer.
pub(crate) fn write(local: &Local, version: u32, setup: &str, sections: &[Section]) -> String {
    let mut text = String::with_capacity(1_000 * sections.len() + 200);
    let mids: Vec<&str> = sections.iter().map(|s| s.mid.as_str()).collect();
    text += &format!("v=0\r\no=- 4611731400430051336 {version} IN IP4 127.0.0.1\r\ns=-\r\n");
    text += &format!("t=0 0\r\na=group:BUNDLE {}\r\n", mids.join(" "));
    text += "a=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n";
    for section in sections {
        write_section(&mut text, local, setup, section).expect("a String takes everything");
    }
    text
}

fn write_section(
    text: &mut String,
    local: &Local,
    setup: &str,
    section: &Section,
) -> std::fmt::Result {
    let (codec, resend) = section.payload_types;
    match section.kind {
        Kind::Audio => write!(text, "m=audio 9 UDP/TLS/RTP/SAVPF {codec}\r\n")?,
        Kind::Video if resend > 0 => {
            write!(text, "m=video 9 UDP/TLS/RTP/SAVPF {codec} {resend}\r\n")?;
        }
        Kind::Video => write!(text, "m=video 9 UDP/TLS/RTP/SAVPF {codec}\r\n")?,
        Kind::Application => text.push_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"),
    }
    let Local {
        ufrag,
        password,
        fingerprint,
        address,
    } = local;
    let (ip, port) = (address.ip(), address.port());
    write!(text, "c=IN IP4 0.0.0.0\r\n")?;
    write!(
        text,
        "a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n"
    )?;
    write!(
        text,
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\n"
    )?;
    write!(
        text,
        "a=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n"
    )?;
    write!(text, "a=mid:{}\r\n", section.mid)?;
    if section.kind == Kind::Application {
        return write!(text, "a=sctp-port:5000\r\na=max-message-size:262144\r\n");
    }
    write_extensions(text, section)?;
    let direction = match section.direction {
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    };
    write!(text, "a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n")?;
    if let Some(sending) = &section.sending {
        write!(text, "a=msid:- {}\r\n", sending.cid)?;
    }
    match section.kind {
        Kind::Audio => {
            write!(
                text,
                "a=rtpmap:{codec} opus/48000/2\r\na=rtcp-fb:{codec} transport-cc\r\n"
            )?;
            write!(text, "a=fmtp:{codec} minptime=10;useinbandfec=1\r\n")?;
        }
        _ => {
            write!(text, "a=rtpmap:{codec} VP8/90000\r\n")?;
            for feedback in ["transport-cc", "ccm fir", "nack", "nack pli"] {
                write!(text, "a=rtcp-fb:{codec} {feedback}\r\n")?;
            }
            if resend > 0 {
                write!(
                    text,
                    "a=rtpmap:{resend} rtx/90000\r\na=fmtp:{resend} apt={codec}\r\n"
                )?;
            }
        }
    }
    section
        .sending
        .as_ref()
        .map_or(Ok(()), |sending| write_sending(text, sending))
}

fn write_extensions(text: &mut String, section: &Section) -> std::fmt::Result {
    let ids = section.ids;
    let level = if section.kind == Kind::Audio {
        ids.level
    } else {
        0
    };
    let rid = if section.kind == Kind::Video {
        ids.rid
    } else {
        0
    };
    let all = [
        (level, LEVEL),
        (ids.transport_cc, TRANSPORT_CC),
        (ids.mid, MID),
        (rid, RID),
    ];
    for (id, uri) in all.into_iter().filter(|(id, _)| *id > 0) {
        write!(text, "a=extmap:{id} {uri}\r\n")?;
    }
    Ok(())
}

fn write_sending(text: &mut String, sending: &Sending) -> std::fmt::Result {
    if let [ssrc] = sending.ssrcs[..] {
        return write!(
            text,
            "a=ssrc:{ssrc} cname:load\r\na=ssrc:{ssrc} msid:- {}\r\n",
            sending.cid
        );
    }
    let rids = &RIDS[..sending.ssrcs.len()];
    for rid in rids {
        write!(text, "a=rid:{rid} send\r\n")?;
    }
    write!(text, "a=simulcast:send {}\r\n", rids.join(";"))
}

/// One section of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteSection {
    /// What it carries.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) mid: String,
    /// False for a refused or unused section.
    pub(crate) is_active: bool,
    /// Opus or VP8, and the resending of VP8.
    pub(crate) payload_types: (u8, u8),
    /// Extension ids.
    pub(crate) ids: ExtensionIds,
}

/// What the other side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    /// ICE user name fragment.
    pub(crate) ufrag: String,
    /// ICE password.
    pub(crate) password: String,
    /// The certificate's fingerprint with its algorithm's name.
    pub(crate) fingerprint: String,
    /// `active`, `passive` or `actpass`.
    pub(crate) setup: String,
    /// UDP addresses, in the order of the text.
    pub(crate) candidates: Vec<SocketAddr>,
    /// All sections.
    pub(crate) sections: Vec<RemoteSection>,
}

impl Remote {
    /// Reads a description; `None` if it lacks what a transport needs.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let find = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let mut remote = Self {
            ufrag: find("a=ice-ufrag:")?.to_owned(),
            password: find("a=ice-pwd:")?.to_owned(),
            fingerprint: find("a=fingerprint:")?.to_owned(),
            setup: find("a=setup:")?.to_owned(),
            candidates: Vec::new(),
            sections: Vec::new(),
        };
        for line in text.lines().map(str::trim) {
            if let Some(media) = line.strip_prefix("m=") {
                remote.sections.push(read_media(media)?);
            } else if let Some(candidate) = line.strip_prefix("a=candidate:") {
                remote.add_candidate(candidate);
            } else if let Some(section) = remote.sections.last_mut() {
                read_attribute(section, line);
            }
        }
        Some(remote)
    }

    /// Adds a candidate (without the attribute's name) if it is a UDP address of component 1.
    pub(crate) fn add_candidate(&mut self, candidate: &str) {
        let fields: Vec<&str> = candidate.split_ascii_whitespace().collect();
        let [_, "1", protocol, _, ip, port, ..] = fields[..] else {
            return;
        };
        let address = ip.parse().ok().zip(port.parse().ok());
        if let (true, Some((ip, port))) = (protocol.eq_ignore_ascii_case("udp"), address) {
            let address = SocketAddr::new(ip, port);
            if !self.candidates.contains(&address) {
                self.candidates.push(address);
            }
        }
    }

    /// Ids that the section of that name agreed to.
    pub(crate) fn section(&self, mid: &str) -> Option<&RemoteSection> {
        self.sections.iter().find(|section| section.mid == mid)
    }
}

fn read_media(media: &str) -> Option<RemoteSection> {
    let mut fields = media.split_ascii_whitespace();
    let kind = match fields.next()? {
        "audio" => Kind::Audio,
        "video" => Kind::Video,
        _ => Kind::Application,
    };
    let is_active = fields.next()? != "0";
    let (mid, ids) = (String::new(), ExtensionIds::NONE);
    Some(RemoteSection {
        kind,
        mid,
        is_active,
        payload_types: (0, 0),
        ids,
    })
}

fn read_attribute(section: &mut RemoteSection, line: &str) {
    if let Some(mid) = line.strip_prefix("a=mid:") {
        section.mid = mid.to_owned();
    } else if line == "a=inactive" {
        section.is_active = false;
    } else if let Some((id, uri)) = line
        .strip_prefix("a=extmap:")
        .and_then(|l| l.split_once(' '))
    {
        // The id may carry a direction, the URI parameters.
        let id = id.split('/').next().and_then(|id| id.parse().ok());
        let uri = uri.split(' ').next();
        if let (Some(id), Some(uri)) = (id, uri) {
            section.ids.note(id, uri);
        }
    } else if let Some((number, codec)) = line
        .strip_prefix("a=rtpmap:")
        .and_then(|l| l.split_once(' '))
    {
        let Ok(number) = number.parse() else { return };
        match codec.to_ascii_lowercase().as_str() {
            "opus/48000/2" | "vp8/90000" => section.payload_types.0 = number,
            "rtx/90000" if section.payload_types.1 == 0 => section.payload_types.1 = number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local {
            ufrag: "uuuu".into(),
            password: "p".repeat(22),
            fingerprint: "AA:BB".into(),
            address: "127.0.0.1:5004".parse().expect("address"),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let sending = |ssrcs: &[u32]| {
            Some(Sending {
                cid: "c".into(),
                ssrcs: ssrcs.to_vec(),
            })
        };
        let sections = [
            Section::offered(Kind::Audio, 0, None),
            Section::offered(Kind::Video, 1, sending(&[1, 2, 3])),
            Section::offered(Kind::Application, 2, None),
        ];
        let text = write(&local(), 2, "actpass", &sections);
        assert!(text.contains("a=simulcast:send q;h;f\r\n"));
        let remote = Remote::parse(&text).expect("complete");
        assert_eq!(
            (remote.ufrag.as_str(), remote.setup.as_str()),
            ("uuuu", "actpass")
        );
        assert_eq!(remote.fingerprint, "sha-256 AA:BB");
        assert_eq!(remote.candidates, [local().address]);
        let kinds: Vec<Kind> = remote.sections.iter().map(|s| s.kind).collect();
        assert_eq!(kinds, [Kind::Audio, Kind::Video, Kind::Application]);
        let video = remote.section("1").expect("there");
        assert_eq!(video.payload_types, (VP8, VP8_RTX));
        assert_eq!(
            video.ids,
            ExtensionIds {
                level: 0,
                ..ExtensionIds::OFFERED
            }
        );
        assert!(video.is_active);
    }

    #[test]
    fn only_udp_candidates_of_the_first_component_count() {
        let mut remote = Remote::parse(&write(&local(), 1, "active", &[])).unwrap_or(Remote {
            ufrag: String::new(),
            password: String::new(),
            fingerprint: String::new(),
            setup: String::new(),
            candidates: Vec::new(),
            sections: Vec::new(),
        });
        remote.add_candidate("1 1 TCP 1 127.0.0.1 9 typ host tcptype passive");
        remote.add_candidate("1 2 udp 1 127.0.0.1 9 typ host");
        remote.add_candidate("1 1 udp 1 name.local 9 typ host");
        remote.add_candidate("1 1 udp");
        assert!(remote.candidates.is_empty());
        remote.add_candidate("1 1 UDP 1 10.0.0.1 9 typ host");
        assert_eq!(remote.candidates.len(), 1);
    }

    #[test]
    fn an_incomplete_description_is_refused() {
        let text = write(
            &local(),
            1,
            "active",
            &[Section::offered(Kind::Audio, 0, None)],
        );
        for name in ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"] {
            assert_eq!(Remote::parse(&text.replace(name, "a=x")), None);
        }
    }
}
