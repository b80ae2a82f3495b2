//! A call in a shard with real keys: one publisher, many receivers, and what the publisher sends.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu::config::Limits;
use sfu::shard::command::Command;
use sfu::shard::{Batch, Output};
use sfu::tap::{PICTURE_MAX, TapMemory, TapReader, tap};

use crate::sim::Sim;
use crate::sim::link::Link;

/// What is sent: pictures in VP8 or sound in Opus, how many packets at once, and how long each is
/// when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    is_sound: bool,
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

impl Shape {
    pub(crate) const SOUND: Self = Self {
        is_sound: true,
        packets: 1,
        bytes: 160,
    };

    pub(crate) const fn video(packets: usize) -> Self {
        Self {
            is_sound: false,
            packets,
            bytes: 1_200,
        }
    }

    /// The most that it may cost, as a multiple of the floor.
    pub(crate) fn limit(self) -> f64 {
        match self.packets {
            1 if self.is_sound => 1.25,
            1 => 1.2,
            4 => 1.3,
            _ => 1.35,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_sound {
            true => write!(f, "sound of {} B", self.bytes),
            false => write!(f, "{} B, runs of {}", self.bytes, self.packets),
        }
    }
}

/// What arrives from the publisher, turn by turn.
pub(crate) type Turns = Vec<(Instant, Vec<Vec<u8>>)>;

/// Header, extensions, descriptor, truth and tag of the pictures that leave.
const AROUND_PICTURE: usize = 67;
/// Header, extensions, truth and tag of the sound that leaves.
const AROUND_SOUND: usize = 60;

pub(crate) struct Call {
    sim: Sim,
    from: SocketAddr,
}

impl Call {
    /// Receivers at these addresses are sent a track of each shape.
    pub(crate) fn new(receivers: &[SocketAddr], shapes: &[Shape]) -> Self {
        let mut sim = Sim::new(3, 1);
        let room = sim.room(0);
        let publisher = sim.join(0, room, Link::GOOD);
        for &address in receivers {
            sim.join_from(address, 0, room, Link::GOOD);
        }
        sim.connect();
        for shape in shapes {
            let track = match shape.is_sound {
                true => sim.sound(publisher, shape.bytes - AROUND_SOUND),
                false => {
                    let filler = shape.bytes - AROUND_PICTURE;
                    sim.stream(publisher, shape.packets as u8, filler)
                }
            };
            for receiver in 1..=receivers.len() {
                sim.subscribe(receiver, track);
            }
        }
        // Until everybody has had a keyframe.
        sim.run(Duration::from_millis(300));
        let from = sim.clients[publisher].peer.address();
        let mut call = Self { sim, from };
        for (track, shape) in shapes.iter().enumerate() {
            let mut turns = call.record(track, 1);
            call.play(&mut turns, |batch| {
                let longest = batch.iter().map(|(_, bytes)| bytes.len()).max();
                // But for the names of sections, whose length depends on how many there are.
                let differs = longest.map(|bytes| bytes.abs_diff(shape.bytes));
                assert!(differs.is_some_and(|by| by <= 4), "{shape}: {longest:?}");
            });
        }
        call
    }

    /// Records what the publisher sends from now on.
    pub(crate) fn attach_tap(&mut self) -> TapReader {
        let memory = TapMemory::new(&Limits::default());
        let (tap, reader) = tap(self.sim.now, &memory.recording()).expect("memory");
        let transport = self.sim.clients[0].peer.id();
        let is_open = true;
        self.sim
            .command(0, Command::SetTapGate { transport, is_open });
        let attach = Command::AttachTap {
            tap: Box::new(tap),
            picture_max: PICTURE_MAX,
        };
        self.sim.command(0, attach);
        self.sim.run(Duration::from_millis(300));
        reader
    }

    /// So many pictures of one track.
    pub(crate) fn record(&mut self, track: usize, frames: usize) -> Turns {
        let never = self.sim.now + Duration::from_secs(3600);
        let publisher = &mut self.sim.clients[0];
        for (index, source) in publisher.sources.iter_mut().enumerate() {
            source.next = if index == track { self.sim.now } else { never };
        }
        let mut turns = Turns::new();
        while turns.len() < frames {
            self.sim.now = publisher.sources[track].next;
            publisher.handle_timeout(self.sim.start, self.sim.now);
            let sent = std::iter::from_fn(|| publisher.peer.poll_transmit());
            let is_media = |bytes: &Vec<u8>| matches!(bytes[..], [128..=191, 0..=191 | 224.., ..]);
            let media = sent.map(|(_, bytes)| bytes).filter(is_media).collect();
            turns.push((self.sim.now, media));
        }
        turns
    }

    /// Forwards turn by turn. Returns how many packets left.
    pub(crate) fn play(&mut self, turns: &mut Turns, mut send: impl FnMut(&Batch<'_>)) -> usize {
        let shard = &mut self.sim.shards[0];
        let mut sent = 0;
        for (now, datagrams) in turns {
            for datagram in datagrams {
                shard.handle_datagram(*now, self.from, datagram);
            }
            loop {
                match shard.poll_output(*now) {
                    Output::Transmit(batch) => {
                        sent += batch.datagrams.len();
                        send(&batch);
                    }
                    Output::Relay(_) | Output::Event(_) => {}
                    Output::Timeout(_) => break,
                }
            }
        }
        sent
    }

    /// Takes datagrams of the publisher; an empty one ends a turn.
    pub(crate) fn take(&mut self, now: Instant, datagram: &mut [u8]) {
        let shard = &mut self.sim.shards[0];
        if datagram.is_empty() {
            while !matches!(shard.poll_output(now), Output::Timeout(_)) {}
        } else {
            shard.handle_datagram(now, self.from, datagram);
        }
    }
}
