//! What a connection is for, by its first bytes.
//!
//! One port takes HTTP, TLS, connectivity checks in frames (RFC 6544) and TURN (RFC 8656): networks
//! that let nothing else out let that one port out. Nobody sends a name for what he wants (browsers'
//! TURN clients send no ALPN), but no two of them begin alike.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Where the magic cookie of a STUN message is found behind a length of two bytes.
const NEEDED_MAX: usize = 10;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// A TLS record with a handshake message (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TLS handshake.
    Tls,
    /// A STUN message as it is: a client of TURN.
    Turn,
    /// A STUN message in a frame: a peer without UDP.
    Framed,
    /// A STUN message of neither form, which nothing here is for.
    Unknown,
    /// Anything else: whoever reads HTTP says what is wrong with it.
    Http,
}

/// What begins with `bytes`; `None` if more are needed to tell.
pub fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [] => None,
        [TLS_HANDSHAKE, ..] => Some(Kind::Tls),
        // The type of a STUN message, or the length of a short one.
        [0..=3, ..] if bytes.len() < NEEDED_MAX => None,
        [0..=3, ..] if bytes[4..8] == MAGIC_COOKIE => Some(Kind::Turn),
        [0..=3, ..] if bytes[6..10] == MAGIC_COOKIE => Some(Kind::Framed),
        [0..=3, ..] => Some(Kind::Unknown),
        _ => Some(Kind::Http),
    }
}

/// Reads until it is clear what a connection is for; also gives what was read. `None`: it ended
/// before.
pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut bytes = Vec::with_capacity(NEEDED_MAX);
    loop {
        if let Some(kind) = kind(&bytes) {
            return Ok(Some((kind, bytes)));
        }
        let mut more = [0; NEEDED_MAX];
        let wanted = NEEDED_MAX - bytes.len();
        let read = io.read(&mut more[..wanted]).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend(&more[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a binding request.
    const REQUEST: [u8; 10] = [0, 1, 0, 0x54, 0x21, 0x12, 0xa4, 0x42, 7, 7];
    /// The same in a frame.
    const FRAMED: [u8; 10] = [0, 0x68, 0, 1, 0, 0x54, 0x21, 0x12, 0xa4, 0x42];

    #[test]
    fn each_is_known_by_how_it_begins() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1"[..], Kind::Http),
            (b"PRI * HTTP/2.0", Kind::Http),
            (&[0x16, 3, 1, 2, 0], Kind::Tls),
            (&REQUEST, Kind::Turn),
            (&FRAMED, Kind::Framed),
            (&[0; 10], Kind::Unknown),
            (&[3; 10], Kind::Unknown),
            (&[4], Kind::Http),
            (&[0xff], Kind::Http),
        ] {
            assert_eq!(kind(bytes), Some(expected), "{bytes:?}");
        }
        assert_eq!(kind(&[]), None);
        for len in 1..10 {
            assert_eq!(kind(&REQUEST[..len]), None);
            assert_eq!(kind(&FRAMED[..len]), None);
        }
    }

    #[tokio::test]
    async fn bytes_may_come_one_by_one_and_none_is_lost() {
        use tokio::io::AsyncWriteExt;
        let (mut here, mut there) = tokio::io::duplex(1);
        let sent = tokio::spawn(async move {
            here.write_all(&FRAMED).await.expect("it is read");
            here.write_all(b"rest").await.expect("it is read");
        });
        let (kind, bytes) = read(&mut there).await.expect("no error").expect("no end");
        assert_eq!((kind, &bytes[..]), (Kind::Framed, &FRAMED[..]));
        let mut rest = Vec::new();
        there.read_to_end(&mut rest).await.expect("no error");
        assert_eq!(rest, b"rest");
        sent.await.expect("all was sent");
    }

    #[tokio::test]
    async fn who_says_too_little_and_goes_is_nothing() {
        let mut cut = &REQUEST[..7];
        assert_eq!(read(&mut cut).await.expect("no error"), None);
    }
}
