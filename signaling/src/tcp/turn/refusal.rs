//! Why TURN refuses something, in its numbers.

/// Why something is refused (RFC 8656 section 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What makes no sense, or names nobody.
    BadRequest,
    /// No pass was shown, or one that opens nothing.
    Unauthorized,
    /// A peer that is not this server.
    Forbidden,
    /// Something that must be understood and is not.
    UnknownAttribute(u16),
    /// There is an allocation, or none.
    AllocationMismatch,
    /// What another connection was told to show.
    StaleNonce,
    /// Neither IPv4 nor IPv6.
    WrongFamily,
    /// Another pass than the allocation's.
    WrongCredentials,
    /// Anything but UDP.
    WrongTransport,
    /// A participant has a few allocations.
    Quota,
    /// An allocation has a few peers.
    Capacity,
}

impl Refusal {
    /// The number and the words that go with it.
    pub fn code(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::UnknownAttribute(_) => (420, "Unknown Attribute"),
            Self::AllocationMismatch => (437, "Allocation Mismatch"),
            Self::StaleNonce => (438, "Stale Nonce"),
            Self::WrongFamily => (440, "Address Family not Supported"),
            Self::WrongCredentials => (441, "Wrong Credentials"),
            Self::WrongTransport => (442, "Unsupported Transport Protocol"),
            Self::Quota => (486, "Allocation Quota Reached"),
            Self::Capacity => (508, "Insufficient Capacity"),
        }
    }
}
