//! Pieces of a session description (RFC 8840), as an encoder sends them to a session that it has:
//! more of its addresses, or fresh credentials that ask for a restart of ICE.
//!
//! Of what comes in, only the credentials are kept: a lite agent learns a peer's addresses from its
//! checks, so candidates are counted and forgotten. What goes out is cut from an answer of ours.

use sfu::transport::params::IceCredentials;

use super::parse::{SdpError, check_size, ice_chars};
use crate::config::Limits;

/// What a fragment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Whose generation of ICE it belongs to, if it says so.
    pub ufrag: Option<String>,
    /// The password that goes with it.
    pub password: Option<String>,
    /// How many addresses it names.
    pub candidates: usize,
}

impl Fragment {
    /// Reads a fragment.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, SdpError> {
        check_size(text, limits)?;
        let mut fragment = Self {
            ufrag: None,
            password: None,
            candidates: 0,
        };
        let mut says_something = false;
        for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
            let attribute = attribute(line)?;
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match name {
                "ice-ufrag" => keep(&mut fragment.ufrag, value, 4, "ice-ufrag")?,
                "ice-pwd" => keep(&mut fragment.password, value, 22, "ice-pwd")?,
                "candidate" => fragment.candidates += 1,
                "end-of-candidates" => {}
                _ => continue,
            }
            says_something = true;
        }
        match says_something {
            true => Ok(fragment),
            false => Err(SdpError::Unusable("candidate or ice-ufrag")),
        }
    }

    /// The credentials, if it brings others than those that are known.
    pub fn fresh(&self, known: &IceCredentials) -> Result<Option<IceCredentials>, SdpError> {
        let Some(ufrag) = &self.ufrag else {
            return Ok(None);
        };
        let is_known = |password: &String| *password == known.password;
        if *ufrag == known.ufrag && self.password.as_ref().is_none_or(is_known) {
            return Ok(None);
        }
        let password = self.password.clone();
        Ok(Some(IceCredentials {
            ufrag: ufrag.clone(),
            password: password.ok_or(SdpError::Unusable("ice-pwd"))?,
        }))
    }
}

/// What stands behind `a=`; nothing for another line of a description.
fn attribute(line: &str) -> Result<&str, SdpError> {
    match line.as_bytes() {
        [b'a', b'=', ..] => Ok(&line[2..]),
        [letter, b'=', ..] if letter.is_ascii_lowercase() => Ok(""),
        _ => Err(SdpError::Malformed),
    }
}

/// Takes a value over. In one bundle every section says the same.
fn keep(
    place: &mut Option<String>,
    value: &str,
    len_min: usize,
    name: &'static str,
) -> Result<(), SdpError> {
    let value = ice_chars(Some(value), len_min).ok_or(SdpError::Unusable(name))?;
    match place.replace(value.clone()) {
        Some(before) if before != value => Err(SdpError::Unusable(name)),
        _ => Ok(()),
    }
}

/// The part of an answer of ours that says where we are now, and by which credentials.
pub fn of_answer(answer: &str) -> String {
    let mut sections = answer.split("\r\nm=");
    let head = sections.next().unwrap_or_default();
    let first = sections.find(|section| section.contains("\r\na=ice-ufrag:"));
    let head = head
        .split("\r\n")
        .filter(|line| *line == "a=ice-lite" || line.starts_with("a=group:"));
    let first = first.unwrap_or_default();
    let is_told = |line: &&str| {
        let told = ["a=mid:", "a=ice-", "a=candidate:", "a=end-of-candidates"];
        told.iter().any(|start| line.starts_with(start))
    };
    let (media, attributes) = first.split_once("\r\n").unwrap_or_default();
    let media = format!("m={media}");
    let lines = head.chain([media.as_str()]);
    let lines = lines.chain(attributes.split("\r\n").filter(is_told));
    lines.flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "abcdefghijklmnopqrstuv";

    fn parse(text: &str) -> Result<Fragment, SdpError> {
        Fragment::parse(text, &Limits::default())
    }

    fn known() -> IceCredentials {
        IceCredentials {
            ufrag: "abcd".into(),
            password: PASSWORD.into(),
        }
    }

    #[test]
    fn a_candidate_is_taken_and_asks_for_nothing() {
        let text = format!(
            "a=ice-ufrag:abcd\r\na=ice-pwd:{PASSWORD}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
             a=candidate:1 1 UDP 2130706431 10.0.0.9 56789 typ host\r\na=end-of-candidates\r\n"
        );
        let fragment = parse(&text).expect("what RFC 9725 shows");
        assert_eq!(fragment.candidates, 1);
        assert_eq!(fragment.fresh(&known()), Ok(None));
        let bare = parse("a=candidate:1 1 UDP 1 10.0.0.9 56789 typ host").expect("enough");
        assert_eq!(bare.fresh(&known()), Ok(None));
    }

    #[test]
    fn other_credentials_ask_for_a_restart() {
        let text = format!("a=ice-ufrag:efgh\r\na=ice-pwd:{PASSWORD}\r\n");
        let fresh = parse(&text).expect("good").fresh(&known());
        assert_eq!(
            fresh.map(|ice| ice.map(|ice| ice.ufrag)),
            Ok(Some("efgh".into()))
        );
        let half = parse("a=ice-ufrag:efgh\r\n").expect("good");
        assert_eq!(half.fresh(&known()), Err(SdpError::Unusable("ice-pwd")));
    }

    #[test]
    fn what_is_no_fragment_is_refused_by_its_reason() {
        let long = format!("a=ice-ufrag:{}\r\n", "x".repeat(257));
        let many = "a=candidate:1\r\n".repeat(Limits::default().sdp_lines_max + 1);
        let large = "x".repeat(Limits::default().sdp_bytes_max + 1);
        let table = [
            ("", SdpError::Unusable("candidate or ice-ufrag")),
            ("a=mid:0\r\n", SdpError::Unusable("candidate or ice-ufrag")),
            ("hello", SdpError::Malformed),
            ("\u{e9}=x", SdpError::Malformed),
            ("a=ice-ufrag:abc\r\n", SdpError::Unusable("ice-ufrag")),
            ("a=ice-ufrag:ab cd\r\n", SdpError::Unusable("ice-ufrag")),
            (&long, SdpError::Unusable("ice-ufrag")),
            ("a=ice-pwd:short\r\n", SdpError::Unusable("ice-pwd")),
            (
                "a=ice-ufrag:abcd\r\na=ice-ufrag:efgh\r\n",
                SdpError::Unusable("ice-ufrag"),
            ),
            (&many, SdpError::TooLarge("sdp_lines_max")),
            (&large, SdpError::TooLarge("sdp_bytes_max")),
        ];
        for (text, error) in table {
            assert_eq!(parse(text), Err(error), "{:.40}", text);
        }
    }

    #[test]
    fn an_answer_is_cut_down_to_where_we_are() {
        let answer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\na=ice-lite\r\na=group:BUNDLE 1\r\n\
                      m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
                      m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
                      a=fingerprint:sha-256 AB\r\na=mid:1\r\na=candidate:1 1 udp 1 ::1 1 typ host\r\n\
                      a=end-of-candidates\r\n";
        assert_eq!(
            of_answer(answer),
            "a=ice-lite\r\na=group:BUNDLE 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\n\
             a=ice-pwd:p\r\na=mid:1\r\na=candidate:1 1 udp 1 ::1 1 typ host\r\na=end-of-candidates\r\n"
        );
    }
}
