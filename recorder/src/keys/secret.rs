//! Thirty-two secret bytes in a page of their own.
//!
//! The page is left out of core dumps, kept out of swap where the system's limit allows, and
//! overwritten before it is given back. A secret is filled where it lies and is never moved, so no
//! copy of it stays behind on a stack.
#![expect(
    unsafe_code,
    reason = "the kernel is spoken to in pointers; a safety comment stands at each"
)]

use std::fmt;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use zeroize::Zeroize;

/// Bytes of a secret.
pub const SECRET_LEN: usize = 32;

/// What is mapped for it: the smallest page of any system we know, rounded up by the kernel.
const MAPPED: usize = 4096;

/// Secret bytes that are erased when dropped.
pub struct Secret {
    bytes: NonNull<[u8; SECRET_LEN]>,
}

// SAFETY: the page belongs to this value alone and is ordinary memory.
unsafe impl Send for Secret {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Secret {}

impl Secret {
    /// A secret that `fill` writes in place.
    pub fn filled(fill: impl FnOnce(&mut [u8; SECRET_LEN])) -> Self {
        let mut secret = Self::zeroed();
        fill(secret.bytes_mut());
        secret
    }

    /// A secret of zeros, to be filled.
    pub fn zeroed() -> Self {
        // SAFETY: a fresh private mapping at an address of the kernel's choice aliases nothing.
        let page = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                MAPPED,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let page = page.expect("the system has a page of memory left");
        // SAFETY: the whole range was just mapped by us. The two calls change what the kernel does
        // with the page, not its contents.
        unsafe {
            // Refused only by kernels without the feature; the page is erased all the same.
            let _not_dumped = madvise(page, MAPPED, Advice::LinuxDontDump);
            // Refused beyond RLIMIT_MEMLOCK; servers are told to have no swap in clear.
            let _not_swapped = mlock(page, MAPPED);
        }
        let bytes = NonNull::new(page.cast()).expect("a mapping is not at address zero");
        Self { bytes }
    }

    /// The secret.
    pub fn bytes(&self) -> &[u8; SECRET_LEN] {
        // SAFETY: the page is mapped and initialised for as long as `self` lives.
        unsafe { self.bytes.as_ref() }
    }

    /// The secret, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8; SECRET_LEN] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { self.bytes.as_mut() }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        // SAFETY: mapped by us with this length, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.bytes.as_ptr().cast(), MAPPED) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be given back");
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Overwrites what earlier calls left on this thread's stack. Called after keys have been handled:
/// the compiler may have kept copies of their bytes in frames that are gone by now.
#[inline(never)]
pub fn scrub_stack() {
    const DEPTH: usize = 64 * 1024;
    let mut frame = [0_u8; DEPTH];
    frame.zeroize();
    std::hint::black_box(&frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secrets_page_is_left_out_of_core_dumps() {
        let secret = Secret::filled(|bytes| bytes.fill(0x5a));
        let address = secret.bytes().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
        let mut inside = false;
        for line in maps.lines() {
            let range = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'));
            if let Some((from, until)) = range {
                let parse = |text| usize::from_str_radix(text, 16);
                if let (Ok(from), Ok(until)) = (parse(from), parse(until)) {
                    inside = (from..until).contains(&address);
                }
            }
            if inside && line.starts_with("VmFlags:") {
                assert!(line.split_whitespace().any(|flag| flag == "dd"), "{line}");
                return;
            }
        }
        panic!("the page is mapped somewhere");
    }
}
