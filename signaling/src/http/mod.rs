//! The router of the front door: which address answers what, and who is calling.
//!
//! Handlers live in the modules below; this one composes them and holds what they share, the
//! [`Front`].

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::SignalingConfig;
use crate::limits::AddressLimits;
use crate::token::Keyring;

/// What every handler of the front door shares.
pub struct Front {
    /// The configuration.
    pub config: SignalingConfig,
    /// The keys that tokens are checked with.
    pub keyring: Keyring,
    /// The books on addresses.
    pub addresses: AddressLimits,
}

/// The address that a request came from; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

impl Front {
    /// Handlers' shared state for a checked configuration.
    pub fn new(config: SignalingConfig) -> Arc<Self> {
        let keyring = Keyring::new(&config.keys, &config.limits);
        let addresses = AddressLimits::new(&config.limits);
        Arc::new(Self {
            config,
            keyring,
            addresses,
        })
    }
}
