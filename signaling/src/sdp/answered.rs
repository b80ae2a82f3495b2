//! A client's answer to an offer of ours, from text to values.
//!
//! It is read as an offer is, and then held against what was offered: as many sections, of the same
//! names and kinds, and of codecs and extensions none but ours under our numbers. What a client
//! answers beside that is left out; whether it has answered the right offer is decided elsewhere.

use sfu::transport::params::{Fingerprint, IceCredentials, TransportParams};

use super::params::extension_ids;
use super::parse::{Direction, Offer, OfferedCodec, SdpError, Section};
use crate::config::Limits;

/// What a client answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The credentials of its one transport.
    pub ice: IceCredentials,
    /// The certificate it will show.
    pub fingerprint: Fingerprint,
    /// Its sections, in the order of the offer.
    pub sections: Vec<Section>,
}

impl Answer {
    /// Reads an answer.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, SdpError> {
        // An answer has chosen (RFC 5763 section 5), and we are the DTLS server.
        let Offer {
            ice,
            fingerprint,
            sections,
        } = Offer::read(text, limits, |setup| setup == Some("active"))?;
        Ok(Self {
            ice,
            fingerprint,
            sections,
        })
    }

    /// Keeps what was offered. `None` if it is no answer to these sections.
    pub fn to(mut self, offered: &[Section]) -> Option<Self> {
        if self.sections.len() != offered.len() {
            return None;
        }
        for (section, ours) in self.sections.iter_mut().zip(offered) {
            if section.mid != ours.mid || section.kind != ours.kind {
                return None;
            }
            section.is_rejected |= ours.is_rejected;
            section.codecs.retain_mut(|codec| restrict(codec, ours));
            section
                .extensions
                .retain(|one| ours.extensions.contains(one));
        }
        Some(self)
    }

    /// The transport that it asks for, with our credentials.
    pub fn transport(&self, local_ice: IceCredentials) -> TransportParams {
        TransportParams {
            local_ice,
            remote_ice: self.ice.clone(),
            remote_fingerprint: self.fingerprint,
            extensions: extension_ids(&self.sections),
            sctp: self.sections.iter().find_map(|section| section.sctp),
        }
    }
}

/// Whether something can be sent in a section of an answer.
pub fn takes(section: &Section) -> bool {
    let directions = [Direction::ReceiveOnly, Direction::SendReceive];
    !section.is_rejected && !section.codecs.is_empty() && directions.contains(&section.direction)
}

/// Whether a codec was offered under this number; its retransmissions must have been, too.
fn restrict(codec: &mut OfferedCodec, ours: &Section) -> bool {
    let number = codec.params.payload_type;
    let offered = ours
        .codecs
        .iter()
        .find(|one| one.params.payload_type == number && one.params.codec == codec.params.codec);
    let rtx = offered.and_then(|one| one.params.rtx_payload_type);
    codec.params.rtx_payload_type = codec
        .params
        .rtx_payload_type
        .filter(|one| rtx == Some(*one));
    offered.is_some()
}

#[cfg(test)]
mod tests {
    use sfu::media::{Codec, MediaKind, Mid};
    use sfu::unit::PayloadType;

    use super::super::catalogue;
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    const TRANSPORT: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n\
        a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:\
        17:18:19:1A:1B:1C:1D:1E:1F\r\na=setup:active\r\n";

    fn mid(text: &str) -> Mid {
        Mid::from(text).expect("short enough")
    }

    fn offered() -> Vec<Section> {
        vec![
            catalogue::data(mid("0")),
            catalogue::media(mid("1"), MediaKind::Video),
        ]
    }

    fn text() -> String {
        format!(
            "{HEAD}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{TRANSPORT}a=mid:0\r\n\
             a=sctp-port:5000\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97 100\r\n{TRANSPORT}a=mid:1\r\na=recvonly\r\n\
             a=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             a=rtpmap:100 VP8/90000\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a=extmap:5 urn:3gpp:video-orientation\r\n"
        )
    }

    fn parse(text: &str) -> Result<Answer, SdpError> {
        Answer::parse(text, &Limits::default())
    }

    #[test]
    fn what_was_offered_is_taken_and_nothing_else() {
        let answer = parse(&text()).expect("it parses");
        let answer = answer.to(&offered()).expect("it fits");
        let video = &answer.sections[1];
        assert!(takes(video) && !takes(&answer.sections[0]));
        assert_eq!(video.codecs.len(), 1, "100 was not offered");
        let vp8 = video.codecs[0].params;
        assert_eq!(vp8.codec, Codec::Vp8);
        assert_eq!(vp8.rtx_payload_type, Some(PayloadType(97)));
        let local = IceCredentials {
            ufrag: "ours".into(),
            password: "p".repeat(22),
        };
        let transport = answer.transport(local);
        assert_eq!(transport.extensions.mid, Some(4));
        assert_eq!(transport.extensions.video_orientation, None, "not as 5");
        assert_eq!(transport.sctp.map(|sctp| sctp.port), Some(5000));
    }

    #[test]
    fn retransmissions_of_another_number_are_none() {
        let text = text().replace("97", "98");
        let answer = parse(&text).expect("it parses").to(&offered());
        let video = &answer.expect("it fits").sections[1];
        assert_eq!(video.codecs[0].params.rtx_payload_type, None);
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let text = text();
        let cut = &text[..text.find("m=video").expect("it is there")];
        for other in [
            cut.to_owned(),
            text.replace("a=mid:1", "a=mid:7"),
            text.replace("m=video", "m=audio"),
            format!("{text}{}", cut.replace(HEAD, "").replace("mid:0", "mid:2")),
        ] {
            assert_eq!(parse(&other).expect("it parses").to(&offered()), None);
        }
    }

    #[test]
    fn a_section_that_is_refused_takes_nothing() {
        for refused in [
            text().replace("m=video 9", "m=video 0"),
            text().replace("recvonly", "inactive"),
            text().replace("recvonly", "sendonly"),
            text().replace("VP8", "VP7"),
        ] {
            let answer = parse(&refused).expect("it parses").to(&offered());
            assert!(!takes(&answer.expect("it fits").sections[1]));
        }
    }

    #[test]
    fn an_answer_must_have_chosen_its_part() {
        for part in ["a=setup:actpass\r\n", "a=setup:passive\r\n", ""] {
            let text = text().replace("a=setup:active\r\n", part);
            assert_eq!(parse(&text), Err(SdpError::Unusable("setup")));
        }
        assert_eq!(parse("v=0"), Err(SdpError::Malformed));
    }
}
