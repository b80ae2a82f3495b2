//! Whether the machine's clock is synchronised: asked once for each segment.
#![expect(
    unsafe_code,
    reason = "the kernel is spoken to in pointers; a safety comment stands at the one call"
)]

/// Whether the kernel says that something keeps its clock right.
pub fn is_synchronised() -> bool {
    // SAFETY: `timex` is plain numbers, for which zeros are values, and `modes` of zero asks without
    // changing anything; the pointer is good for the call.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex.status)
    };
    state != -1 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}
