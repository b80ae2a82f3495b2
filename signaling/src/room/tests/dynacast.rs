//! Who looks at which picture, and what its publisher is told to send.

use super::*;
use crate::wire::proto::{UpdateSubscription, UpdateTrackSettings, VideoLayer, VideoQuality};

impl Scene {
    /// A camera in three sizes.
    pub(super) fn show(&mut self, client: &mut Client) -> String {
        let cid = format!("cid-{}", client.sections.len());
        let sizes = [(320, 180), (640, 360), (1280, 720)];
        let layers = sizes
            .iter()
            .zip(0..)
            .map(|(&(width, height), quality)| VideoLayer {
                quality,
                width,
                height,
                ..Default::default()
            });
        let request = AddTrackRequest {
            cid: cid.clone(),
            r#type: TrackType::Video as i32,
            source: TrackSource::Camera as i32,
            layers: layers.collect(),
            ..Default::default()
        };
        self.ask(client, Asked::AddTrack(request));
        let published = client.said().into_iter().find_map(|message| match message {
            Message::TrackPublished(published) => published.track,
            _ => None,
        });
        let section = format!(
            "a=sendonly\r\na=msid:- {cid}\r\na=rid:q send\r\na=rid:h send\r\na=rid:f send\r\n\
             a=simulcast:send q;h;f"
        );
        client.sections.push((TrackType::Video, section));
        self.offer(client);
        published.expect("the track was accepted").sid
    }

    pub(super) fn look(&mut self, client: &Client, track: &str, settings: &UpdateTrackSettings) {
        let track_sids = vec![track.to_owned()];
        self.ask(
            client,
            Asked::TrackSetting(UpdateTrackSettings {
                track_sids,
                ..settings.clone()
            }),
        );
    }

    /// Ten seconds, and what the publisher was told in them.
    pub(super) fn told_in_time(&mut self, publisher: &Client) -> Vec<[bool; 3]> {
        for _ in 0..40 {
            self.wait(Duration::from_millis(250));
        }
        publisher.qualities()
    }
}

impl Client {
    /// What is wanted of LOW, MEDIUM and HIGH, each time it was said.
    fn qualities(&self) -> Vec<[bool; 3]> {
        let mut told = Vec::new();
        for message in self.said() {
            let Message::SubscribedQualityUpdate(update) = message else {
                continue;
            };
            assert_eq!(update.subscribed_codecs.len(), 1);
            let codec = &update.subscribed_codecs[0];
            assert_eq!(codec.codec, "vp8", "as clients call it");
            #[expect(deprecated, reason = "what older clients read")]
            let older = &update.subscribed_qualities;
            assert_eq!(older, &codec.qualities);
            let enabled = [0, 1, 2].map(|quality| {
                let mut all = codec.qualities.iter();
                all.any(|one| one.quality == quality && one.enabled)
            });
            told.push(enabled);
        }
        told
    }
}

fn small() -> UpdateTrackSettings {
    UpdateTrackSettings {
        width: 300,
        height: 150,
        ..Default::default()
    }
}

fn high() -> UpdateTrackSettings {
    UpdateTrackSettings {
        quality: VideoQuality::High as i32,
        ..Default::default()
    }
}

fn nothing() -> UpdateTrackSettings {
    UpdateTrackSettings {
        disabled: true,
        ..Default::default()
    }
}

#[test]
fn what_nobody_looks_at_is_not_asked_for_and_comes_back_at_once() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let track = scene.show(&mut doctor);
    let told = scene.told_in_time(&doctor);
    assert_eq!(told, [[false, false, false]], "nobody is here");

    let nurse = scene.join("li");
    assert_eq!(doctor.qualities(), [[true, true, true]], "with the join");
    scene.look(&nurse, &track, &small());
    assert_eq!(doctor.qualities(), [] as [[bool; 3]; 0], "not at once");
    assert_eq!(scene.told_in_time(&doctor), [[true, false, false]]);
    scene.look(&nurse, &track, &high());
    assert_eq!(doctor.qualities(), [[true, true, true]], "at once");
    scene.look(&nurse, &track, &nothing());
    assert_eq!(scene.told_in_time(&doctor), [[false, false, false]]);
}

#[test]
fn the_most_demanding_of_all_subscribers_counts() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let (nurse, student) = (scene.join("li"), scene.join("chen"));
    let track = scene.show(&mut doctor);
    scene.look(&nurse, &track, &small());
    scene.look(&student, &track, &high());
    assert!(scene.told_in_time(&doctor).is_empty(), "one wants it all");
    let unsubscribe = UpdateSubscription {
        track_sids: vec![track.clone()],
        subscribe: false,
        ..Default::default()
    };
    scene.ask(&student, Asked::Subscription(unsubscribe));
    assert_eq!(scene.told_in_time(&doctor), [[true, false, false]]);
    let reason = DisconnectReason::ClientInitiated;
    scene
        .room
        .remove(scene.now, nurse.key, Removal::gone(reason));
    assert_eq!(scene.told_in_time(&doctor), [[false, false, false]]);
}

#[test]
fn who_may_not_receive_wants_nothing() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let _nurse = scene.join("li");
    scene.show(&mut doctor);
    assert!(scene.told_in_time(&doctor).is_empty());
    let nobody = proto::SubscriptionPermission::default();
    scene.ask(&doctor, Asked::SubscriptionPermission(nobody));
    assert_eq!(scene.told_in_time(&doctor), [[false, false, false]]);
}

#[test]
fn what_is_recorded_is_wanted_in_full() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    scene.show(&mut doctor);
    let participant = scene.room.participants.get_mut(&doctor.key);
    participant.expect("he is here").gate = crate::room::recording::Gate::Open;
    assert!(scene.told_in_time(&doctor).is_empty());
    let participant = scene.room.participants.get_mut(&doctor.key);
    participant.expect("he is here").gate = crate::room::recording::Gate::Closed;
    assert_eq!(scene.told_in_time(&doctor), [[false, false, false]]);
}
