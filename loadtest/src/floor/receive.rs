//! The bare receiver: takes batches from one socket and opens every packet in place.
//!
//! The same thread first sends a burst (not counted), then takes it out of the socket (counted):
//! loopback delivers synchronously, so the counted part is the way from the socket's queue to
//! plaintext and nothing else. Waking up and interrupts are part of the fan-out cases instead.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Sample;
use super::cipher::{Cipher, Profile, write_header};
use crate::sys::{self, Message, Receiver, Sender};

/// One case of the receiving floor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiveCase {
    /// Packets per burst, and messages in one `recvmmsg`.
    pub(crate) batch: usize,
    /// How many of them arrive as one train (UDP GRO), 1 for none.
    pub(crate) train: usize,
    /// RTP packet before protection.
    pub(crate) packet_size: usize,
    /// Protection.
    pub(crate) profile: Profile,
}

/// The receiver of one case with the sender that feeds it.
pub(crate) struct BareReceiver {
    case: ReceiveCase,
    sockets: (UdpSocket, UdpSocket),
    cipher: Cipher,
    receiver: Receiver,
    sender: Sender,
    arena: Vec<u8>,
    counter: u32,
}

impl BareReceiver {
    /// Keys once, binds once.
    pub(crate) fn new(case: ReceiveCase) -> Result<Self> {
        let wire = case.packet_size + case.profile.overhead();
        let from = UdpSocket::bind("127.0.0.1:0").context("binding the feeder")?;
        let to = super::send::bind_receiver()?;
        from.connect(to.local_addr()?)?;
        let size = if case.train > 1 { 65_535 } else { 2_048 };
        Ok(Self {
            case,
            sockets: (from, to),
            cipher: Cipher::new(case.profile, 1),
            receiver: Receiver::new(case.batch, size),
            sender: Sender::new(case.batch),
            arena: vec![0x22; wire * case.batch],
            counter: 0,
        })
    }

    /// Feeds and takes bursts for `length`.
    pub(crate) fn round(&mut self, length: Duration) -> Result<Sample> {
        let (start, mut sample) = (Instant::now(), Sample::default());
        while start.elapsed() < length {
            let fed = self.feed()?;
            let earlier = sys::thread_cpu();
            let opened = self.take(fed)?;
            sample.cpu += sys::thread_cpu() - earlier;
            sample.packets += opened;
            sample.lost += fed - opened;
        }
        Ok(sample)
    }

    fn feed(&mut self) -> Result<u64> {
        let wire = self.case.packet_size + self.case.profile.overhead();
        for packet in self.arena.chunks_mut(wire) {
            self.counter = self.counter.wrapping_add(1);
            write_header(packet, 96, 1, self.counter);
            self.cipher.seal(packet);
        }
        let train = wire * self.case.train;
        let segment = if self.case.train > 1 { wire as u16 } else { 0 };
        let len = self.arena.len();
        let messages: Vec<Message> = (0..len)
            .step_by(train)
            .map(|at| Message {
                to: None,
                range: at..(at + train).min(len),
                segment,
            })
            .collect();
        let mut done = 0;
        while done < messages.len() {
            done += self
                .sender
                .send(self.sockets.0.as_fd(), &self.arena, &messages[done..])?;
        }
        Ok(self.case.batch as u64)
    }

    fn take(&mut self, fed: u64) -> Result<u64> {
        let mut opened = 0;
        while opened < fed {
            let count = self.receiver.recv(self.sockets.1.as_fd())?;
            if count == 0 {
                break;
            }
            for i in 0..count {
                let Some(message) = self.receiver.message(i) else {
                    continue;
                };
                for packet in message.bytes.chunks_mut(message.segment.max(1)) {
                    opened += u64::from(self.cipher.open(packet).is_some());
                }
            }
        }
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_fed_is_opened_alone_and_in_trains() {
        for train in [1, 8] {
            let profile = Profile::Aes128Gcm;
            let case = ReceiveCase {
                batch: 32,
                train,
                packet_size: 600,
                profile,
            };
            let mut receiver = BareReceiver::new(case).expect("loopback");
            let sample = receiver.round(Duration::from_millis(5)).expect("received");
            assert!(sample.packets >= 32);
            assert_eq!(sample.lost, 0);
        }
    }
}
