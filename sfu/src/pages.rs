//! Memory that holds what was said: whole pages that no core dump has.
//!
//! Packets lie in it in plaintext. A dump of the process, whoever takes it and for whatever reason,
//! must not hold a consult, so these pages are kept out of it (`MADV_DONTDUMP`). They come from the
//! system and go back to it; they are never part of the heap, whose neighbours would be excluded
//! as well and whose next owner would inherit that.
#![expect(
    unsafe_code,
    reason = "mapping is spoken of in pointers; a safety comment stands at each"
)]
#![expect(
    clippy::disallowed_types,
    reason = "parts of one mapping may end on different threads; counted when one is made or freed"
)]

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

/// Zeroed pages of one owner.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, like the memory of a `Box<[u8]>`.
unsafe impl Send for Pages {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for Pages {}

impl Pages {
    /// Room for `len` bytes, at least one. `None`: the system has no memory left.
    ///
    /// # Panics
    ///
    /// If `len` is zero.
    pub fn new(len: usize) -> Option<Self> {
        assert!(len > 0, "an empty mapping is none");
        // SAFETY: a fresh private mapping wherever the system likes touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        let pages = Self {
            start: NonNull::new(start.cast())?,
            len,
        };
        // SAFETY: the range is the mapping that was just made.
        let result = unsafe { libc::madvise(start, len, libc::MADV_DONTDUMP) };
        // Every kernel since 3.4 can do this, so it only fails for want of memory.
        (result == 0).then_some(pages)
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping has `len` readable bytes, all initialised by the kernel, for as long
        // as this value lives, and nobody else has it.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the mapping is writable and borrowed by nobody else.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping of this value, which nobody can use from now on.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// `N` bytes of a mapping that others have parts of as well: a box, but for where it lies.
#[derive(Debug)]
pub struct Part<const N: usize> {
    bytes: NonNull<[u8; N]>,
    _whole: Arc<Pages>,
}

// SAFETY: a part is reached by nobody but its owner, and the mapping lives as long as any part.
unsafe impl<const N: usize> Send for Part<N> {}
// SAFETY: as above; a shared reference only reads.
unsafe impl<const N: usize> Sync for Part<N> {}

impl<const N: usize> Part<N> {
    /// So many parts, side by side. `None`: the system has no memory left.
    pub(crate) fn many(count: usize) -> Option<impl DoubleEndedIterator<Item = Self>> {
        let whole = Arc::new(Pages::new(N * count)?);
        let start = whole.start.cast::<[u8; N]>();
        let part = move |index| Self {
            // SAFETY: the mapping has room for `count` arrays from its start on, and `index` is
            // below that; each index occurs once, so that no two parts overlap.
            bytes: unsafe { start.add(index) },
            _whole: Arc::clone(&whole),
        };
        Some((0..count).map(part))
    }
}

impl<const N: usize> Deref for Part<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        // SAFETY: these bytes are mapped, initialised and this part's alone while it lives.
        unsafe { self.bytes.as_ref() }
    }
}

impl<const N: usize> DerefMut for Part<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as above.
        unsafe { self.bytes.as_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says about the mapping that holds an address.
    fn flags_at(address: *const u8) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("a Linux kernel");
        let mut is_here = false;
        for line in maps.lines() {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let bounds = range.and_then(|(from, to)| {
                let number = |text| usize::from_str_radix(text, 16).ok();
                Some(number(from)?..number(to)?)
            });
            if let Some(bounds) = bounds {
                is_here = bounds.contains(&(address as usize));
            } else if is_here && let Some(flags) = line.strip_prefix("VmFlags: ") {
                return flags.to_owned();
            }
        }
        panic!("the address is mapped");
    }

    fn is_undumped(address: *const u8) -> bool {
        flags_at(address).split(' ').any(|flag| flag == "dd")
    }

    #[test]
    fn parts_do_not_overlap_and_outlive_each_other() {
        let mut parts: Vec<_> = Part::<2048>::many(5).expect("memory").collect();
        for (part, number) in parts.iter_mut().zip(1..) {
            assert_eq!(part[..], [0; 2048]);
            part.fill(number);
        }
        parts.remove(0);
        let last = parts.pop().expect("five were made");
        assert!(
            parts
                .iter()
                .zip(2..)
                .all(|(part, number)| part[..] == [number; 2048])
        );
        drop(parts);
        assert!(is_undumped(&raw const last[2047]));
        assert_eq!(last[..], [5; 2048]);
    }

    #[test]
    fn pages_are_writable_and_in_no_core_dump() {
        let mut pages = Pages::new(10_000).expect("memory");
        assert!(pages.iter().all(|&byte| byte == 0));
        pages[9_999] = 7;
        assert_eq!(pages.last(), Some(&7));
        assert!(is_undumped(pages.as_ptr()));
        assert!(is_undumped(&raw const pages[9_999]));
        let ordinary = Box::new([1_u8; 100]);
        assert!(!is_undumped(ordinary.as_ptr()), "the heap is dumped");
    }
}
