//! The kernel calls that the standard library has no face for, and the only `unsafe` of this crate.
//!
//! Sends batches of datagrams (`sendmmsg`, each message optionally a run of equal segments, UDP
//! GSO), receives batches (`recvmmsg`, with UDP GRO), waits for many sockets (`epoll`, `timerfd`)
//! and reads CPU clocks. Linux only. It decides nothing: no retries, no counting.

#![expect(
    unsafe_code,
    reason = "raw system calls; every block states why it holds"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A control-message buffer, aligned as `cmsghdr` demands and with room for one `int`.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control {
    _bytes: [u8; CONTROL_LEN],
}

impl Control {
    const EMPTY: Self = Self {
        _bytes: [0; CONTROL_LEN],
    };
}

/// `CMSG_SPACE(sizeof(int))` on 64-bit Linux is 24.
const CONTROL_LEN: usize = 24;

/// What goes to one address in one kernel message: `range` of the arena, cut into datagrams of
/// `segment` bytes when that is not zero (the last may be shorter).
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The receiver; `None` on a connected socket.
    pub(crate) to: Option<SocketAddr>,
    /// Which bytes of the arena.
    pub(crate) range: Range<usize>,
    /// Segment length for UDP GSO, or 0 for a single datagram.
    pub(crate) segment: u16,
}

/// Reusable space for `sendmmsg`.
pub(crate) struct Sender {
    headers: Vec<libc::mmsghdr>,
    pieces: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_in6>,
    controls: Vec<Control>,
}

