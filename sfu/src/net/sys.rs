//! The system calls that the standard library lacks: recvmmsg, sendmmsg, ppoll, eventfd and
//! getifaddrs.
//!
//! Every function here takes and gives ordinary values, checks what the kernel says, and keeps no
//! pointer beyond its own call. There is no `unsafe` anywhere else in this crate.
#![expect(
    unsafe_code,
    reason = "the kernel is spoken to in pointers; a safety comment stands at each"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Datagrams in one system call: 64 cost a third less than one by one, and 256 no less than 64.
pub(super) const BATCH_MAX: usize = 64;

/// One datagram as the kernel gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) len: usize,
    /// It was longer than its slot, and its end is lost.
    pub(super) is_truncated: bool,
}

/// Reads datagrams into consecutive slots of `slot` bytes until there are none, the slots are
/// full or [`BATCH_MAX`] have come. Never waits. Says of each slot what it holds; `None` for a
/// sender that is no internet address.
pub(super) fn recv_batch(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot: usize,
    received: &mut Vec<Option<Received>>,
) -> io::Result<()> {
    received.clear();
    // SAFETY: all-zero bytes are a valid value of these C structures.
    let mut addresses: [libc::sockaddr_storage; BATCH_MAX] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut slots: [libc::iovec; BATCH_MAX] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH_MAX] = unsafe { mem::zeroed() };
    let mut count = 0;
    for bytes in buffer.chunks_exact_mut(slot).take(BATCH_MAX) {
        slots[count].iov_base = bytes.as_mut_ptr().cast();
        slots[count].iov_len = bytes.len();
        let header = &mut messages[count].msg_hdr;
        header.msg_name = (&raw mut addresses[count]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &raw mut slots[count];
        header.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers point to addresses, slots and bytes that live until this
    // function returns and are borrowed by nobody else; their lengths are those of what they
    // point to. The timeout may be null.
    let result = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let filled = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    for (message, address) in messages.iter().zip(&addresses).take(filled) {
        received.push(socket_address(address).map(|from| Received {
            from,
            len: message.msg_len as usize,
            is_truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }));
    }
    Ok(())
}

/// Sends datagrams, at most [`BATCH_MAX`], until one is refused. Never waits. Says how many went;
/// an error is that of the first one.
pub(super) fn send_batch<'a>(
    socket: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
) -> io::Result<usize> {
    // SAFETY: all-zero bytes are a valid value of these C structures.
    let mut slots: [libc::iovec; BATCH_MAX] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH_MAX] = unsafe { mem::zeroed() };
    let mut addresses: [Option<socket2::SockAddr>; BATCH_MAX] = [const { None }; BATCH_MAX];
    let mut count = 0;
    for (to, bytes) in datagrams.take(BATCH_MAX) {
        slots[count].iov_base = bytes.as_ptr().cast_mut().cast();
        slots[count].iov_len = bytes.len();
        let address = addresses[count].insert(to.into());
        let header = &mut messages[count].msg_hdr;
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len();
        header.msg_iov = &raw mut slots[count];
        header.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers point to addresses, slots and bytes that live until this
    // function returns, with their true lengths; sending writes to none of them.
    let result = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Something to read.
    Readable,
    /// Room to write.
    Writable,
}

/// Waits until one of the files is ready or `timeout` is over; `None` waits for ever.
pub(super) fn wait<const N: usize>(
    files: [(BorrowedFd<'_>, Interest); N],
    timeout: Option<Duration>,
) -> io::Result<()> {
    let mut polled = files.map(|(file, interest)| libc::pollfd {
        fd: file.as_raw_fd(),
        events: match interest {
            Interest::Readable => libc::POLLIN,
            Interest::Writable => libc::POLLOUT,
        },
        revents: 0,
    });
    let timeout = timeout.map(|span| libc::timespec {
        tv_sec: span.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: libc::c_long::from(span.subsec_nanos() as i32),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `polled` has as many elements as is said, `timeout` is null or points to a value
    // that outlives the call, and a null signal mask leaves the mask alone.
    let result = unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            timeout,
            ptr::null(),
        )
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// A bell that one thread rings and another waits for.
#[derive(Debug)]
pub(crate) struct Wake(File);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(File::from(fd)))
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

fn socket_address(address: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let place = ptr::from_ref(address);
    match libc::c_int::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the storage is larger than, aligned for and, by its family, filled as this.
            let address = unsafe { &*place.cast::<libc::sockaddr_in>() };
            let port = u16::from_be(address.sin_port);
            Some(SocketAddrV4::new(ipv4(address.sin_addr), port).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*place.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn ipv4(address: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(address.s_addr.to_ne_bytes())
}
