//! The RTCP a light client needs: reports and feedback out, requests in.
//!
//! Builders append whole packets to a buffer; the reader walks a compound packet and gives what
//! asks for an answer. Everything else is skipped. Malformed input ends the walk.

/// Something in a received compound packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rtcp {
    /// A sender's report: its SSRC and the middle 32 bits of its clock.
    SenderReport { ssrc: u32, ntp_middle: u32 },
    /// Send these packets again.
    Nack { media: u32, sequences: Vec<u16> },
    /// Send a keyframe (PLI or FIR).
    KeyframeRequest { media: u32 },
}

/// Reads a compound packet.
pub(crate) fn read(mut packet: &[u8]) -> Vec<Rtcp> {
    let mut found = Vec::new();
    while let Some(&[first, kind, high, low]) = packet.first_chunk() {
        let len = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        if first >> 6 != 2 || packet.len() < len {
            break;
        }
        let (this, rest) = packet.split_at(len);
        read_one(first & 31, kind, &this[4..], &mut found);
        packet = rest;
    }
    found
}

fn read_one(format: u8, kind: u8, body: &[u8], found: &mut Vec<Rtcp>) {
    let word = |i: usize| {
        body.get(i * 4..)?
            .first_chunk()
            .map(|b| u32::from_be_bytes(*b))
    };
    match (kind, format) {
        (200, _) => {
            if let (Some(ssrc), Some(high), Some(low)) = (word(0), word(1), word(2)) {
                found.push(Rtcp::SenderReport {
                    ssrc,
                    ntp_middle: high << 16 | low >> 16,
                });
            }
        }
        (205, 1) => {
            let Some(media) = word(1) else { return };
            let pairs = body.get(8..).unwrap_or_default().chunks_exact(4);
            let sequences = pairs.flat_map(|pair| {
                let first = u16::from_be_bytes([pair[0], pair[1]]);
                let mask = u16::from_be_bytes([pair[2], pair[3]]);
                let later = (0..16).filter(move |bit| mask >> bit & 1 == 1);
                std::iter::once(first).chain(later.map(move |bit| first.wrapping_add(bit + 1)))
            });
            found.push(Rtcp::Nack {
                media,
                sequences: sequences.collect(),
            });
        }
        (206, 1) => found.extend(word(1).map(|media| Rtcp::KeyframeRequest { media })),
        (206, 4) => {
            let entries = body.get(8..).unwrap_or_default().chunks_exact(8);
            let media = entries.filter_map(|e| e.first_chunk().map(|b| u32::from_be_bytes(*b)));
            found.extend(media.map(|media| Rtcp::KeyframeRequest { media }));
        }
        _ => {}
    }
}

/// What a receiver says about one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reception {
    /// The stream.
    pub(crate) ssrc: u32,
    /// Lost since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    /// Lost since the beginning.
    pub(crate) total_lost: u32,
    /// Extended highest sequence number.
    pub(crate) highest: u32,
    /// Interarrival jitter in timestamp units.
    pub(crate) jitter: u32,
    /// Clock of the last sender report and how long ago it was, in 65,536ths of a second.
    pub(crate) last_report: (u32, u32),
}

