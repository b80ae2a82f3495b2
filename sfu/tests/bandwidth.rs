//! What fits is sent: paths that are narrow, that become narrow and wide again, and that lose packets
//! for no reason, in calls in virtual time.
#![allow(
    clippy::disallowed_methods,
    reason = "a test chooses when virtual time begins"
)]

mod sim;

use std::time::{Duration, Instant};

use sfu::congestion::allocation::Priority;
use sfu::congestion::feedback::ArrivalFeedback;
use sfu::id::SubscriptionId;
use sfu::quality::Quality;
use sfu::shard::command::Command;
use sfu::shard::event::EventKind;
use sim::Sim;
use sim::link::{Link, Narrow};

/// A rural clinic, which only watches and listens here.
const CLINIC: usize = 0;

/// A queue of common access routers.
const QUEUE: Duration = Duration::from_millis(800);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many specialists with camera and voice, and the clinic that is sent all of it. Pictures of a
/// camera have so many bytes in a packet, one packet in the smallest size, two and four in the others.
struct Consult {
    sim: Sim,
    pictures: Vec<SubscriptionId>,
}

impl Consult {
    fn new(seed: u64, specialists: usize, fillers: [usize; 3], down: Option<Narrow>) -> Self {
        Self::with(seed, specialists, fillers, down, true)
    }

    fn with(
        seed: u64,
        specialists: usize,
        fillers: [usize; 3],
        down: Option<Narrow>,
        reports: bool,
    ) -> Self {
        let mut sim = Sim::new(seed, 1);
        let room = sim.room(0);
        for _ in 0..=specialists {
            sim.join(0, room, Link::GOOD);
        }
        sim.connect();
        let now = sim.now;
        sim.clients[CLINIC].arrivals = reports.then(|| ArrivalFeedback::new(now));
        let mut tracks = Vec::new();
        for specialist in 1..=specialists {
            let camera = sim.camera(specialist, 3);
            let source = sim.clients[specialist]
                .sources
                .last_mut()
                .expect("just made");
            for (encoding, filler) in source.encodings.iter_mut().zip(fillers) {
                encoding.filler = filler;
            }
            tracks.push((camera, sim.microphone(specialist)));
        }
        // They have been talking for a while.
        sim.run(seconds(3));
        sim.clients[CLINIC].narrow = down;
        let pictures = tracks.iter().map(|&(camera, voice)| {
            let picture = sim.subscribe(CLINIC, camera);
            sim.subscribe(CLINIC, voice);
            picture
        });
        let pictures = pictures.collect();
        Self { sim, pictures }
    }

    fn may_pause(&mut self) {
        for (&subscription, priority) in self.pictures.iter().zip(0..) {
            let command = Command::SetImportance {
                subscription,
                priority: Priority(priority),
                may_pause: true,
            };
            self.sim.command(CLINIC, command);
        }
    }

    /// The share of a voice that was heard since, in percent.
    fn heard(&self, from: Instant) -> f64 {
        let span = (self.sim.now - from).as_secs_f64();
        let voices = self.sim.clients[CLINIC]
            .sinks
            .iter()
            .filter(|sink| sink.is_audio);
        let heard = voices.map(|sink| sink.shown_since(from).count() as f64 * 2.0 / span);
        heard.fold(100.0, f64::min)
    }

    /// The sizes that are shown of each camera; `None` where nothing was shown for a second.
    fn shown(&self) -> Vec<Option<u8>> {
        let lately = self.sim.now - seconds(1);
        let cameras = self.sim.clients[CLINIC]
            .sinks
            .iter()
            .filter(|sink| !sink.is_audio);
        let last = cameras.map(|sink| sink.shown_since(lately).last());
        last.map(|shown| shown.map(|one| one.truth.rank)).collect()
    }

    /// How often another size was sent since.
    fn switches(&self, from: Instant) -> usize {
        let events = self.sim.events.iter().filter(|(at, _)| *at >= from);
        let is_switch = |kind: &EventKind| matches!(kind, EventKind::LayerChanged { .. });
        events.filter(|(_, event)| is_switch(&event.kind)).count()
    }

