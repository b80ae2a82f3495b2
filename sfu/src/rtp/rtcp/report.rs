//! Sender and receiver reports, source descriptions and goodbyes (RFC 3550 section 6.4 to 6.6).

use super::{
    Sources, TYPE_BYE, TYPE_RECEIVER_REPORT, TYPE_SDES, TYPE_SENDER_REPORT, append, append_word,
    take_ssrc, take_word,
};
use crate::unit::{NtpTime, Ssrc};

/// Blocks that one report can hold; the count has five bits.
pub const BLOCKS_MAX: usize = 31;

const BLOCK_LEN: usize = 24;
const ITEM_CNAME: u8 = 1;

/// What a source has sent so far, and where its media clock stands against its wall clock.
#[derive(Clone, Debug)]
pub struct SenderReport<'a> {
    /// The source.
    pub ssrc: Ssrc,
    /// Its wall clock.
    pub ntp: NtpTime,
    /// Its media clock at the same instant.
    pub rtp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Bytes of payload sent, modulo 2^32.
    pub octets: u32,
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let (ssrc, rest) = take_ssrc(body)?;
        let (ntp_high, rest) = take_word(rest)?;
        let (ntp_low, rest) = take_word(rest)?;
        let (rtp, rest) = take_word(rest)?;
        let (packets, rest) = take_word(rest)?;
        let (octets, rest) = take_word(rest)?;
        Some(Self {
            ssrc,
            ntp: NtpTime(u64::from(ntp_high) << 32 | u64::from(ntp_low)),
            rtp,
            packets,
            octets,
            blocks: rest.get(..usize::from(count) * BLOCK_LEN)?,
        })
    }

    /// How the source receives others.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.chunks_exact(BLOCK_LEN).map(ReportBlock::read)
    }
}

/// How a receiver fares with what it is sent.
#[derive(Clone, Debug)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub ssrc: Ssrc,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let (ssrc, rest) = take_ssrc(body)?;
        Some(Self {
            ssrc,
            blocks: rest.get(..usize::from(count) * BLOCK_LEN)?,
        })
    }

    /// One for each source that it receives.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.chunks_exact(BLOCK_LEN).map(ReportBlock::read)
    }
}

/// How one source is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: Ssrc,
    /// The share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; negative if more arrived than were sent, by duplication.
    /// 24 bits are written.
    pub lost: i32,
    /// The highest number received, with the count of its wraps above 16 bits.
    pub highest: u32,
    /// The variation of arrival times, in timestamp units.
    pub jitter: u32,
    /// The middle of the wall clock in the source's last report ([`NtpTime::middle`]), or 0.
    pub last_report: u32,
    /// Time since that report, in 1/65536 s.
    pub delay: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            let bytes = bytes[4 * at..].first_chunk::<4>();
            u32::from_be_bytes(*bytes.expect("a block has six words"))
        };
        Self {
            ssrc: Ssrc(word(0)),
            fraction_lost: (word(1) >> 24) as u8,
            lost: (word(1) << 8) as i32 >> 8,
            highest: word(2),
            jitter: word(3),
            last_report: word(4),
            delay: word(5),
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        append_word(out, self.ssrc.0);
        append_word(out, u32::from(self.fraction_lost) << 24 | lost);
        append_word(out, self.highest);
        append_word(out, self.jitter);
        append_word(out, self.last_report);
        append_word(out, self.delay);
    }
}

/// Names of sources. Only canonical names are looked at.
#[derive(Clone, Debug)]
pub struct Sdes<'a> {
    count: u8,
    chunks: &'a [u8],
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        for _ in 0..count {
            (_, rest) = chunk(rest)?;
        }
        Some(Self {
            count,
            chunks: body,
        })
    }

    /// Each source with its canonical name, if it has one.
    pub fn names(&self) -> impl Iterator<Item = (Ssrc, Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.chunks;
        (0..self.count).map_while(move |_| {
            let (named, after) = chunk(rest)?;
            rest = after;
            Some(named)
        })
    }
}

/// A source with its canonical name, and what follows.
type Named<'a> = ((Ssrc, Option<&'a [u8]>), &'a [u8]);

/// The first chunk: items of type, length and text, ended by at least one zero and filled up to
/// whole words.
fn chunk(bytes: &[u8]) -> Option<Named<'_>> {
    let (ssrc, mut rest) = take_ssrc(bytes)?;
    let mut name = None;
    loop {
        let (&kind, after) = rest.split_first()?;
        if kind == 0 {
            let used = bytes.len() - after.len();
            let end = used.next_multiple_of(4);
            return Some(((ssrc, name), bytes.get(end..)?));
        }
        let (&len, after) = after.split_first()?;
        let (text, after) = after.split_at_checked(usize::from(len))?;
        if kind == ITEM_CNAME {
            name = Some(text);
        }
        rest = after;
    }
}

/// Sources that end.
#[derive(Clone, Debug)]
pub struct Bye<'a> {
    sources: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sources: body.get(..4 * usize::from(count))?,
        })
    }

    /// Which ones.
    pub fn sources(&self) -> Sources<'a> {
        Sources { rest: self.sources }
    }
}

