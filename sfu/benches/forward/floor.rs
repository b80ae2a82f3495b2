//! The floor: the same bytes sealed for the same receivers with the profile that browsers get, and
//! sent through the same socket, without any logic in between; and the sockets that receive them.
#![allow(unsafe_code, reason = "the thread's processor time and poll are C")]

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sfu::net::udp::{RecvBatch, Socket};
use sfu::rtp::packet::Header;
use sfu::shard::{Batch, Datagram};
use sfu::transport::srtp::{Inbound, MasterKey, Outbound, Profile};
use sfu::unit::SeqNo;

use crate::call::{Shape, Turns};

const PROFILE: Profile = Profile::AeadAes256Gcm;
const HEADER_LEN: usize = 24;
const TAG_LEN: usize = 16;
/// As `Limits::batch_bytes_max`.
const BATCH_BYTES: usize = 64 * 1024;

/// Processor time of this thread, user and system.
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

pub(crate) struct Floor {
    receivers: Vec<(SocketAddr, Outbound)>,
    inbound: Inbound,
    seq: SeqNo,
    arena: Vec<u8>,
    datagrams: Vec<Datagram>,
    payload: Vec<u8>,
}

fn master() -> MasterKey {
    let key = [7; 32];
    MasterKey::new(
        PROFILE,
        &key[..PROFILE.key_len()],
        &key[..PROFILE.salt_len()],
    )
    .expect("lengths")
}

fn header(seq: SeqNo) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..2].copy_from_slice(&[0x90, 96]);
    header[2..4].copy_from_slice(&seq.wire().to_be_bytes());
    header[12..18].copy_from_slice(&[0xbe, 0xde, 0, 2, 0x10, b'1']);
    header
}

impl Floor {
    pub(crate) fn new(receivers: &[SocketAddr]) -> Self {
        let outbound = |&to: &SocketAddr| (to, Outbound::new(PROFILE, &master()));
        Self {
            receivers: receivers.iter().map(outbound).collect(),
            inbound: Inbound::new(PROFILE, &master(), 4),
            seq: SeqNo::first(0),
            arena: Vec::new(),
            datagrams: Vec::new(),
            payload: vec![0x5a; 2_048],
        }
    }

    /// Seals and sends so many pictures. Returns how many packets left.
    pub(crate) fn play(
        &mut self,
        shape: Shape,
        frames: usize,
        mut send: impl FnMut(&Batch<'_>),
    ) -> usize {
        let payload = &self.payload[..shape.bytes - HEADER_LEN - TAG_LEN];
        let (arena, datagrams) = (&mut self.arena, &mut self.datagrams);
        let mut flush = |arena: &mut Vec<u8>, datagrams: &mut Vec<Datagram>| {
            send(&Batch { arena, datagrams });
            arena.clear();
            datagrams.clear();
        };
        for _ in 0..frames {
            for (to, outbound) in &mut self.receivers {
                for packet in 0..shape.packets as u64 {
                    let seq = SeqNo(self.seq.0 + packet);
                    let start = arena.len() as u32;
                    outbound.protect_rtp(seq, &header(seq), payload, arena);
                    let range = start..arena.len() as u32;
                    datagrams.push(Datagram { to: *to, range });
                }
                if arena.len() >= BATCH_BYTES {
                    flush(arena, datagrams);
                }
            }
            flush(arena, datagrams);
            self.seq.0 += shape.packets as u64;
        }
        frames * shape.packets * self.receivers.len()
    }

    /// So many pictures for the first receiver, sealed.
    pub(crate) fn record(&mut self, shape: Shape, frames: usize) -> Turns {
        let mut turns = Turns::new();
        let now = Instant::now();
        for _ in 0..frames {
            let mut turn = Vec::new();
            self.seq.0 += shape.packets as u64;
            for packet in 0..shape.packets as u64 {
                let seq = SeqNo(self.seq.0 + packet);
                let mut datagram = Vec::new();
                let payload = &self.payload[..shape.bytes - HEADER_LEN - TAG_LEN];
                let (_, outbound) = &mut self.receivers[0];
                outbound.protect_rtp(seq, &header(seq), payload, &mut datagram);
                turn.push(datagram);
            }
            turns.push((now, turn));
        }
        turns
    }

    /// Opens one datagram; an empty one ends a turn.
    pub(crate) fn open(&mut self, datagram: &mut [u8]) {
        if datagram.is_empty() {
            return;
        }
        let header = Header::parse(datagram).expect("ours");
        self.inbound.unprotect_rtp(&header, datagram).expect("ours");
    }
}

/// Sends what a reader is measured with.
pub(crate) struct Feeder {
    socket: Socket,
    to: SocketAddr,
}

impl Feeder {
    pub(crate) fn new(socket: Socket, to: SocketAddr) -> Self {
        Self { socket, to }
    }

    /// Lets `read` have all datagrams through the socket `from`, so many pictures at a time. Returns
    /// what reading one took, in microseconds.
    pub(crate) fn feed(
        &mut self,
        from: &Socket,
        mut room: RecvBatch,
        turns: &Turns,
        pictures: usize,
        mut read: impl FnMut(Instant, &mut [u8]),
    ) -> f64 {
        let (mut spent, mut packets) = (Duration::ZERO, 0);
        for turns in turns.chunks(pictures) {
            let mut left = 0;
            for (_, turn) in turns {
                self.send(turn);
                left += turn.len();
            }
            let (now, _) = turns[turns.len() - 1];
            let started = thread_time();
            while left > 0 {
                from.recv_batch(&mut room).expect("it can read");
                while let Some(datagram) = room.pop() {
                    let (_, bytes) = datagram.expect("none is too long");
                    read(now, bytes);
                    left -= 1;
                    packets += 1;
                }
            }
            read(now, &mut []);
            spent += thread_time() - started;
        }
        spent.as_secs_f64() * 1e6 / f64::from(packets)
    }

    fn send(&mut self, turn: &[Vec<u8>]) {
        let mut datagrams = Vec::new();
        let mut arena = Vec::new();
        for bytes in turn {
            let start = arena.len() as u32;
            arena.extend_from_slice(bytes);
            let range = start..arena.len() as u32;
            datagrams.push(Datagram { to: self.to, range });
        }
        self.socket.send_batch(&Batch {
            arena: &arena,
            datagrams: &datagrams,
        });
    }
}

/// Receivers that read what they are sent, on a thread of their own.
pub(crate) struct Drain {
    addresses: Vec<SocketAddr>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    pub(crate) fn new(count: usize) -> Self {
        let bind = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.set_nonblocking(true).expect("it can");
            socket
        };
        let sockets: Vec<_> = (0..count).map(bind).collect();
        let address = |socket: &UdpSocket| socket.local_addr().expect("it is bound");
        let addresses = sockets.iter().map(address).collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || drain(&sockets, &flag));
        Self {
            addresses,
            is_over,
            thread: Some(thread),
        }
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it only reads");
        }
    }
}

fn drain(sockets: &[UdpSocket], is_over: &AtomicBool) {
    let mut buffer = [0; 2_048];
    let file = |socket: &UdpSocket| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut files: Vec<_> = sockets.iter().map(file).collect();
    while !is_over.load(Ordering::Relaxed) {
        // SAFETY: the pointer leads to so many files, which nobody else borrows.
        unsafe { libc::poll(files.as_mut_ptr(), files.len() as libc::nfds_t, 100) };
        for (file, socket) in files.iter().zip(sockets) {
            if file.revents != 0 {
                while socket.recv(&mut buffer).is_ok() {}
            }
        }
    }
}
