//! The sockets around two links: clients on one side, one server address on the other.
//!
//! Works like an address translator: the first datagram of a client address opens a socket of its
//! own towards the server, so the server tells clients apart and answers find their way back.
//! Each direction of each client is a link of its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::link::{Link, LinkConfig, LinkCounts};
use crate::sys::{Alarm, Poll, Receiver};

/// Client addresses served at a time; further ones get no answer. One needs a socket.
const CLIENTS_MAX: usize = 4_000;
/// Datagrams on their way at a time: 100,000 of 1,200 bytes are 120 MB, a second of a gigabit.
const IN_FLIGHT_MAX: usize = 100_000;
/// The longest datagram passed on; media and handshakes stay below 1,500.
const DATAGRAM_MAX: usize = 2_048;

const LISTENER: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

/// A datagram on its way, ordered by departure, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    departure: Duration,
    order: u64,
    client: usize,
    upwards: bool,
    bytes: Box<[u8]>,
}

struct Client {
    address: SocketAddr,
    socket: UdpSocket,
    up: Link,
    down: Link,
}

/// What went through, all clients together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Passed {
    /// Client addresses seen.
    pub(crate) clients: usize,
    /// From clients to the server.
    pub(crate) up: LinkCounts,
    /// From the server to clients.
    pub(crate) down: LinkCounts,
    /// Not taken because a bound of the relay itself was reached.
    pub(crate) refused: u64,
    /// The kernel did not take them.
    pub(crate) unsent: u64,
}

/// The relay.
pub(crate) struct ImpairRelay {
    listener: UdpSocket,
    server: SocketAddr,
    up: LinkConfig,
    down: LinkConfig,
    seed: u64,
    epoch: Instant,
    clients: Vec<Client>,
    by_address: HashMap<SocketAddr, usize>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    order: u64,
    poll: Poll,
    alarm: Alarm,
    receiver: Receiver,
    refused: u64,
    unsent: u64,
}

impl ImpairRelay {
    /// Listens on `listen` for clients of `server`.
    pub(crate) fn bind(
        listen: SocketAddr,
        server: SocketAddr,
        up: LinkConfig,
        down: LinkConfig,
        seed: u64,
    ) -> Result<Self> {
        let listener = UdpSocket::bind(listen).with_context(|| format!("binding {listen}"))?;
        socket2::SockRef::from(&listener).set_recv_buffer_size(4 << 20)?;
        let (poll, alarm) = (Poll::new(64)?, Alarm::new()?);
        poll.add(listener.as_fd(), LISTENER)?;
        poll.add(alarm.as_fd(), ALARM)?;
        Ok(Self {
            listener,
            server,
            up,
            down,
            seed,
            epoch: Instant::now(),
            clients: Vec::new(),
            by_address: HashMap::new(),
            in_flight: BinaryHeap::new(),
            order: 0,
            poll,
            alarm,
            receiver: Receiver::new(32, DATAGRAM_MAX),
            refused: 0,
            unsent: 0,
        })
    }

    /// Where clients send to.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What went through so far.
    pub(crate) fn passed(&self) -> Passed {
        let mut passed = Passed {
            clients: self.clients.len(),
            refused: self.refused,
            unsent: self.unsent,
            ..Passed::default()
        };
        for client in &self.clients {
            add(&mut passed.up, client.up.counts());
            add(&mut passed.down, client.down.counts());
        }
        passed
    }

    /// One wait of at most `timeout`, and all that it brought.
    pub(crate) fn turn(&mut self, timeout: Duration) -> Result<()> {
        if let Some(Reverse(first)) = self.in_flight.peek() {
            self.alarm
                .set(first.departure.saturating_sub(self.epoch.elapsed()))?;
        }
        for ready in 0..self.poll.wait(Some(timeout))? {
            match self.poll.token(ready) {
                ALARM => {}
                LISTENER => self.take_from_clients()?,
                token => self.take_from_server(token as usize)?,
            }
        }
        self.deliver();
        Ok(())
    }

    fn take_from_clients(&mut self) -> Result<()> {
        let now = self.epoch.elapsed();
        for i in 0..self.receiver.recv(self.listener.as_fd())? {
            let Some(message) = self.receiver.message(i) else {
                continue;
            };
            let (from, bytes) = (message.from, Box::<[u8]>::from(&*message.bytes));
            match self.client(from)? {
                Some(client) => self.enqueue(now, client, true, &bytes),
                None => self.refused += 1,
            }
        }
        Ok(())
    }

    fn take_from_server(&mut self, client: usize) -> Result<()> {
        let now = self.epoch.elapsed();
        // A closed port at the server shows up here as an error of the connected socket: the
        // datagram it answers to is lost, as on any network.
        let count = self
            .receiver
            .recv(self.clients[client].socket.as_fd())
            .unwrap_or(0);
        for i in 0..count {
            let Some(message) = self.receiver.message(i) else {
                continue;
            };
            let bytes = Box::<[u8]>::from(&*message.bytes);
            self.enqueue(now, client, false, &bytes);
        }
        Ok(())
    }