impl Sender {
    /// A sender of up to `batch` messages a call.
    pub(crate) fn new(batch: usize) -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (header, piece, address) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            headers: vec![header; batch],
            pieces: vec![piece; batch],
            addresses: vec![address; batch],
            controls: vec![Control::EMPTY; batch],
        }
    }

    /// Sends the first messages, at most one batch; says how many the kernel took.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        arena: &[u8],
        messages: &[Message],
    ) -> io::Result<usize> {
        let count = messages.len().min(self.headers.len());
        for (i, message) in messages[..count].iter().enumerate() {
            let bytes = &arena[message.range.clone()];
            self.pieces[i] = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            let header = &mut self.headers[i].msg_hdr;
            header.msg_iov = &raw mut self.pieces[i];
            header.msg_iovlen = 1;
            match message.to {
                Some(to) => {
                    header.msg_namelen = write_address(to, &mut self.addresses[i]);
                    header.msg_name = (&raw mut self.addresses[i]).cast();
                }
                None => {
                    header.msg_namelen = 0;
                    header.msg_name = std::ptr::null_mut();
                }
            }
            if message.segment > 0 && bytes.len() > usize::from(message.segment) {
                header.msg_control = (&raw mut self.controls[i]).cast();
                header.msg_controllen = write_segment(&mut self.controls[i], message.segment);
            } else {
                header.msg_control = std::ptr::null_mut();
                header.msg_controllen = 0;
            }
        }
        // SAFETY: the first `count` headers were just filled with pointers into vectors of `self`
        // and into `arena`, all of which outlive the call and are not touched during it; the
        // kernel only reads through them (it writes `msg_len` of each header).
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Writes `to` in the kernel's form and returns its length.
fn write_address(to: SocketAddr, out: &mut libc::sockaddr_in6) -> libc::socklen_t {
    match to {
        SocketAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_in` (16 bytes) fits into `sockaddr_in6` (28 bytes), both are plain
            // data and the larger one is at least as strictly aligned.
            unsafe { (&raw mut *out).cast::<libc::sockaddr_in>().write(address) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            *out = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// The other way round; `None` when the kernel gave neither IPv4 nor IPv6.
fn read_address(address: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match libc::c_int::from(address.sin6_family) {
        libc::AF_INET => {
            // SAFETY: as in `write_address`: the smaller plain structure lies within the larger.
            let v4 = unsafe { (&raw const *address).cast::<libc::sockaddr_in>().read() };
            let ip = IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip, u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            let ip = IpAddr::from(address.sin6_addr.s6_addr);
            Some(SocketAddr::new(ip, u16::from_be(address.sin6_port)))
        }
        _ => None,
    }
}

/// Fills a control buffer with `UDP_SEGMENT = segment` and returns its length.
fn write_segment(control: &mut Control, segment: u16) -> usize {
    // SAFETY: `Control` is as aligned as `cmsghdr` and as long as CMSG_SPACE(4) >= CMSG_SPACE(2),
    // so header and data lie within it; both are plain data.
    unsafe {
        let header = (&raw mut *control).cast::<libc::cmsghdr>();
        (*header).cmsg_level = libc::SOL_UDP;
        (*header).cmsg_type = libc::UDP_SEGMENT;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as usize;
        libc::CMSG_DATA(header)
            .cast::<u16>()
            .write_unaligned(segment);
        libc::CMSG_SPACE(size_of::<u16>() as u32) as usize
    }
}

/// Reads the segment length that UDP GRO reports, 0 when the message is a single datagram.
fn read_segment(header: &libc::msghdr) -> u16 {
    // SAFETY: the kernel has just filled `msg_control`/`msg_controllen` of this header, whose
    // buffer is alive; the CMSG macros stay within `msg_controllen`.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_UDP && (*control).cmsg_type == libc::UDP_GRO {
                let segment = libc::CMSG_DATA(control)
                    .cast::<libc::c_int>()
                    .read_unaligned();
                return u16::try_from(segment).unwrap_or(0);
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    0
}

/// One kernel message as received: with GRO several datagrams of `segment` bytes back to back.
pub(crate) struct Received<'a> {
    /// Who sent it.
    pub(crate) from: SocketAddr,
    /// All bytes of the message.
    pub(crate) bytes: &'a mut [u8],
    /// Length of each datagram but the last.
    pub(crate) segment: usize,
}

/// Reusable space for `recvmmsg`.
pub(crate) struct Receiver {
    headers: Vec<libc::mmsghdr>,
    pieces: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_in6>,
    controls: Vec<Control>,
    buffer: Vec<u8>,
    size: usize,
}

impl Receiver {
    /// Space for `batch` messages of up to `size` bytes (with GRO: 65,535).
    pub(crate) fn new(batch: usize, size: usize) -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (header, piece, address) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            headers: vec![header; batch],
            pieces: vec![piece; batch],
            addresses: vec![address; batch],
            controls: vec![Control::EMPTY; batch],
            buffer: vec![0; batch * size],
            size,
        }
    }

    /// How many messages one call can bring.
    pub(crate) fn batch(&self) -> usize {
        self.headers.len()
    }

    /// Takes what is there without waiting; 0 when nothing is.
    pub(crate) fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for i in 0..self.headers.len() {
            self.pieces[i] = libc::iovec {
                iov_base: self.buffer[i * self.size..].as_mut_ptr().cast(),
                iov_len: self.size,
            };
            let header = &mut self.headers[i].msg_hdr;
            header.msg_iov = &raw mut self.pieces[i];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.addresses[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_control = (&raw mut self.controls[i]).cast();
            header.msg_controllen = CONTROL_LEN;
            header.msg_flags = 0;
        }
        // SAFETY: every header points into vectors of `self` with the lengths stated; each slice
        // of `buffer` is `size` long and none overlaps another. A null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
                e => Err(e),
            },
        }
    }

    /// The message `index` of the last `recv`; `None` if its sender has no IP address.
    pub(crate) fn message(&mut self, index: usize) -> Option<Received<'_>> {
        let header = &self.headers[index];
        let len = (header.msg_len as usize).min(self.size);
        let from = read_address(&self.addresses[index])?;
        let segment = match usize::from(read_segment(&header.msg_hdr)) {
            0 => len,
            segment => segment,
        };
        let start = index * self.size;
        Some(Received {
            from,
            bytes: &mut self.buffer[start..start + len],
            segment,
        })
    }
}

// The vectors of headers hold raw pointers only between the filling and the end of one call.
// SAFETY: `send`/`recv` refill every pointer before the kernel or `message` follows it, and they
// point into heap memory owned by the same value, which moves to the other thread with it.
unsafe impl Send for Sender {}
// SAFETY: as above.
unsafe impl Send for Receiver {}

/// Lets the kernel join trains of datagrams for this socket (UDP GRO).
pub(crate) fn join_received_trains(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option value is an `int` that lives through the call, with its true length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// An epoll instance over sockets, each known by a token.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    /// A poll that reports up to `batch` ready tokens at a time.
    pub(crate) fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: no pointers; the returned descriptor is checked and owned by nobody else.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; batch],
        })
    }

    /// Reports `token` whenever `socket` is readable (level-triggered).
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: both descriptors are open for the call and `event` outlives it.
        let result = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits until something is readable or `timeout` has passed (`None`: without end), and
    /// gives the number of ready tokens. An interruption by a signal counts as nothing ready.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let millis = timeout.map_or(-1, |t| {
            libc::c_int::try_from(t.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX)
        });
        // SAFETY: `events` has room for the stated number of entries and is only written to.
        let ready = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                millis,
            )
        };
        match usize::try_from(ready) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => Ok(0),
                e => Err(e),
            },
        }
    }

    /// The `index`-th ready token of the last `wait`.
    pub(crate) fn token(&self, index: usize) -> u64 {
        self.events[index].u64
    }
}

/// A one-shot alarm that a [`Poll`] can watch, finer than epoll's own milliseconds.
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    /// An alarm that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the returned descriptor is checked and owned by nobody else.
        unsafe {
            let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
            let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, flags);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Becomes readable once, `after` from now; replaces an earlier setting. Setting also
    /// clears what has already rung, so the descriptor need not be read.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        let after = after.max(Duration::from_nanos(1)); // zero would switch the timer off
        let spec = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: after.as_secs() as libc::time_t,
                tv_nsec: libc::c_long::from(after.subsec_nanos() as i32),
            },
        };
        // SAFETY: `spec` lives through the call; a null old value is allowed.
        let result = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut())
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// CPU time of the calling thread, exact at this moment. (`getrusage` lags by up to a tick.)
pub(crate) fn thread_cpu() -> Duration {
    // SAFETY: the call only writes to the local whose address it gets.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
        time
    };
    from_timespec(time)
}

fn from_timespec(time: libc::timespec) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU time of the calling thread in user space and in the kernel (`getrusage`): sampled, so
/// only good for the proportion of the two over a longer time.
pub(crate) fn thread_user_and_system() -> (Duration, Duration) {
    // SAFETY: `rusage` is plain data that the kernel fills; the pointer is valid for the call.
    let usage = unsafe {
        let mut usage: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    let duration = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    (duration(usage.ru_utime), duration(usage.ru_stime))
}

/// CPU time of all threads of another process, to the nanosecond (`/proc` counts in ticks of
/// 10 ms, too coarse for a window of a few seconds).
pub(crate) fn process_cpu(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: both calls only write to the two locals whose addresses they get.
    unsafe {
        let mut clock: libc::clockid_t = 0;
        let error = libc::clock_getcpuclockid(pid, &raw mut clock);
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let mut time: libc::timespec = zeroed();
        if libc::clock_gettime(clock, &raw mut time) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(from_timespec(time))
    }
}

/// From now on this thread runs on the processors on which process `pid` may run.
pub(crate) fn run_where(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the kernel writes at most so many bytes of a set to where we say.
    if unsafe { libc::sched_getaffinity(pid, size_of::<libc::cpu_set_t>(), &raw mut set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: and reads as many; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Allows as many open files as the system lets us have without privileges.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    // SAFETY: plain data in and out, valid for both calls.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(limit.rlim_cur)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn pair() -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind("127.0.0.1:0").expect("loopback");
        (bind(), bind())
    }

    fn recv_all(receiver: &mut Receiver, socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut poll = Poll::new(1).expect("epoll");
        poll.add(socket.as_fd(), 7).expect("add");
        let mut got = Vec::new();
        while got.len() < count {
            assert_eq!(
                poll.wait(Some(Duration::from_secs(5))).expect("wait"),
                1,
                "in time"
            );
            assert_eq!(poll.token(0), 7);
            for i in 0..receiver.recv(socket.as_fd()).expect("recv") {
                let message = receiver.message(i).expect("ip");
                got.extend(message.bytes.chunks(message.segment).map(<[u8]>::to_vec));
            }
        }
        got
    }

    #[test]
    fn a_run_of_segments_arrives_as_separate_datagrams() {
        let (a, b) = pair();
        let arena: Vec<u8> = (0..=255).collect();
        let to = Some(b.local_addr().expect("address"));
        let run = Message {
            to,
            range: 0..250,
            segment: 100,
        };
        let single = Message {
            to,
            range: 250..256,
            segment: 0,
        };
        let sent = Sender::new(4)
            .send(a.as_fd(), &arena, &[run, single])
            .expect("send");
        assert_eq!(sent, 2);
        let got = recv_all(&mut Receiver::new(8, 2048), &b, 4);
        let lengths: Vec<usize> = got.iter().map(Vec::len).collect();
        assert_eq!(lengths, [100, 100, 50, 6]);
        assert_eq!(got.concat(), arena);
    }

    #[test]
    fn a_joined_train_tells_its_segment_length_and_sender() {
        let (a, b) = pair();
        join_received_trains(b.as_fd()).expect("gro");
        let arena = vec![9; 300];
        let to = Some(b.local_addr().expect("address"));
        let run = Message {
            to,
            range: 0..300,
            segment: 120,
        };
        Sender::new(1)
            .send(a.as_fd(), &arena, &[run])
            .expect("send");
        let mut receiver = Receiver::new(2, 65_535);
        let got = recv_all(&mut receiver, &b, 3);
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [120, 120, 60]);
        let from = receiver.message(0).expect("ip").from;
        assert_eq!(from, a.local_addr().expect("address"));
    }

    #[test]
    fn addresses_survive_the_kernel_form() {
        for text in ["127.0.0.1:65535", "[fe80::1]:80", "[::1]:1"] {
            let address: SocketAddr = text.parse().expect("address");
            // SAFETY: plain data.
            let mut raw = unsafe { zeroed() };
            write_address(address, &mut raw);
            assert_eq!(read_address(&raw), Some(address));
        }
    }

    #[test]
    fn an_alarm_wakes_a_poll_and_can_be_set_again() {
        let alarm = Alarm::new().expect("timerfd");
        let mut poll = Poll::new(1).expect("epoll");
        poll.add(alarm.as_fd(), 1).expect("add");
        for _ in 0..2 {
            alarm.set(Duration::from_micros(300)).expect("set");
            assert_eq!(poll.wait(Some(Duration::from_secs(5))).expect("wait"), 1);
        }
        alarm.set(Duration::from_secs(100)).expect("set");
        assert_eq!(
            poll.wait(Some(Duration::ZERO)).expect("wait"),
            0,
            "setting clears"
        );
    }

    #[test]
    fn cpu_clocks_advance_with_work() {
        let (thread, process) = (
            thread_cpu(),
            process_cpu(std::process::id()).expect("clock"),
        );
        let mut x = 1u64;
        while thread_cpu() - thread < Duration::from_millis(5) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let spent = process_cpu(std::process::id()).expect("clock") - process;
        assert!(spent >= Duration::from_millis(4), "{spent:?}");
        let (user, system) = thread_user_and_system();
        assert!(user + system > Duration::ZERO);
    }
}
