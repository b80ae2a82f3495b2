//! How good connections are, and who is told.

use sfu::quality::{Quality, Rating};

use super::*;
use crate::wire::proto::ConnectionQuality;

impl Scene {
    fn rate(&mut self, client: &Client, quality: Quality, score: f32) {
        let transport = self.transport(client);
        let rating = Rating { quality, score };
        self.event(EventKind::Quality { transport, rating });
    }

    fn name_of(&self, client: &Client) -> String {
        self.room.participants[&client.key].sid.clone()
    }
}

impl Client {
    /// Whose connection was said to be how good.
    fn connections(&self) -> Vec<(String, ConnectionQuality, f32)> {
        let mut told = Vec::new();
        for message in self.said() {
            if let Message::ConnectionQuality(update) = message {
                let infos = update.updates.into_iter();
                told.extend(infos.map(|one| {
                    let quality = one.quality();
                    (one.participant_sid, quality, one.score)
                }));
            }
        }
        told
    }
}

#[test]
fn a_change_is_told_to_oneself_and_to_those_who_may_notice() {
    let mut scene = Scene::new();
    let (mut doctor, nurse) = (scene.join("wang"), scene.join("li"));
    for client in [&doctor, &nurse] {
        scene.connect(client);
    }
    let (doctor_sid, nurse_sid) = (scene.name_of(&doctor), scene.name_of(&nurse));
    doctor.said();
    assert_eq!(
        nurse.connections(),
        [(nurse_sid.clone(), ConnectionQuality::Excellent, 5.0)],
        "who sends nothing cannot be noticed"
    );
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let excellent = (doctor_sid.clone(), ConnectionQuality::Excellent, 5.0);
    assert_eq!(nurse.connections(), [excellent]);
    scene.rate(&doctor, Quality::Poor, 40.0);
    let poor = (doctor_sid, ConnectionQuality::Poor, 2.0);
    for client in [&doctor, &nurse] {
        assert_eq!(client.connections(), std::slice::from_ref(&poor));
    }
    scene.rate(&nurse, Quality::Lost, 0.0);
    assert_eq!(
        nurse.connections(),
        [(nurse_sid, ConnectionQuality::Lost, 0.0)]
    );
    assert_eq!(doctor.connections(), []);

    let student = scene.join("chen");
    student.said();
    scene.connect(&student);
    let told = student.connections();
    assert!(told.contains(&poor), "a late joiner is told: {told:?}");
}

#[test]
fn a_hidden_participant_is_told_and_not_told_of() {
    let mut scene = Scene::new();
    let nurse = scene.join("li");
    let hidden = VideoGrant {
        hidden: Some(true),
        ..VideoGrant::default()
    };
    let mut observer = scene.join_with("lu", hidden).expect("there is a place");
    scene.connect(&observer);
    scene.publish(&mut observer, TrackType::Audio, TrackSource::Microphone);
    observer.said();
    scene.rate(&observer, Quality::Good, 60.0);
    assert_eq!(observer.connections().len(), 1);
    assert_eq!(nurse.connections(), []);
}
