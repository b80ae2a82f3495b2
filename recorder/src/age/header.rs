//! The header of an age file: stanzas, each a wrapped file key, and a MAC over them.
//!
//! Text in, text out; what a stanza means is [`super::stanza`]'s business. Parsing is as strict as
//! the specification: one form of everything, so that no two headers mean the same.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::AgeError;
use super::stanza::{FileKey, derive};

const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";
const FOOTER: &[u8] = b"---";
const COLUMNS: usize = 64;

/// A header longer than this is not read: ours have a hundred bytes for each recipient.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// One wrapped file key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// Its type, then what the type needs.
    pub args: Vec<String>,
    /// The wrapped key.
    pub body: Vec<u8>,
}

/// A parsed header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The wrapped file keys.
    pub stanzas: Vec<Stanza>,
    mac: [u8; 32],
    /// Bytes up to and with the `---`: what the MAC is over.
    covered: usize,
    /// Bytes of the whole header.
    pub len: usize,
}

/// The header of a file with these stanzas.
pub(super) fn write(stanzas: &[Stanza], key: &FileKey) -> Vec<u8> {
    let mut out = VERSION_LINE.to_vec();
    for stanza in stanzas {
        out.extend_from_slice(b"->");
        for arg in &stanza.args {
            out.push(b' ');
            out.extend_from_slice(arg.as_bytes());
        }
        out.push(b'\n');
        let body = STANDARD_NO_PAD.encode(&stanza.body);
        let mut lines = body.as_bytes().chunks_exact(COLUMNS);
        for line in &mut lines {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        // The last line is always shorter than a full one, if need be empty.
        out.extend_from_slice(lines.remainder());
        out.push(b'\n');
    }
    out.extend_from_slice(FOOTER);
    let mac = hmac::sign(&mac_key(key), &out);
    out.push(b' ');
    out.extend_from_slice(STANDARD_NO_PAD.encode(mac.as_ref()).as_bytes());
    out.push(b'\n');
    out
}

fn mac_key(key: &FileKey) -> hmac::Key {
    let bytes = derive(key.bytes(), &[], b"header");
    hmac::Key::new(hmac::HMAC_SHA256, bytes.bytes())
}

impl Header {
    /// Reads the header at the start of `bytes`. [`AgeError::Short`] if it does not end within them.
    pub fn parse(bytes: &[u8]) -> Result<Self, AgeError> {
        let bounded = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
        let mut lines = Lines {
            bytes: bounded,
            at: 0,
            is_all: bytes.len() <= HEADER_BYTES_MAX,
        };
        if lines.next()? != &VERSION_LINE[..VERSION_LINE.len() - 1] {
            return Err(AgeError::NotAge);
        }
        let mut stanzas = Vec::new();
        loop {
            let start = lines.at;
            let line = lines.next()?;
            if let Some(mac) = line.strip_prefix(b"--- ") {
                let mac = decode(mac)?.try_into().map_err(|_| AgeError::Header)?;
                let covered = start + FOOTER.len();
                let has_stanza = !stanzas.is_empty();
                let header = Self {
                    stanzas,
                    mac,
                    covered,
                    len: lines.at,
                };
                return if has_stanza {
                    Ok(header)
                } else {
                    Err(AgeError::Header)
                };
            }
            stanzas.push(stanza(line, &mut lines)?);
        }
    }

    /// Whether the header is the one that was written with `key`. `bytes` begin with it.
    pub(super) fn verifies(&self, bytes: &[u8], key: &FileKey) -> bool {
        hmac::verify(&mac_key(key), &bytes[..self.covered], &self.mac).is_ok()
    }
}

fn stanza(line: &[u8], lines: &mut Lines<'_>) -> Result<Stanza, AgeError> {
    let args = line.strip_prefix(b"-> ").ok_or(AgeError::Header)?;
    let args = args
        .split(|&byte| byte == b' ')
        .map(|arg| {
            let is_visible = !arg.is_empty() && arg.iter().all(u8::is_ascii_graphic);
            is_visible
                .then(|| String::from_utf8_lossy(arg).into_owned())
                .ok_or(AgeError::Header)
        })
        .collect::<Result<_, _>>()?;
    let mut body = Vec::new();
    loop {
        let line = lines.next()?;
        if line.len() > COLUMNS {
            return Err(AgeError::Header);
        }
        body.extend_from_slice(&decode(line)?);
        if line.len() < COLUMNS {
            return Ok(Stanza { args, body });
        }
    }
}

/// The crate refuses padding, foreign characters and bits that are left over.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, AgeError> {
    STANDARD_NO_PAD.decode(text).map_err(|_| AgeError::Header)
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// False: the bound cut something off, and no more of it will be read.
    is_all: bool,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], AgeError> {
        let rest = &self.bytes[self.at..];
        match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                self.at += end + 1;
                Ok(&rest[..end])
            }
            None if self.is_all => Err(AgeError::Short),
            None => Err(AgeError::Header),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(len: usize) -> Stanza {
        let args = vec!["X25519".into(), "abc".into()];
        Stanza {
            args,
            body: vec![7; len],
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        let key = FileKey::filled(|bytes| bytes.fill(1));
        for stanzas in [
            vec![stanza(32)],
            vec![stanza(0), stanza(48), stanza(47), stanza(96)],
        ] {
            let bytes = write(&stanzas, &key);
            let header = Header::parse(&bytes).expect("is ours");
            assert_eq!(header.stanzas, stanzas);
            assert_eq!(header.len, bytes.len());
            assert!(header.verifies(&bytes, &key));
            let other = FileKey::filled(|bytes| bytes.fill(2));
            assert!(!header.verifies(&bytes, &other));
            for len in 0..bytes.len() {
                let error = Header::parse(&bytes[..len]).expect_err("is cut off");
                assert_eq!(error, AgeError::Short, "{len}");
            }
        }
    }

    #[test]
    fn a_header_with_any_byte_changed_is_refused_or_does_not_verify() {
        let key = FileKey::filled(|bytes| bytes.fill(1));
        let bytes = write(&[stanza(32), stanza(16)], &key);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let verifies =
                    Header::parse(&bytes).is_ok_and(|header| header.verifies(&bytes, &key));
                assert!(!verifies, "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_header_without_end_is_not_read_for_ever() {
        let mut bytes = VERSION_LINE.to_vec();
        while bytes.len() < 2 * HEADER_BYTES_MAX {
            bytes.extend_from_slice(b"-> X25519 abc\n\n");
        }
        assert_eq!(Header::parse(&bytes), Err(AgeError::Header));
        assert_eq!(
            Header::parse(b"age-encryption.org/v1\n--- AAAA\n"),
            Err(AgeError::Header)
        );
        assert_eq!(
            Header::parse(b"age-encryption.org/v2\n"),
            Err(AgeError::NotAge)
        );
    }
}
