//! Packets of SCTP (RFC 9260 section 3) as no stack would send them.
//!
//! Only their checksums are right, so that the server looks further.

/// The port that WebRTC uses on both sides.
const PORT: u16 = 5_000;

/// A packet with the verification tag `tag` and these chunks.
pub fn packet(tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = [PORT.to_be_bytes(), PORT.to_be_bytes()].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// The beginning of an association with so many streams each way.
pub fn init(tag: u32, streams: u16) -> Vec<u8> {
    let mut chunk = vec![1, 0, 0, 20];
    chunk.extend(tag.to_be_bytes());
    chunk.extend((1_u32 << 20).to_be_bytes());
    chunk.extend(streams.to_be_bytes());
    chunk.extend(streams.to_be_bytes());
    chunk.extend(1_u32.to_be_bytes());
    chunk
}

/// Chunks whose lengths are not true, or that mean nothing where they are.
pub const LIES: [&[u8]; 6] = [
    &[0, 3, 0, 0],
    &[0, 3, 0, 3],
    &[0, 3, 0xff, 0xff, 0, 0, 0, 1],
    &[1, 0, 0, 4],
    &[3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    &[192, 0, 0, 12, 0xff, 0xff, 0xff, 0xff, 0, 9, 0xff, 0xff],
];

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
