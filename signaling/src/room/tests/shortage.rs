//! What does not fit: how much pictures matter, and who is told what is left out.

use sfu::congestion::allocation::Priority;

use super::*;
use crate::wire::proto::StreamState;

impl Client {
    /// What was said of which track.
    fn streams(&self) -> Vec<(String, String, StreamState)> {
        let mut told = Vec::new();
        for message in self.said() {
            if let Message::StreamStateUpdate(update) = message {
                let infos = update.stream_states.into_iter();
                told.extend(infos.map(|one| {
                    let state = one.state();
                    (one.participant_sid, one.track_sid, state)
                }));
            }
        }
        told
    }
}

fn importance(command: &Command) -> Option<(u8, bool)> {
    match command {
        Command::SetImportance {
            priority: Priority(priority),
            may_pause,
            ..
        } => Some((*priority, *may_pause)),
        _ => None,
    }
}

#[test]
fn a_picture_that_is_left_out_is_told_to_its_subscriber_and_no_other() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    let track = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    let subscriptions = scene.commanded(|command| match command {
        Command::Subscribe { subscription, .. } => Some(*subscription),
        _ => None,
    });
    let subscription = *subscriptions.last().expect("the nurse receives");
    let doctor_sid = scene.room.participants[&doctor.key].sid.clone();
    assert_eq!(nurse.streams(), []);
    for (is_held, state) in [(true, StreamState::Paused), (false, StreamState::Active)] {
        scene.event(EventKind::PictureHeld {
            subscription,
            is_held,
        });
        let told = (doctor_sid.clone(), track.clone(), state);
        assert_eq!(nurse.streams(), [told]);
        assert_eq!(doctor.streams(), []);
    }
    let is_held = true;
    scene.event(EventKind::PictureHeld {
        subscription,
        is_held,
    });
    nurse.said();
    scene.resume(&mut nurse);
    let told = (doctor_sid, track, StreamState::Paused);
    assert_eq!(nurse.streams(), [told], "who comes back is told again");
}

#[test]
fn what_must_be_read_matters_more_than_faces_and_what_is_ranked_more_than_both() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    let camera = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.publish(&mut doctor, TrackType::Video, TrackSource::ScreenShare);
    nurse.sections.push((TrackType::Video, "a=recvonly".into()));
    scene.commands.clear();
    scene.offer(&mut nurse);
    let mut told = scene.commanded(importance);
    told.sort_unstable();
    assert_eq!(told, [(1, true), (2, true)]);
    scene.commands.clear();
    let rank = |priority| {
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec![camera.clone()],
            priority,
            ..Default::default()
        })
    };
    scene.ask(&nurse, rank(1));
    scene.ask(&nurse, rank(1));
    scene.ask(&nurse, rank(0));
    assert_eq!(scene.commanded(importance), [(119, true), (1, true)]);
}
