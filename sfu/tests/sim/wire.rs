//! Real sockets between simulated shards and clients: what a shard sends crosses the kernel, joined
//! into runs or one by one, and what arrives is what the clients get. Time stays virtual.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use sfu::config::Segmentation;
use sfu::net::udp::{RecvBatch, Sent, Socket};
use sfu::shard::{Batch, Datagram};

/// Loopback delivers within a system call; on a busy machine somewhat later.
const PATIENCE: Duration = Duration::from_secs(10);

/// One sending socket and one for each receiver.
pub(crate) struct Wire {
    sender: Socket,
    segmentation: Segmentation,
    receivers: HashMap<SocketAddr, (Socket, RecvBatch)>,
    /// What has become of everything.
    pub(crate) sent: Sent,
}

impl Wire {
    pub(crate) fn new(segmentation: Segmentation) -> Self {
        Self {
            sender: socket(segmentation),
            segmentation,
            receivers: HashMap::new(),
            sent: Sent::default(),
        }
    }

    /// Sends a batch and returns what arrived, receiver by receiver in the order of the batch.
    pub(crate) fn carry(&mut self, batch: &Batch<'_>) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut expected = Vec::<(SocketAddr, usize)>::new();
        let mut datagrams = Vec::new();
        for datagram in batch.datagrams {
            match expected.last_mut() {
                Some((to, count)) if *to == datagram.to => *count += 1,
                _ => expected.push((datagram.to, 1)),
            }
            let receiver = self.receivers.entry(datagram.to).or_insert_with(|| {
                let socket = socket(self.segmentation);
                let room = socket.recv_room(64);
                (socket, room)
            });
            datagrams.push(Datagram {
                to: receiver.0.local_address(),
                range: datagram.range.clone(),
            });
        }
        let sent = self.sender.send_batch(&Batch {
            arena: batch.arena,
            datagrams: &datagrams,
        });
        assert_eq!(sent.datagrams as usize, datagrams.len(), "all are taken");
        self.sent.datagrams += sent.datagrams;
        self.sent.runs += sent.runs;
        let mut arrived = Vec::new();
        for (to, count) in expected {
            let (socket, room) = self.receivers.get_mut(&to).expect("made above");
            for bytes in receive(socket, room, count) {
                arrived.push((to, bytes));
            }
        }
        arrived
    }
}

fn receive(socket: &Socket, room: &mut RecvBatch, count: usize) -> Vec<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let mut arrived = Vec::new();
    while arrived.len() < count {
        match room.pop() {
            Some(datagram) => arrived.push(datagram.expect("none is too long").1.to_vec()),
            None => {
                socket.recv_batch(room).expect("it can read");
                assert!(Instant::now() < until, "what was sent arrives");
            }
        }
    }
    arrived
}

fn socket(segmentation: Segmentation) -> Socket {
    Socket::bind((Ipv4Addr::LOCALHOST, 0).into(), segmentation, 16).expect("a free port")
}
