//! Protection of RTP and RTCP (RFC 3711, RFC 7714), keyed by DTLS (RFC 5764).
//!
//! [`Inbound`] opens what one peer sends, in the datagram; [`Outbound`] seals what it is sent, at
//! the end of a batch. Both are keyed once and allocate nothing per packet. Nothing but the bytes
//! of the datagram itself changes before its authentication has succeeded: no rollover, no replay
//! window, no table of sources. Key lifetimes, re-keying and unencrypted SRTCP are not supported,
//! because no browser uses them.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::Reject;
use crate::rtp::packet::Header;
use crate::unit::{SeqNo, Ssrc};

mod cipher;
mod key;
mod replay;

use cipher::Cipher;
use key::SessionKeys;
use replay::ReplayWindow;

/// How media is protected, as DTLS negotiated it (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    Aes128CmSha1_80,
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`
    AeadAes256Gcm,
}

impl Profile {
    /// Bytes of a master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes that DTLS must export for both directions.
    pub const fn exported_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes by which protection lengthens an RTP packet.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes by which protection lengthens an RTCP packet.
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + INDEX_LEN
    }
}

/// The secret from which the keys of one direction are derived (RFC 3711 section 3.2.1).
#[derive(Clone)]
pub struct MasterKey {
    key: Zeroizing<Vec<u8>>,
    salt: Zeroizing<Vec<u8>>,
}

impl MasterKey {
    /// A key and salt of the lengths that `profile` asks for, else `None`.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return None;
        }
        Some(Self {
            key: Zeroizing::new(key.to_vec()),
            salt: Zeroizing::new(salt.to_vec()),
        })
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// What DTLS exports under `EXTRACTOR-dtls_srtp`, taken apart (RFC 5764 section 4.2).
#[derive(Clone, Debug)]
pub struct KeyingMaterial {
    /// How media is protected.
    pub profile: Profile,
    /// What the DTLS client sends is protected with this.
    pub client: MasterKey,
    /// What the DTLS server sends is protected with this.
    pub server: MasterKey,
}

impl KeyingMaterial {
    /// Takes `exported` apart, which must have [`Profile::exported_len`] bytes: client key, server
    /// key, client salt, server salt.
    pub fn split(profile: Profile, exported: &[u8]) -> Option<Self> {
        if exported.len() != profile.exported_len() {
            return None;
        }
        let (keys, salts) = exported.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        Some(Self {
            profile,
            client: MasterKey::new(profile, client_key, client_salt)?,
            server: MasterKey::new(profile, server_key, server_salt)?,
        })
    }
}

/// The encryption flag and the index at the end of every SRTCP packet (RFC 3711 section 3.4).
const INDEX_LEN: usize = 4;
/// The part of an RTCP packet that stays in the clear: the first header and the sender's source.
const RTCP_CLEAR_LEN: usize = 8;
const ENCRYPTED: u32 = 1 << 31;

/// Opens what one peer sends.
pub struct Inbound {
    cipher: Cipher,
    rtp: Sources,
    rtcp: Sources,
}

impl Inbound {
    /// Keyed with what the peer sends with; remembers `sources_max` sources at most
    /// ([`Limits::ssrcs_per_transport_max`](crate::config::Limits::ssrcs_per_transport_max)).
    pub fn new(profile: Profile, master: &MasterKey, sources_max: usize) -> Self {
        Self {
            cipher: Cipher::new(profile, &SessionKeys::derive(master)),
            rtp: Sources::with_capacity(sources_max),
            rtcp: Sources::with_capacity(sources_max),
        }
    }

    /// Authenticates and decrypts an RTP packet where it lies. `header` is what
    /// [`Header::parse`] said of this datagram. Returns the packet's number and the length of the
    /// plain packet, header included.
    ///
    /// A refused datagram is left in an unspecified state; nothing else changes.
    pub fn unprotect_rtp(
        &mut self,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<(SeqNo, usize), Reject> {
        self.open_rtp(header, |cipher, index| {
            cipher.open_rtp(header.ssrc, index, header.len, datagram)
        })
    }

    /// Authenticates an RTP packet and decrypts its payload to the start of `payload`, so that
    /// whoever keeps it need not copy it. Returns the packet's number and the length of the
    /// payload, padding included.
    ///
    /// A refused datagram leaves `payload` in an unspecified state; nothing else changes.
    pub fn unprotect_rtp_into(
        &mut self,
        header: &Header,
        datagram: &[u8],
        payload: &mut [u8],
    ) -> Result<(SeqNo, usize), Reject> {
        self.open_rtp(header, |cipher, index| {
            cipher.open_rtp_into(header.ssrc, index, header.len, datagram, payload)
        })
    }

    fn open_rtp(
        &mut self,
        header: &Header,
        open: impl FnOnce(&Cipher, u64) -> Result<usize, Reject>,
    ) -> Result<(SeqNo, usize), Reject> {
        let (source, seq) = match self.rtp.find(header.ssrc) {
            Some(at) => (Some(at), self.rtp.window(at).extend(header.sequence)),
            // RFC 3711 section 3.3.1: a receiver that is there from the start assumes rollover 0.
            None => (None, SeqNo::first(header.sequence)),
        };
        let index = rtp_index(seq).ok_or(Reject::SrtpReplay)?;
        self.rtp.admit(source, seq.0)?;
        let len = open(&self.cipher, index)?;
        self.rtp.accept(source, header.ssrc, seq.0);
        Ok((seq, len))
    }

    /// Authenticates and decrypts a compound RTCP packet where it lies. Returns the length of the
    /// plain packet.
    ///
    /// A refused datagram is left in an unspecified state; nothing else changes.
    pub fn unprotect_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, Reject> {
        let (ssrc, word) = self.cipher.rtcp_words(datagram)?;
        // Both ends agreed to encrypt, so a packet in the clear is not the peer's.
        if word & ENCRYPTED == 0 {
            return Err(Reject::SrtpAuthentication);
        }
        let source = self.rtcp.find(ssrc);
        let index = u64::from(word & !ENCRYPTED);
        self.rtcp.admit(source, index)?;
        let len = self.cipher.open_rtcp(ssrc, word, datagram)?;
        self.rtcp.accept(source, ssrc, index);
        Ok(len)
    }

    /// Forgets a source whose publication has ended, so that its place can be taken. A packet of it
    /// that is replayed afterwards is authenticated like the first of a new source.
    pub fn forget(&mut self, ssrc: Ssrc) {
        self.rtp.forget(ssrc);
        self.rtcp.forget(ssrc);
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("sources", &self.rtp.ids.len())
            .finish_non_exhaustive()
    }
}

/// The 48-bit index of RFC 3711 section 3.3.1, if `seq` has one: rollover 0 begins at
/// `SeqNo(1 << 16)`.
fn rtp_index(seq: SeqNo) -> Option<u64> {
    seq.0.checked_sub(1 << 16).filter(|index| index >> 48 == 0)
}

/// The sources of one peer and what has been received from each. Few enough that walking the dense
/// list of their numbers costs less than hashing one.
struct Sources {
    ids: Vec<Ssrc>,
    windows: Vec<ReplayWindow>,
    max: usize,
}

impl Sources {
    fn with_capacity(max: usize) -> Self {
        Self {
            ids: Vec::with_capacity(max),
            windows: Vec::new(),
            max,
        }
    }

    fn find(&self, ssrc: Ssrc) -> Option<usize> {
        self.ids.iter().position(|&id| id == ssrc)
    }

    fn window(&self, at: usize) -> &ReplayWindow {
        &self.windows[at]
    }

    /// Whether a packet with this index could be new, before its authentication is paid for.
    fn admit(&self, source: Option<usize>, index: u64) -> Result<(), Reject> {
        match source {
            Some(at) if !self.windows[at].is_new(index) => Err(Reject::SrtpReplay),
            None if self.ids.len() == self.max => Err(Reject::TooManySources),
            _ => Ok(()),
        }
    }

    fn accept(&mut self, source: Option<usize>, ssrc: Ssrc, index: u64) {
        match source {
            Some(at) => self.windows[at].insert(index),
            None => {
                self.ids.push(ssrc);
                self.windows.push(ReplayWindow::starting_with(index));
            }
        }
    }

    fn forget(&mut self, ssrc: Ssrc) {
        if let Some(at) = self.find(ssrc) {
            self.ids.swap_remove(at);
            self.windows.swap_remove(at);
        }
    }
}

/// Seals what one peer is sent.
pub struct Outbound {
    cipher: Cipher,
    /// The index of the next SRTCP packet, of whatever source: gaps are allowed, repetition is not.
    rtcp_index: u32,
}

impl Outbound {
    /// Keyed with what we send with.
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        Self {
            cipher: Cipher::new(profile, &SessionKeys::derive(master)),
            // RFC 3711 would start at 0; every deployed sender starts at 1, so nobody has tested 0.
            rtcp_index: 1,
        }
    }

    /// Appends the protected packet made of `header` and `payload` to `out`, which allocates only
    /// if its capacity does not suffice. The header's own number must be `seq.wire()`. False, and
    /// nothing appended, if the number lies before the start of the stream or beyond 48 bits.
    ///
    /// Never protect two *different* packets of a source under one number: with GCM that gives the
    /// authentication key away. What is sent again on the same stream must be the same bytes,
    /// extensions included; otherwise it belongs on a retransmission stream.
    pub fn protect_rtp(
        &mut self,
        seq: SeqNo,
        header: &[u8],
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        self.protect_rtp_parts(seq, header, &[payload], out)
    }

    /// Like [`Self::protect_rtp`] with a payload that lies in several places: an original number
    /// before a retransmission, a rewritten descriptor before a picture, padding behind it.
    pub fn protect_rtp_parts(
        &mut self,
        seq: SeqNo,
        header: &[u8],
        payload: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(index) = rtp_index(seq) else {
            return false;
        };
        debug_assert_eq!(
            header[2..4],
            seq.wire().to_be_bytes(),
            "the header and the index number the same packet"
        );
        let start = out.len();
        out.extend_from_slice(header);
        for part in payload {
            out.extend_from_slice(part);
        }
        let ssrc = Ssrc(u32::from_be_bytes([
            header[8], header[9], header[10], header[11],
        ]));
        self.cipher.seal_rtp(ssrc, index, header.len(), start, out);
        true
    }

    /// Appends the protected compound `packet` to `out`. False, and nothing appended, if it is
    /// shorter than any RTCP packet or 2^31 have been sent under this key.
    pub fn protect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> bool {
        if packet.len() < RTCP_CLEAR_LEN || self.rtcp_index & ENCRYPTED != 0 {
            return false;
        }
        let word = self.rtcp_index | ENCRYPTED;
        self.rtcp_index += 1;
        let start = out.len();
        out.extend_from_slice(packet);
        self.cipher.seal_rtcp(rtcp_ssrc(packet), word, start, out);
        true
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

fn rtcp_ssrc(packet: &[u8]) -> Ssrc {
    Ssrc(u32::from_be_bytes([
        packet[4], packet[5], packet[6], packet[7],
    ]))
}
