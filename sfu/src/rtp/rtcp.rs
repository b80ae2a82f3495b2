//! RTCP (RFC 3550 section 6, RFC 4585, RFC 5506): taking compound packets apart where they lie, and
//! appending packets to a buffer.
//!
//! Parsing borrows and never allocates. Lengths are checked when a packet is taken off the
//! compound, so the iterators inside a [`Rtcp`] cannot fail. A packet of unsound content is
//! reported and passed over; a length that reaches beyond the datagram ends the walk.

use crate::error::Reject;
use crate::unit::Ssrc;

pub mod feedback;
pub mod report;
pub mod twcc;

use feedback::{Fir, Nack, Pli, Remb};
use report::{Bye, ReceiverReport, Sdes, SenderReport};
use twcc::Feedback;

const TYPE_SENDER_REPORT: u8 = 200;
const TYPE_RECEIVER_REPORT: u8 = 201;
const TYPE_SDES: u8 = 202;
const TYPE_BYE: u8 = 203;
const TYPE_TRANSPORT_FEEDBACK: u8 = 205;
const TYPE_PAYLOAD_FEEDBACK: u8 = 206;

const FORMAT_NACK: u8 = 1;
const FORMAT_TWCC: u8 = 15;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum Rtcp<'a> {
    /// What a source has sent, and its wall clock.
    SenderReport(SenderReport<'a>),
    /// How a receiver fares.
    ReceiverReport(ReceiverReport<'a>),
    /// Names of sources.
    Sdes(Sdes<'a>),
    /// Sources that end.
    Bye(Bye<'a>),
    /// Packets that a receiver misses.
    Nack(Nack<'a>),
    /// A receiver needs a keyframe.
    Pli(Pli),
    /// A receiver needs a keyframe (older form).
    Fir(Fir<'a>),
    /// A receiver's estimate of what it can receive.
    Remb(Remb<'a>),
    /// When the packets of a transport arrived.
    Twcc(Feedback<'a>),
}

/// The packets of a compound, reduced-size ones included, in the order on the wire.
pub fn parse_compound(compound: &[u8]) -> Compound<'_> {
    Compound { rest: compound }
}

/// Walks a compound.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, Reject>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((packet, rest)) = Packet::split_off(rest) else {
            return Some(Err(Reject::RtcpMalformed));
        };
        self.rest = rest;
        Some(packet.read())
    }
}

/// One packet with its length checked and its padding taken off.
struct Packet<'a> {
    packet_type: u8,
    /// The five bits that count blocks or tell kinds of feedback apart.
    count: u8,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    fn split_off(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &[first, packet_type, high, low] = bytes.first_chunk::<4>()?;
        if first >> 6 != 2 {
            return None;
        }
        let len = 4 * usize::from(u16::from_be_bytes([high, low])) + 4;
        let (packet, rest) = bytes.split_at_checked(len)?;
        let mut body = &packet[4..];
        if first & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            if padding == 0 {
                return None;
            }
            body = body.get(..body.len().checked_sub(padding)?)?;
        }
        let packet = Self {
            packet_type,
            count: first & 0x1f,
            body,
        };
        Some((packet, rest))
    }

    fn read(&self) -> Result<Rtcp<'a>, Reject> {
        let (count, body) = (self.count, self.body);
        let read = match (self.packet_type, count) {
            (TYPE_SENDER_REPORT, _) => SenderReport::parse(count, body).map(Rtcp::SenderReport),
            (TYPE_RECEIVER_REPORT, _) => {
                ReceiverReport::parse(count, body).map(Rtcp::ReceiverReport)
            }
            (TYPE_SDES, _) => Sdes::parse(count, body).map(Rtcp::Sdes),
            (TYPE_BYE, _) => Bye::parse(count, body).map(Rtcp::Bye),
            (TYPE_TRANSPORT_FEEDBACK, FORMAT_NACK) => Nack::parse(body).map(Rtcp::Nack),
            (TYPE_TRANSPORT_FEEDBACK, FORMAT_TWCC) => Feedback::parse(body).map(Rtcp::Twcc),
            (TYPE_PAYLOAD_FEEDBACK, FORMAT_PLI) => Pli::parse(body).map(Rtcp::Pli),
            (TYPE_PAYLOAD_FEEDBACK, FORMAT_FIR) => Fir::parse(body).map(Rtcp::Fir),
            (TYPE_PAYLOAD_FEEDBACK, FORMAT_APPLICATION) if Remb::is_remb(body) => {
                Remb::parse(body).map(Rtcp::Remb)
            }
            _ => return Err(Reject::RtcpUnused),
        };
        read.ok_or(Reject::RtcpMalformed)
    }
}