    fn client(&mut self, address: SocketAddr) -> Result<Option<usize>> {
        if let Some(&client) = self.by_address.get(&address) {
            return Ok(Some(client));
        }
        if self.clients.len() >= CLIENTS_MAX {
            return Ok(None);
        }
        let any = if self.server.is_ipv4() {
            "0.0.0.0"
        } else {
            "::"
        };
        let socket = UdpSocket::bind((any, 0)).context("binding a client's socket")?;
        socket
            .connect(self.server)
            .context("connecting to the server")?;
        let client = self.clients.len();
        self.poll.add(socket.as_fd(), client as u64)?;
        // Every direction of every client has a seed of its own, in the order of their arrival.
        let seed = self.seed.wrapping_add(client as u64 * 2);
        let (up, down) = (
            Link::new(self.up, seed),
            Link::new(self.down, seed.wrapping_add(1)),
        );
        self.clients.push(Client {
            address,
            socket,
            up,
            down,
        });
        self.by_address.insert(address, client);
        Ok(Some(client))
    }

    fn enqueue(&mut self, now: Duration, client: usize, upwards: bool, bytes: &[u8]) {
        let Client { up, down, .. } = &mut self.clients[client];
        let link = if upwards { up } else { down };
        for departure in link.decide(now, bytes.len()).into_iter().flatten() {
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                self.refused += 1;
                continue;
            }
            self.order += 1;
            let (order, bytes) = (self.order, Box::from(bytes));
            self.in_flight.push(Reverse(InFlight {
                departure,
                order,
                client,
                upwards,
                bytes,
            }));
        }
    }

    fn deliver(&mut self) {
        let now = self.epoch.elapsed();
        while self
            .in_flight
            .peek()
            .is_some_and(|Reverse(first)| first.departure <= now)
        {
            let Some(Reverse(datagram)) = self.in_flight.pop() else {
                break;
            };
            let client = &self.clients[datagram.client];
            let sent = if datagram.upwards {
                client.socket.send(&datagram.bytes)
            } else {
                self.listener.send_to(&datagram.bytes, client.address)
            };
            self.unsent += u64::from(sent.is_err());
        }
    }
}

fn add(sum: &mut LinkCounts, counts: LinkCounts) {
    sum.offered += counts.offered;
    sum.lost += counts.lost;
    sum.lost_in_bursts += counts.lost_in_bursts;
    sum.dropped_by_queue += counts.dropped_by_queue;
    sum.reordered += counts.reordered;
    sum.duplicated += counts.duplicated;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A server that sends every datagram back, behind a relay; both end with the test.
    fn echo_behind(up: LinkConfig, down: LinkConfig) -> (SocketAddr, Arc<AtomicBool>) {
        let server = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let local = "127.0.0.1:0".parse().expect("address");
        let address = server.local_addr().expect("address");
        let mut relay = ImpairRelay::bind(local, address, up, down, 1).expect("relay");
        let listen = relay.address().expect("address");
        let stop = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    relay.turn(Duration::from_millis(5)).expect("turn");
                }
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while let Ok((len, from)) = server.recv_from(&mut buffer) {
                if server.send_to(&buffer[..len], from).is_err() {
                    break;
                }
            }
        });
        (listen, stop)
    }

    #[test]
    fn two_clients_get_their_own_answers_after_the_delay_of_both_directions() {
        let config = LinkConfig {
            delay: Duration::from_millis(15),
            ..Default::default()
        };
        let (relay, stop) = echo_behind(config, config);
        let clients: Vec<UdpSocket> = (0..2)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
                socket
                    .set_read_timeout(Some(Duration::from_secs(5)))
                    .expect("timeout");
                socket.connect(relay).expect("connect");
                socket
            })
            .collect();
        let start = Instant::now();
        for (i, client) in clients.iter().enumerate() {
            client.send(&[i as u8; 40]).expect("send");
        }
        for (i, client) in clients.iter().enumerate() {
            let mut buffer = [0; 100];
            assert_eq!(client.recv(&mut buffer).expect("answer"), 40);
            assert_eq!(buffer[..40], [i as u8; 40]);
        }
        assert!(start.elapsed() >= Duration::from_millis(30));
        stop.store(true, Ordering::Relaxed);
    }

    #[test]
    fn a_direction_that_loses_everything_is_silent() {
        let (relay, stop) = echo_behind(
            LinkConfig::default(),
            LinkConfig {
                loss: 1.0,
                ..Default::default()
            },
        );
        let client = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        client
            .set_read_timeout(Some(Duration::from_millis(60)))
            .expect("timeout");
        client.send_to(b"hello", relay).expect("send");
        assert!(client.recv(&mut [0; 16]).is_err());
        stop.store(true, Ordering::Relaxed);
    }
}
