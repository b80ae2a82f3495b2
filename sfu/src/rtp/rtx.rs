//! The retransmission payload format (RFC 4588): a packet sent again on a stream of its own, with
//! its original number in front of its payload.

use crate::error::Reject;

/// Bytes in front of the original payload.
pub const PREFIX_LEN: usize = 2;

/// The original number of a retransmitted packet and its payload.
///
/// A packet without payload is a bandwidth probe of the sender: [`Reject::PaddingOnly`].
pub fn unwrap(payload: &[u8]) -> Result<(u16, &[u8]), Reject> {
    let (number, original) = payload
        .split_first_chunk::<PREFIX_LEN>()
        .ok_or(Reject::RtpMalformed)?;
    if original.is_empty() {
        return Err(Reject::PaddingOnly);
    }
    Ok((u16::from_be_bytes(*number), original))
}

/// What goes in front of the payload of the packet that was sent as `original`.
pub fn prefix(original: u16) -> [u8; PREFIX_LEN] {
    original.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retransmission_leads_back_to_its_original() {
        let mut payload = prefix(65_535).to_vec();
        payload.extend(b"media");
        assert_eq!(unwrap(&payload), Ok((65_535, &b"media"[..])));
    }

    #[test]
    fn a_retransmission_of_nothing_is_refused() {
        assert_eq!(unwrap(&[]), Err(Reject::RtpMalformed));
        assert_eq!(unwrap(&[1]), Err(Reject::RtpMalformed));
        assert_eq!(unwrap(&[1, 2]), Err(Reject::PaddingOnly));
    }
}