/// Appends one packet whose body `write` appends; fills it up to whole words and writes its length.
fn append(out: &mut Vec<u8>, packet_type: u8, count: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count & 0x1f, packet_type, 0, 0]);
    write(out);
    let len = out.len() - start;
    out.resize(start + len.next_multiple_of(4), 0);
    let words =
        u16::try_from((out.len() - start) / 4 - 1).expect("a packet of ours is far below 256 KB");
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

fn append_word(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_be_bytes());
}

/// The first word of `bytes` as a number, and what follows.
fn take_word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// The source in the first word of `bytes`, and what follows.
fn take_ssrc(bytes: &[u8]) -> Option<(Ssrc, &[u8])> {
    let (word, rest) = take_word(bytes)?;
    Some((Ssrc(word), rest))
}

/// The sources in whole words, which is what `bytes` must be.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    rest: &'a [u8],
}

impl Iterator for Sources<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Ssrc> {
        let (ssrc, rest) = take_ssrc(self.rest)?;
        self.rest = rest;
        Some(ssrc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(compound: &[u8]) -> Vec<Result<&'static str, Reject>> {
        parse_compound(compound)
            .map(|packet| {
                packet.map(|packet| match packet {
                    Rtcp::SenderReport(_) => "sr",
                    Rtcp::ReceiverReport(_) => "rr",
                    Rtcp::Sdes(_) => "sdes",
                    Rtcp::Bye(_) => "bye",
                    Rtcp::Nack(_) => "nack",
                    Rtcp::Pli(_) => "pli",
                    Rtcp::Fir(_) => "fir",
                    Rtcp::Remb(_) => "remb",
                    Rtcp::Twcc(_) => "twcc",
                })
            })
            .collect()
    }

    fn rr_and_pli() -> Vec<u8> {
        let mut out = Vec::new();
        report::append_receiver_report(&mut out, Ssrc(1), &[]);
        feedback::append_pli(&mut out, Ssrc(1), Ssrc(2));
        out
    }

    #[test]
    fn a_compound_is_taken_apart_in_order() {
        assert_eq!(kinds(&rr_and_pli()), [Ok("rr"), Ok("pli")]);
        assert_eq!(kinds(&[]), []);
    }

    #[test]
    fn what_we_do_not_use_is_passed_over() {
        let mut compound = vec![0x80, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e'];
        compound.extend(rr_and_pli());
        assert_eq!(
            kinds(&compound),
            [Err(Reject::RtcpUnused), Ok("rr"), Ok("pli")]
        );
    }

    #[test]
    fn a_length_beyond_the_datagram_ends_the_walk() {
        let whole = rr_and_pli();
        for len in 1..whole.len() {
            let found = kinds(&whole[..len]);
            let expected = match len {
                8 => vec![Ok("rr")],
                9.. => vec![Ok("rr"), Err(Reject::RtcpMalformed)],
                _ => vec![Err(Reject::RtcpMalformed)],
            };
            assert_eq!(found, expected, "{len} bytes");
        }
    }

    #[test]
    fn padding_is_taken_off_and_its_lies_are_refused() {
        let mut out = Vec::new();
        feedback::append_nack(&mut out, Ssrc(1), Ssrc(2), [7]);
        out[0] |= 0x20;
        out[3] += 1;
        out.extend([0, 0, 0, 4]);
        let Some(Ok(Rtcp::Nack(nack))) = parse_compound(&out).next() else {
            panic!("a padded NACK is sound");
        };
        assert_eq!(nack.numbers().collect::<Vec<_>>(), [7]);
        for lie in [0, 17, 255] {
            *out.last_mut().expect("not empty") = lie;
            assert_eq!(kinds(&out), [Err(Reject::RtcpMalformed)], "padding {lie}");
        }
    }
}
