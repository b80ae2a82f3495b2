//! The system calls that the standard library lacks, but for those that carry datagrams: ppoll,
//! epoll, timerfd, eventfd, getifaddrs, sched_setaffinity and the processor time of a thread.
//!
//! Every function here takes and gives ordinary values, checks what the kernel says, and keeps no
//! pointer beyond its own call. There is no `unsafe` in this crate but here and in `mmsg`.
#![expect(
    unsafe_code,
    reason = "the kernel is spoken to in pointers; a safety comment stands at each"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Waits until `file` is ready or `timeout` is over; errors are found out by whoever uses it.
pub(super) fn wait(file: BorrowedFd<'_>, interest: Interest, timeout: Duration) -> io::Result<()> {
    let mut polled = libc::pollfd {
        fd: file.as_raw_fd(),
        events: match interest {
            #[cfg(test)]
            Interest::Readable => libc::POLLIN,
            Interest::Writable => libc::POLLOUT,
        },
        revents: 0,
    };
    let timeout = timespec(timeout);
    // SAFETY: there is one element, it and `timeout` outlive the call, and a null signal mask leaves
    // the mask alone.
    let result = unsafe { libc::ppoll(&raw mut polled, 1, &raw const timeout, ptr::null()) };
    match result {
        0.. => Ok(()),
        _ => unless_interrupted(io::Error::last_os_error()),
    }
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Something to read.
    #[cfg(test)]
    Readable,
    /// Room to write.
    Writable,
}

fn unless_interrupted(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

fn timespec(span: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: span.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: libc::c_long::from(span.subsec_nanos() as i32),
    }
}

/// When a watched file is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// As long as it is ready.
    Level,
    /// Once whenever it becomes ready.
    Edge,
}

/// Files that are waited for together, each under a number below 32.
#[derive(Debug)]
pub(super) struct Poll(OwnedFd);

/// The numbers of files that are ready, or broken, which whoever uses them will find out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadyFiles(u32);

impl ReadyFiles {
    pub(super) fn contains(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }
}

/// Files reported by one wait.
const POLLED_MAX: usize = 4;

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        owned(fd).map(Self)
    }

    /// Watches `file`, which must not be closed before this is.
    pub(super) fn add(
        &self,
        file: BorrowedFd<'_>,
        number: u32,
        trigger: Trigger,
    ) -> io::Result<()> {
        let edge = match trigger {
            Trigger::Level => 0,
            Trigger::Edge => libc::EPOLLET,
        };
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | edge) as u32,
            u64: u64::from(number),
        };
        let (poll, file) = (self.0.as_raw_fd(), file.as_raw_fd());
        // SAFETY: the kernel reads one event, which outlives the call.
        match unsafe { libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, file, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Says what is ready, and waits for that if it shall.
    pub(super) fn wait(&self, shall_wait: bool) -> io::Result<ReadyFiles> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; POLLED_MAX];
        let timeout = if shall_wait { -1 } else { 0 };
        // SAFETY: the kernel writes at most as many events as is said, and the array has them.
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                POLLED_MAX as libc::c_int,
                timeout,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            unless_interrupted(io::Error::last_os_error())?;
            return Ok(ReadyFiles::default());
        };
        let numbers = events[..count].iter().map(|event| 1 << event.u64);
        Ok(ReadyFiles(numbers.fold(0, |all, one: u32| all | one)))
    }
}

/// A timer that a [`Poll`] can watch.
#[derive(Debug)]
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: timerfd_create takes no pointer.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        owned(fd).map(Self)
    }

    /// Becomes ready once, so long from now, and at no other time that was set before.
    pub(super) fn set(&self, after: Duration) -> io::Result<()> {
        let setting = libc::itimerspec {
            it_interval: timespec(Duration::ZERO),
            // Zero would switch it off.
            it_value: timespec(after.max(Duration::from_nanos(1))),
        };
        let fd = self.0.as_raw_fd();
        // SAFETY: the kernel reads one setting, which outlives the call; nobody wants the old one.
        match unsafe { libc::timerfd_settime(fd, 0, &raw const setting, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that the kernel has just given us, or why it has not.
fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Processor time of this thread since it began, its own and the kernel's on its behalf.
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec to where we say.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The cores that this thread may run on.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: all-zero bytes are a valid value of this C structure.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size that is said; 0 stands for this thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let is_allowed = |core: &usize| {
        // SAFETY: the number is below the size of the set, and only read.
        unsafe { libc::CPU_ISSET(*core, &set) }
    };
    Ok((0..libc::CPU_SETSIZE as usize).filter(is_allowed).collect())
}

/// Keeps this thread on one core.
pub(crate) fn stay_on(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all-zero bytes are a valid value of this C structure.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads the size that is said; 0 stands for this thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A bell that one thread rings and another waits for.
#[derive(Debug)]
pub(crate) struct Wake(File);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        Ok(Self(File::from(owned(fd)?)))
    }

    /// Another rope for the same bell.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Wakes the waiter, now or as soon as it waits.
    pub(crate) fn ring(&self) {
        // The only error is a bell that has been rung 2^64 times without being heard: it is loud.
        let _already_loud = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Silences the bell.
    pub(crate) fn hear(&self) {
        // The only error is a silent bell.
        let _already_silent = (&self.0).read(&mut [0; 8]);
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The addresses of all interfaces that are up.
pub(super) fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = ptr::null_mut();
    // SAFETY: the library writes one pointer to where we say.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    // SAFETY: `next` is null or an element of the list, which lives until it is freed below.
    while let Some(interface) = unsafe { next.as_ref() } {
        let is_up = interface.ifa_flags & libc::IFF_UP as libc::c_uint != 0;
        if is_up && let Some(address) = interface_address(interface) {
            addresses.push(address);
        }
        next = interface.ifa_next;
    }
    // SAFETY: `first` came from getifaddrs and is not used again.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

fn interface_address(interface: &libc::ifaddrs) -> Option<IpAddr> {
    let address = interface.ifa_addr;
    // SAFETY: the address is null or points to a socket address, which begins with its family.
    let family = unsafe { address.as_ref() }?.sa_family;
    match libc::c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: an address of this family has this form; it need not be aligned for it.
            let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(ipv4(address.sin_addr)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

fn ipv4(address: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(address.s_addr.to_ne_bytes())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a thread of its own is pinned")]
mod tests {
    use super::*;

    #[test]
    fn processor_time_passes_with_work_and_not_with_sleep() {
        let before = thread_time();
        std::thread::sleep(Duration::from_millis(30));
        let slept = thread_time() - before;
        assert!(slept < Duration::from_millis(20), "{slept:?}");
        while thread_time() - before < Duration::from_millis(5) {
            std::hint::black_box([0_u8; 4096].iter().sum::<u8>());
        }
    }

    #[test]
    fn a_thread_stays_where_it_is_told() {
        let cores = allowed_cores().expect("the kernel says");
        let last = *cores.last().expect("we run somewhere");
        let pinned = std::thread::spawn(move || {
            stay_on(last).expect("it was allowed");
            allowed_cores().expect("the kernel says")
        });
        assert_eq!(pinned.join().expect("no panic"), [last]);
        assert!(stay_on(usize::MAX).is_err());
    }
}