    fn held(&self) -> Vec<(SubscriptionId, bool)> {
        let events = self.sim.events.iter();
        let held = events.filter_map(|(_, event)| match event.kind {
            EventKind::PictureHeld {
                subscription,
                is_held,
            } => Some((subscription, is_held)),
            _ => None,
        });
        held.collect()
    }

    fn estimate_kbps(&self) -> u64 {
        self.sim.stats(0).bandwidth_estimated_kbps
    }

    /// Waits until this holds; returns after how long.
    fn until(&mut self, patience: u64, holds: impl Fn(&Self) -> bool) -> Duration {
        let from = self.sim.now;
        while !holds(self) {
            self.sim.run(Duration::from_millis(100));
            let waited = self.sim.now - from;
            let (shown, estimate) = (self.shown(), self.estimate_kbps());
            assert!(waited < seconds(patience), "{shown:?}, {estimate} kbit/s");
        }
        self.sim.now - from
    }

    fn narrow(&mut self) -> &mut Narrow {
        self.sim.clients[CLINIC]
            .narrow
            .as_mut()
            .expect("it is narrow")
    }

    fn set_rate(&mut self, kbps: u64) {
        let narrow = self.narrow();
        narrow.bits_per_second = kbps * 1_000;
        narrow.longest = Duration::ZERO;
        narrow.dropped = 0;
    }
}

#[test]
fn a_thin_link_carries_every_voice_and_small_pictures() {
    let thin = Narrow::new(300, QUEUE);
    let mut consult = Consult::new(1, 3, [100, 700, 1_100], Some(thin));
    let from = consult.sim.now;
    consult.sim.run(seconds(60));
    let heard = consult.heard(from);
    assert!(heard > 99.0, "{heard} % of the worst voice");
    assert_eq!(consult.shown(), [Some(0); 3]);
    // From when the path is known on no voice waits for long.
    consult.set_rate(300);
    let from = consult.sim.now;
    consult.sim.run(seconds(60));
    let narrow = *consult.narrow();
    assert!(narrow.longest < Duration::from_millis(400), "{narrow:?}");
    assert_eq!(narrow.dropped, 0, "{narrow:?}");
    assert_eq!(consult.switches(from), 0, "nothing flaps");
}

#[test]
fn a_link_that_falls_and_recovers_is_followed_both_ways() {
    let wide = Narrow::new(2_000, QUEUE);
    let mut consult = Consult::new(2, 1, [300, 600, 1_100], Some(wide));
    consult.until(10, |consult| consult.shown() == [Some(2)]);
    consult.sim.run(seconds(10));
    let from = consult.sim.now;
    consult.set_rate(400);
    let down = consult.until(3, |consult| {
        let shown = consult.sim.clients[CLINIC].sinks[0].shown.last();
        shown.is_some_and(|shown| shown.truth.rank < 2)
    });
    assert!(down < Duration::from_millis(2_500), "down after {down:?}");
    consult.sim.run(seconds(30) - down);
    let heard = consult.heard(from);
    assert!(heard > 97.0, "{heard} % while it fell");
    let from = consult.sim.now;
    consult.sim.run(seconds(30));
    let heard = consult.heard(from);
    assert!(heard > 99.0, "{heard} % while it was narrow");
    assert!(consult.shown()[0].is_some_and(|rank| rank < 2));

    consult.set_rate(2_000);
    let up = consult.until(20, |consult| consult.shown() == [Some(2)]);
    consult.sim.run(seconds(20));
    assert_eq!(consult.shown(), [Some(2)], "it stays, back after {up:?}");
}

