//! One function per parser of bytes from outside: any bytes in, no panic, no unbounded work.
//!
//! The tests run them over committed corpora and seeded random input; a fuzzer may call the same
//! functions for longer.

use crate::config::{DEV_KEY, DEV_SECRET, Limits, Secret};
use crate::token::Keyring;

/// Tokens, as they come in a header or a query.
pub fn token(bytes: &[u8]) {
    let keys = [(DEV_KEY.to_owned(), Secret::new(DEV_SECRET))];
    let keyring = Keyring::new(
        keys.iter().map(|(id, secret)| (id, secret)),
        &Limits::default(),
    );
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Random bytes carry no valid signature, whatever else they are.
        assert!(keyring.verify(text).is_err());
    }
}