/// Appends a receiver report; at most 31 streams fit one packet, so more become several.
pub(crate) fn receiver_report(out: &mut Vec<u8>, sender: u32, streams: &[Reception]) {
    let empty: &[Reception] = &[];
    let groups = streams
        .chunks(31)
        .chain(streams.is_empty().then_some(empty));
    for group in groups {
        header(out, group.len() as u8, 201, 1 + group.len() * 6);
        out.extend_from_slice(&sender.to_be_bytes());
        for stream in group {
            let lost = u32::from(stream.fraction_lost) << 24 | stream.total_lost.min(0x7f_ffff);
            let (report, ago) = stream.last_report;
            for word in [
                stream.ssrc,
                lost,
                stream.highest,
                stream.jitter,
                report,
                ago,
            ] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
    }
}

/// Appends a sender report without reception blocks.
pub(crate) fn sender_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    ntp: u64,
    rtp: u32,
    packets: u32,
    octets: u32,
) {
    header(out, 0, 200, 6);
    let words = [ssrc, (ntp >> 32) as u32, ntp as u32, rtp, packets, octets];
    words
        .iter()
        .for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

/// Appends a picture loss indication.
pub(crate) fn keyframe_request(out: &mut Vec<u8>, sender: u32, media: u32) {
    header(out, 1, 206, 2);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
}

/// Appends a generic NACK; `sequences` are in order.
pub(crate) fn nack(out: &mut Vec<u8>, sender: u32, media: u32, sequences: &[u16]) {
    let mut pairs: Vec<(u16, u16)> = Vec::new();
    for &sequence in sequences {
        match pairs.last_mut() {
            Some((first, mask)) if (1..=16).contains(&sequence.wrapping_sub(*first)) => {
                *mask |= 1 << (sequence.wrapping_sub(*first) - 1);
            }
            _ => pairs.push((sequence, 0)),
        }
    }
    header(out, 1, 205, 2 + pairs.len());
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    for (first, mask) in pairs {
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
    }
}

/// Appends transport-wide feedback about `arrivals`: sequence numbers in rising order (extended,
/// without wrap) with microseconds since any fixed time. Spans of more than 4,000 packets are cut.
pub(crate) fn transport_feedback(
    out: &mut Vec<u8>,
    sender: u32,
    media: u32,
    count: u8,
    arrivals: &[(u64, u64)],
) {
    let (Some(&(base, start)), Some(&(last, _))) = (arrivals.first(), arrivals.last()) else {
        return;
    };
    let status_count = (last - base + 1).min(4_000);
    // The reference is in 64 ms, the first delta counts from it.
    let reference = start / 64_000;
    let mut previous = reference * 64_000;
    let (mut symbols, mut deltas) = (vec![0u8; status_count as usize], Vec::new());
    for &(sequence, at) in arrivals.iter().take_while(|a| a.0 - base < status_count) {
        let quarter = (at as i64 - previous as i64) / 250;
        let small = u8::try_from(quarter).ok();
        match small {
            Some(delta) => deltas.push(delta),
            None => deltas.extend((quarter.clamp(-32_768, 32_767) as i16).to_be_bytes()),
        }
        symbols[(sequence - base) as usize] = if small.is_some() { 1 } else { 2 };
        previous = previous.saturating_add_signed(quarter * 250);
    }
    let chunks = symbols.chunks(7).map(|seven| {
        let bits = seven.iter().enumerate();
        bits.fold(0xc000u16, |chunk, (i, &s)| {
            chunk | u16::from(s) << (12 - 2 * i)
        })
    });
    let chunks: Vec<u16> = chunks.collect();
    let len = 16 + chunks.len() * 2 + deltas.len();
    header(out, 15, 205, len.div_ceil(4));
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    out.extend_from_slice(&(base as u16).to_be_bytes());
    out.extend_from_slice(&(status_count as u16).to_be_bytes());
    out.extend_from_slice(&((reference as u32) << 8 | u32::from(count)).to_be_bytes());
    chunks
        .iter()
        .for_each(|chunk| out.extend_from_slice(&chunk.to_be_bytes()));
    out.extend_from_slice(&deltas);
    out.resize(out.len() + (4 - len % 4) % 4, 0);
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, words: usize) {
    out.extend_from_slice(&[0x80 | count, kind]);
    out.extend_from_slice(&(words as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_back_from_a_compound_packet() {
        let mut packet = Vec::new();
        sender_report(&mut packet, 1, 0x1122_3344_5566_7788, 5, 6, 7);
        receiver_report(&mut packet, 1, &[Reception::default(); 40]);
        nack(&mut packet, 1, 2, &[65_534, 65_535, 3, 40]);
        keyframe_request(&mut packet, 1, 3);
        let expected = [
            Rtcp::SenderReport {
                ssrc: 1,
                ntp_middle: 0x3344_5566,
            },
            Rtcp::Nack {
                media: 2,
                sequences: vec![65_534, 65_535, 3, 40],
            },
            Rtcp::KeyframeRequest { media: 3 },
        ];
        assert_eq!(read(&packet), expected);
    }

    #[test]
    fn an_empty_report_is_a_packet_of_its_own() {
        let mut packet = Vec::new();
        receiver_report(&mut packet, 7, &[]);
        assert_eq!(packet, [0x80, 201, 0, 1, 0, 0, 0, 7]);
    }

    #[test]
    fn no_prefix_and_no_flipped_bit_panics() {
        let mut packet = Vec::new();
        nack(&mut packet, 1, 2, &[1, 2, 3]);
        sender_report(&mut packet, 1, 2, 3, 4, 5);
        for len in 0..packet.len() {
            read(&packet[..len]);
        }
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read(&flipped);
        }
    }

    #[test]
    fn feedback_says_what_came_when() {
        let mut packet = Vec::new();
        // Two of the packets 10 to 13 came, 500 us and then 100 ms after the reference.
        transport_feedback(&mut packet, 1, 2, 9, &[(10, 64_500), (13, 164_500)]);
        assert_eq!(packet.len() % 4, 0);
        assert_eq!(packet[1], 205);
        assert_eq!(packet.len(), (usize::from(packet[3]) + 1) * 4);
        assert_eq!(packet[12..20], [0, 10, 0, 4, 0, 0, 1, 9]);
        // Status vector of two-bit symbols: small, missing, missing, large.
        assert_eq!(packet[20..22], [0b1101_0000, 0b1000_0000]);
        assert_eq!(packet[22..25], [2, 1, 144]);
    }
}
