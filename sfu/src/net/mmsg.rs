//! recvmmsg and sendmmsg, with segmentation: several datagrams of one path in one message.
//!
//! The kernel's way through its network stack costs the same for a message of sixteen datagrams as
//! for one (`docs/benchmarks.md`), so this is where most of a packet's price is decided. Every
//! function here takes and gives ordinary values and keeps no pointer beyond its own call; what is
//! to be done about an error is decided elsewhere.
#![expect(
    unsafe_code,
    reason = "the kernel is spoken to in pointers; a safety comment stands at each"
)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Messages in one system call: 64 cost a third less than one by one, and 256 no less than 64.
pub(super) const BATCH_MAX: usize = 64;

/// One message as the kernel gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) len: usize,
    /// The length of each of its datagrams but the last, which may be shorter.
    pub(super) segment: usize,
    /// It was longer than its slot, and its end is lost.
    pub(super) is_truncated: bool,
}

/// Datagrams to one receiver that lie side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) to: SocketAddr,
    pub(super) bytes: &'a [u8],
    /// The length of each datagram but the last, which may be shorter; `None` if there is one.
    pub(super) segment: Option<u16>,
}

/// Room for one control message: its header of 16 bytes and a number, aligned as the kernel wants.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 32]);

/// An internet address as the kernel reads it.
#[derive(Clone, Copy)]
#[repr(C)]
union WireAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Whether the kernel can cut one message into datagrams.
pub(super) fn can_segment(socket: BorrowedFd<'_>) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `value` and the true length to `len`; both
    // outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    result == 0
}

/// Lets the kernel hand over several datagrams of one path as one message.
pub(super) fn join_received(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one number, whose length is given, from `on`, which outlives the
    // call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads messages into consecutive slots of `slot` bytes until there are none or `count` have come,
/// at most [`BATCH_MAX`]. Never waits. Says of each slot what it holds; `None` for a sender that is
/// no internet address.
pub(super) fn recv_batch(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot: usize,
    count: usize,
    received: &mut Vec<Option<Received>>,
) -> io::Result<()> {
    received.clear();
    let mut addresses = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH_MAX];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH_MAX];
    let mut slots = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
    let mut offered = 0;
    for bytes in buffer.chunks_exact_mut(slot).take(count.min(BATCH_MAX)) {
        let bytes = slots[offered].write(libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        });
        // SAFETY: all-zero bytes are a valid value of these C structures.
        let address = addresses[offered].write(unsafe { mem::zeroed() });
        let control = controls[offered].write(Control([0; 32]));
        // SAFETY: as above.
        let message = messages[offered].write(unsafe { mem::zeroed() });
        let header = &mut message.msg_hdr;
        header.msg_name = ptr::from_mut(address).cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = ptr::from_mut(bytes);
        header.msg_iovlen = 1;
        header.msg_control = ptr::from_mut(control).cast();
        header.msg_controllen = size_of::<Control>() as _;
        offered += 1;
    }
    // SAFETY: the first `offered` headers are filled in; they point to addresses, slots, controls
    // and bytes that live until this function returns and are borrowed by nobody else, with their
    // true lengths. The timeout may be null.
    let result = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr().cast(),
            offered as libc::c_uint,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let filled = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    for (message, address) in messages.iter().zip(&addresses).take(filled) {
        // SAFETY: `filled` is at most `offered`, and so many of both were written above.
        let (message, address) = unsafe { (message.assume_init_ref(), address.assume_init_ref()) };
        let len = message.msg_len as usize;
        received.push(socket_address(address).map(|from| Received {
            from,
            len,
            segment: segment_length(&message.msg_hdr).unwrap_or(len),
            is_truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }));
    }
    Ok(())
}

/// Sends messages, at most [`BATCH_MAX`], until one is refused. Never waits. Says how many went; an
/// error is that of the first one.
pub(super) fn send_batch<'a>(
    socket: BorrowedFd<'_>,
    outgoing: impl Iterator<Item = Message<'a>>,
) -> io::Result<usize> {
    let mut addresses = [const { MaybeUninit::<WireAddress>::uninit() }; BATCH_MAX];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH_MAX];
    let mut slots = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
    let mut count = 0;
    for Message { to, bytes, segment } in outgoing.take(BATCH_MAX) {
        let (address, address_len) = wire_address(to);
        let address = addresses[count].write(address);
        let bytes = slots[count].write(libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        });
        // SAFETY: all-zero bytes are a valid value of this C structure.
        let message = messages[count].write(unsafe { mem::zeroed() });
        let header = &mut message.msg_hdr;
        header.msg_name = ptr::from_mut(address).cast();
        header.msg_namelen = address_len;
        header.msg_iov = ptr::from_mut(bytes);
        header.msg_iovlen = 1;
        if let Some(segment) = segment {
            let control = controls[count].write(Control([0; 32]));
            header.msg_control = ptr::from_mut(control).cast();
            set_segment_length(header, segment);
        }
        count += 1;
    }
    // SAFETY: the first `count` headers are filled in; they point to addresses, slots, controls and
    // bytes that live until this function returns, with their true lengths. Sending writes only to
    // `msg_len` of the headers, which are ours.
    let result = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Writes the one control message that says how long each datagram of a message is. The header's
/// control pointer must lead to a [`Control`].
fn set_segment_length(header: &mut libc::msghdr, segment: u16) {
    const LEN: libc::c_uint = size_of::<u16>() as libc::c_uint;
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, len) = unsafe { (libc::CMSG_SPACE(LEN), libc::CMSG_LEN(LEN)) };
    header.msg_controllen = space as _;
    // SAFETY: the control pointer leads to a `Control` of ours, larger than and aligned for one
    // control header and a number; CMSG_FIRSTHDR is not null because the length above has room.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        (*control).cmsg_level = libc::SOL_UDP;
        (*control).cmsg_type = libc::UDP_SEGMENT;
        (*control).cmsg_len = len as _;
        libc::CMSG_DATA(control)
            .cast::<u16>()
            .write_unaligned(segment);
    }
}

/// How long each datagram of a message that was received is, if the kernel has joined several.
fn segment_length(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the control pointer and length are those that the kernel left in a header that
    // `recv_batch` has filled in: they describe whole control messages within a `Control`.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: as above; `control` is null or such a message.
    while let Some(found) = unsafe { control.as_ref() } {
        if found.cmsg_level == libc::SOL_UDP && found.cmsg_type == libc::UDP_GRO {
            // SAFETY: the kernel writes an int behind this header; it need not be aligned.
            let length = unsafe {
                libc::CMSG_DATA(control)
                    .cast::<libc::c_int>()
                    .read_unaligned()
            };
            return usize::try_from(length).ok().filter(|length| *length > 0);
        }
        // SAFETY: as above.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    None
}

fn wire_address(address: SocketAddr) -> (WireAddress, libc::socklen_t) {
    match address {
        SocketAddr::V4(address) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            (WireAddress { v4 }, size_of_val(&v4) as libc::socklen_t)
        }
        SocketAddr::V6(address) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            (WireAddress { v6 }, size_of_val(&v6) as libc::socklen_t)
        }
    }
}

fn socket_address(address: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let place = ptr::from_ref(address);
    match libc::c_int::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the storage is larger than, aligned for and, by its family, filled as this.
            let address = unsafe { &*place.cast::<libc::sockaddr_in>() };
            let port = u16::from_be(address.sin_port);
            let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, port).into())
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
