//! What the unit tests of this crate share: a start for virtual time, nothing else.

use std::time::Instant;

/// Some instant. Tests only ever add to it.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to make an instant; no test depends on which"
)]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
