//! Plans: calls in virtual time, each named by what a participant would notice.
//!
//! Seeds are committed; a seed that found a bug stays. Every plan looks at every participant and
//! shows that the fault it is about was really injected.
#![allow(
    clippy::disallowed_methods,
    reason = "a test chooses when virtual time begins"
)]

mod sim;

use std::time::Duration;

use sim::Sim;
use sim::link::Link;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn two_participants_see_and_hear_each_other() {
    let mut sim = Sim::new(1, 1);
    let room = sim.room(0);
    let people: Vec<_> = (0..2).map(|_| sim.join(0, room, Link::GOOD)).collect();
    let tracks: Vec<_> = people
        .iter()
        .map(|&person| (sim.camera(person, 1), sim.microphone(person)))
        .collect();
    for &person in &people {
        let (camera, microphone) = tracks[1 - person];
        sim.subscribe(person, camera);
        sim.subscribe(person, microphone);
    }
    sim.connect();
    sim.run(seconds(10));
    for &person in &people {
        let client = &sim.clients[person];
        let (pictures, sounds) = (&client.sinks[0], &client.sinks[1]);
        assert!(pictures.shown.len() > 280, "{}", pictures.shown.len());
        assert!(sounds.shown.len() > 480, "{}", sounds.shown.len());
        assert!(client.asked.arrival_reports > 50);
        assert!(client.asked.receiver_reports > 10);
        assert!(pictures.reports.len() >= 7, "sender reports arrive");
        assert_eq!(client.strangers, 0);
    }
}
