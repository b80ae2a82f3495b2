//! The protocol that opens data channels (RFC 8832): two messages, read and written.

use crate::error::Reject;
use crate::shard::command::DataChannel;

const OPEN: u8 = 0x03;
const ACK: u8 = 0x02;
const OPEN_LEN: usize = 12;
/// Unordered and limited by a number of retransmissions.
const PARTIAL_RELIABLE_REXMIT_UNORDERED: u8 = 0x81;
const RELIABLE: u8 = 0x00;
/// LiveKit's clients open it for a feature that we do not have and complain when it is closed.
pub(super) const IGNORED_LABEL: &[u8] = b"_data_track";

/// A message on the control channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dcep<'a> {
    /// The sender wants a channel with this label.
    Open {
        /// The kind of delivery (RFC 8832 section 5.1).
        channel_type: u8,
        /// What it is for.
        label: &'a [u8],
    },
    /// The receiver of an `Open` has agreed.
    Ack,
}

impl<'a> Dcep<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Reject> {
        match message.first() {
            Some(&ACK) => Ok(Self::Ack),
            Some(&OPEN) => parse_open(message).ok_or(Reject::Sctp),
            _ => Err(Reject::Sctp),
        }
    }
}

fn parse_open(message: &[u8]) -> Option<Dcep<'_>> {
    let header: &[u8; OPEN_LEN] = message.first_chunk()?;
    let label_len = usize::from(u16::from_be_bytes([header[8], header[9]]));
    let protocol_len = usize::from(u16::from_be_bytes([header[10], header[11]]));
    let names = &message[OPEN_LEN..];
    if names.len() != label_len + protocol_len {
        return None;
    }
    Some(Dcep::Open {
        channel_type: header[1],
        label: &names[..label_len],
    })
}

/// Agrees to a channel.
pub(super) const ACKNOWLEDGEMENT: &[u8] = &[ACK];

/// Asks the peer for a channel; `None` for the one that is ignored.
pub(super) fn open(channel: Option<DataChannel>) -> Vec<u8> {
    let label = channel.map_or(IGNORED_LABEL, label_of);
    let channel_type = match channel {
        Some(DataChannel::Reliable) => RELIABLE,
        // The reliability parameter that follows is zero: no retransmission.
        Some(DataChannel::Lossy) | None => PARTIAL_RELIABLE_REXMIT_UNORDERED,
    };
    let mut message = vec![OPEN, channel_type, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&(label.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(label);
    message
}

/// Which channel a label means.
pub(super) fn channel_of(label: &[u8]) -> Option<DataChannel> {
    [DataChannel::Reliable, DataChannel::Lossy]
        .into_iter()
        .find(|&channel| label_of(channel) == label)
}

fn label_of(channel: DataChannel) -> &'static [u8] {
    match channel {
        DataChannel::Reliable => b"_reliable",
        DataChannel::Lossy => b"_lossy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_ask_for_is_what_a_browser_asks_for() {
        // The bytes that Chromium sends for the two channels.
        assert_eq!(
            open(Some(DataChannel::Reliable)),
            b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00_reliable"
        );
        assert_eq!(
            open(Some(DataChannel::Lossy)),
            b"\x03\x81\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00_lossy"
        );
    }

    #[test]
    fn a_request_is_read_back() {
        for channel in [DataChannel::Reliable, DataChannel::Lossy] {
            let message = open(Some(channel));
            let Ok(Dcep::Open { label, .. }) = Dcep::parse(&message) else {
                panic!("it is a request");
            };
            assert_eq!(channel_of(label), Some(channel));
        }
        assert_eq!(Dcep::parse(ACKNOWLEDGEMENT), Ok(Dcep::Ack));
        let ignored = open(None);
        let Ok(Dcep::Open { label, .. }) = Dcep::parse(&ignored) else {
            panic!("it is a request");
        };
        assert_eq!((label, channel_of(label)), (&b"_data_track"[..], None));
        assert_eq!(channel_of(b""), None);
    }

    #[test]
    fn lying_lengths_are_refused() {
        let message = open(Some(DataChannel::Lossy));
        for len in 0..message.len() {
            assert!(Dcep::parse(&message[..len]).is_err(), "length {len}");
        }
        let mut longer = message.clone();
        longer.push(0);
        assert!(Dcep::parse(&longer).is_err());
        let mut label = message.clone();
        label[8] = 0xff;
        assert!(Dcep::parse(&label).is_err());
        let mut protocol = message;
        protocol[11] = 1;
        assert!(Dcep::parse(&protocol).is_err());
        assert!(Dcep::parse(&[0x7f]).is_err());
    }
}