/// What a sender report says, for building one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The source.
    pub ssrc: Ssrc,
    /// Its wall clock.
    pub ntp: NtpTime,
    /// Its media clock at the same instant.
    pub rtp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Bytes of payload sent, modulo 2^32.
    pub octets: u32,
}

/// Appends a sender report; of `blocks` the first [`BLOCKS_MAX`] are taken.
pub fn append_sender_report(out: &mut Vec<u8>, info: &SenderInfo, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(BLOCKS_MAX)];
    append(out, TYPE_SENDER_REPORT, blocks.len() as u8, |out| {
        append_word(out, info.ssrc.0);
        out.extend_from_slice(&info.ntp.0.to_be_bytes());
        append_word(out, info.rtp);
        append_word(out, info.packets);
        append_word(out, info.octets);
        for block in blocks {
            block.append(out);
        }
    });
}

/// Appends a receiver report; of `blocks` the first [`BLOCKS_MAX`] are taken.
pub fn append_receiver_report(out: &mut Vec<u8>, ssrc: Ssrc, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(BLOCKS_MAX)];
    append(out, TYPE_RECEIVER_REPORT, blocks.len() as u8, |out| {
        append_word(out, ssrc.0);
        for block in blocks {
            block.append(out);
        }
    });
}

/// Appends the canonical name of a source, which every full compound carries (RFC 3550 section
/// 6.1). Of `name` the first 255 bytes are taken.
pub fn append_name(out: &mut Vec<u8>, ssrc: Ssrc, name: &[u8]) {
    let name = &name[..name.len().min(255)];
    append(out, TYPE_SDES, 1, |out| {
        append_word(out, ssrc.0);
        out.extend_from_slice(&[ITEM_CNAME, name.len() as u8]);
        out.extend_from_slice(name);
        out.push(0); // ends the chunk; the packet is filled up with more
    });
}

/// Appends a goodbye for a source.
pub fn append_bye(out: &mut Vec<u8>, ssrc: Ssrc) {
    append(out, TYPE_BYE, 1, |out| append_word(out, ssrc.0));
}

#[cfg(test)]
mod tests {
    use super::super::{Rtcp, parse_compound};
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: Ssrc(0xdead_beef),
        fraction_lost: 12,
        lost: -3,
        highest: 0x0001_0002,
        jitter: 44,
        last_report: 0x1234_5678,
        delay: 65_536,
    };
    const INFO: SenderInfo = SenderInfo {
        ssrc: Ssrc(7),
        ntp: NtpTime(0x0123_4567_89ab_cdef),
        rtp: 90_000,
        packets: 100,
        octets: u32::MAX,
    };

    #[test]
    fn a_report_with_its_name_survives_the_wire() {
        let mut out = Vec::new();
        append_sender_report(&mut out, &INFO, &[BLOCK, BLOCK]);
        append_name(&mut out, INFO.ssrc, b"c1");
        append_bye(&mut out, INFO.ssrc);
        let mut packets = parse_compound(&out);

        let Some(Ok(Rtcp::SenderReport(report))) = packets.next() else {
            panic!("a sender report comes first");
        };
        assert_eq!((report.ssrc, report.ntp), (INFO.ssrc, INFO.ntp));
        assert_eq!(
            (report.rtp, report.packets, report.octets),
            (INFO.rtp, INFO.packets, INFO.octets)
        );
        assert_eq!(report.blocks().collect::<Vec<_>>(), [BLOCK, BLOCK]);
        let Some(Ok(Rtcp::Sdes(names))) = packets.next() else {
            panic!("then the name");
        };
        let names: Vec<_> = names.names().collect();
        assert_eq!(names, [(INFO.ssrc, Some(&b"c1"[..]))]);
        let Some(Ok(Rtcp::Bye(bye))) = packets.next() else {
            panic!("then the goodbye");
        };
        assert_eq!(bye.sources().collect::<Vec<_>>(), [INFO.ssrc]);
        assert!(packets.next().is_none());
    }

    #[test]
    fn loss_beyond_24_bits_stays_at_the_end_of_the_scale() {
        for (lost, expected) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1)] {
            let mut out = Vec::new();
            append_receiver_report(&mut out, Ssrc(1), &[ReportBlock { lost, ..BLOCK }]);
            let Some(Ok(Rtcp::ReceiverReport(report))) = parse_compound(&out).next() else {
                panic!("a receiver report");
            };
            assert_eq!(
                report.blocks().next().map(|block| block.lost),
                Some(expected)
            );
        }
    }

    #[test]
    fn a_count_that_lies_is_refused() {
        let mut out = Vec::new();
        append_receiver_report(&mut out, Ssrc(1), &[BLOCK]);
        out[0] += 1;
        assert!(matches!(parse_compound(&out).next(), Some(Err(_))));
        let mut out = Vec::new();
        append_bye(&mut out, Ssrc(1));
        out[0] += 1;
        assert!(matches!(parse_compound(&out).next(), Some(Err(_))));
        let mut out = Vec::new();
        append_name(&mut out, Ssrc(1), b"name");
        out[0] += 1;
        assert!(matches!(parse_compound(&out).next(), Some(Err(_))));
        // An item that reaches beyond its packet.
        let mut out = Vec::new();
        append_name(&mut out, Ssrc(1), b"name");
        out[9] = 200;
        assert!(matches!(parse_compound(&out).next(), Some(Err(_))));
    }
}