#[test]
fn what_does_not_fit_at_all_is_told_and_comes_back() {
    let thin = Narrow::new(260, QUEUE);
    let mut consult = Consult::new(3, 3, [300, 700, 1_100], Some(thin));
    consult.may_pause();
    consult.sim.run(seconds(30));
    let from = consult.sim.now;
    consult.sim.run(seconds(30));
    let shown = consult.shown();
    assert_eq!(shown[2], Some(0), "what matters most: {shown:?}");
    assert_eq!(shown[0], None, "what matters least: {shown:?}");
    let heard = consult.heard(from);
    assert!(heard > 99.0, "{heard} %");
    let told = consult.held();
    assert!(told.contains(&(consult.pictures[0], true)), "{told:?}");
    let clinic = consult.sim.clients[CLINIC].peer.id();
    let is_poor = |kind: &EventKind| {
        matches!(kind, EventKind::Quality { transport, rating }
            if *transport == clinic && rating.quality == Quality::Poor)
    };
    assert!(
        consult.sim.happened(is_poor),
        "its connection is called poor"
    );
    assert!(consult.sim.stats(0).pictures_held > 0);

    consult.set_rate(5_000);
    let back = consult.until(30, |consult| consult.shown() == [Some(2); 3]);
    for &picture in &consult.pictures {
        let last = consult.held().into_iter().rfind(|(one, _)| *one == picture);
        assert_ne!(
            last,
            Some((picture, true)),
            "told again, back after {back:?}"
        );
    }
    assert_eq!(consult.sim.stats(0).pictures_held, 0);
}

#[test]
fn losses_of_the_wire_are_no_reason_to_send_less() {
    let wide = Narrow::new(4_000, QUEUE);
    let mut consult = Consult::new(4, 1, [300, 600, 1_100], Some(wide));
    consult.until(10, |consult| consult.shown() == [Some(2)]);
    consult.sim.clients[CLINIC].link = Link::lossy(5);
    consult.sim.run(seconds(60));
    assert!(
        consult.sim.clients[CLINIC].down.lost > 100,
        "really injected"
    );
    let estimate = consult.estimate_kbps();
    assert!(estimate > 1_000, "{estimate} kbit/s");
    let stats = consult.sim.stats(0);
    assert_eq!((stats.pictures_lowered, stats.pictures_held), (0, 0));
    // Even many, once it has shown that sending less does not help.
    consult.sim.clients[CLINIC].link = Link::lossy(20);
    consult.sim.run(seconds(60));
    let estimate = consult.estimate_kbps();
    assert!(estimate > 300, "{estimate} kbit/s");
}

#[test]
fn jitter_is_no_reason_to_send_less() {
    let mut consult = Consult::new(5, 2, [300, 600, 1_100], None);
    consult.until(10, |consult| consult.shown() == [Some(2); 2]);
    consult.sim.clients[CLINIC].link = Link {
        reorder: 30,
        ..Link::GOOD
    };
    consult.sim.run(seconds(60));
    let stats = consult.sim.stats(0);
    assert_eq!((stats.pictures_lowered, stats.pictures_held), (0, 0));
    assert!(consult.sim.clients[CLINIC].down.held_back > 1_000);
}

#[test]
fn who_reports_nothing_is_sent_what_it_wishes() {
    let mut consult = Consult::with(6, 3, [300, 600, 1_100], None, false);
    consult.sim.run(seconds(5));
    assert_eq!(consult.shown(), [Some(2); 3]);
    let stats = consult.sim.stats(0);
    assert_eq!((stats.bandwidth_estimates, stats.probes), (0, 0));
}

#[test]
fn probing_ends_when_everything_is_sent_that_is_wished() {
    let mut consult = Consult::new(7, 2, [300, 600, 1_100], None);
    let up = consult.until(10, |consult| consult.shown() == [Some(2); 2]);
    assert!(up < seconds(8), "after {up:?}");
    consult.sim.run(seconds(5));
    let before = consult.sim.stats(0);
    assert!(before.probes > 0 && before.probe_packets_out > 0);
    assert!(consult.sim.clients[CLINIC].padding > 0);
    consult.sim.run(seconds(60));
    let after = consult.sim.stats(0);
    assert_eq!(after.probe_packets_out, before.probe_packets_out);
    assert_eq!(consult.sim.repeated, 0, "every number is used once");
}
