//! What is published, who may receive it, and what is said about it.

use super::*;

#[test]
fn a_track_is_published_and_received_in_a_free_slot() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    nurse.said();
    let track = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    let said = nurse.said();
    let seen = updates(&said).pop().expect("the others are told");
    assert_eq!(seen.tracks[0].sid, track);
    assert_eq!(seen.tracks[0].mime_type, "video/VP8");
    assert!(seen.is_publisher);
    assert_eq!(requirement(&said), Some((0, 0)), "a free slot will do");
    scene.commands.clear();
    scene.offer(&mut nurse);
    let answer = nurse.answer();
    assert_eq!(answer.mid_to_track_id["1"], track);
    let doctor_sid = scene.room.participants[&doctor.key].sid.clone();
    assert!(
        answer
            .sdp
            .contains(&format!("a=msid:{doctor_sid}|camera {track}"))
    );
    assert_eq!(scene.commanded(subscribed).len(), 1);
    let told = doctor.said();
    assert!(
        told.iter()
            .any(|m| matches!(m, Message::TrackSubscribed(one) if one.track_sid == track))
    );
    // Every later answer carries the whole list, and the media plane is not told twice.
    scene.offer(&mut nurse);
    assert_eq!(nurse.answer().mid_to_track_id["1"], track);
    assert_eq!(scene.commanded(subscribed), []);
}

#[test]
fn a_late_joiner_gets_what_is_there_with_its_first_answer() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let track = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.commands.clear();
    let nurse = scene.join("li");
    let answer = nurse.answer();
    assert_eq!(answer.mid_to_track_id["0"], track);
    assert_eq!(scene.commanded(subscribed).len(), 1);
}

#[test]
fn without_a_free_slot_the_client_is_asked_for_one() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    nurse.said();
    let screen = scene.publish(&mut doctor, TrackType::Video, TrackSource::ScreenShare);
    assert_eq!(requirement(&nurse.said()), Some((0, 1)));
    nurse.sections.push((TrackType::Video, "a=recvonly".into()));
    scene.offer(&mut nurse);
    assert_eq!(nurse.answer().mid_to_track_id["2"], screen);
}

#[test]
fn a_mute_stops_forwarding_and_is_told() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let nurse = scene.join("li");
    let sid = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    nurse.said();
    scene.commands.clear();
    let mute = |muted| MuteTrackRequest {
        sid: sid.clone(),
        muted,
    };
    scene.ask(&doctor, Asked::Mute(mute(true)));
    let commands = scene.commanded(|command| match command {
        Command::SetMuted { muted, .. } => Some(*muted),
        _ => None,
    });
    assert_eq!(commands, [true]);
    assert!(updates(&nurse.said())[0].tracks[0].muted);
    let unknown = MuteTrackRequest {
        sid: "TR_x".into(),
        muted: true,
    };
    scene.ask(&doctor, Asked::Mute(unknown));
    assert_eq!(doctor.refusal(), Some(Reason::NotFound));
}

#[test]
fn an_unpublished_track_disappears_everywhere() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    nurse.said();
    scene.commands.clear();
    doctor.sections[2].1 = "a=inactive".into();
    scene.offer(&mut doctor);
    let said = nurse.said();
    assert!(updates(&said)[0].tracks.is_empty());
    assert_eq!(requirement(&said), Some((0, 0)));
    let ended = scene.commanded(|command| match command {
        Command::Unpublish { .. } => Some("unpublish"),
        Command::Unsubscribe { .. } => Some("unsubscribe"),
        _ => None,
    });
    assert_eq!(ended, ["unpublish"], "subscriptions end with it");
    scene.offer(&mut nurse);
    assert!(nurse.answer().mid_to_track_id.is_empty());
}

#[test]
fn only_granted_sources_are_taken_and_only_so_many_tracks() {
    let mut scene = Scene::with_limits(Limits {
        tracks_per_participant_max: 1,
        ..Limits::default()
    });
    let grant = VideoGrant {
        can_publish_sources: vec!["microphone".into()],
        ..VideoGrant::default()
    };
    let doctor = scene.join_with("wang", grant).expect("a place");
    let request = |cid: &str, kind: TrackType, source: TrackSource| {
        Asked::AddTrack(AddTrackRequest {
            cid: cid.into(),
            r#type: kind as i32,
            source: source as i32,
            ..Default::default()
        })
    };
    doctor.said();
    scene.ask(&doctor, request("a", TrackType::Video, TrackSource::Camera));
    assert_eq!(doctor.refusal(), Some(Reason::NotAllowed));
    scene.ask(&doctor, request("b", TrackType::Data, TrackSource::Unknown));
    assert_eq!(doctor.refusal(), Some(Reason::UnsupportedType));
    scene.ask(
        &doctor,
        request("c", TrackType::Audio, TrackSource::Microphone),
    );
    assert_eq!(doctor.refusal(), None);
    scene.ask(
        &doctor,
        request("d", TrackType::Audio, TrackSource::Microphone),
    );
    assert_eq!(doctor.refusal(), Some(Reason::LimitExceeded));
}

#[test]
fn a_wish_reaches_the_media_plane_now_or_with_the_subscription() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    let track = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    let settings = |disabled| {
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec![track.clone()],
            disabled,
            width: 320,
            height: 180,
            ..Default::default()
        })
    };
    scene.commands.clear();
    scene.ask(&nurse, settings(true));
    let wishes = |command: &Command| match command {
        Command::SetWish { wish, .. } => Some(*wish),
        _ => None,
    };
    assert_eq!(scene.commanded(wishes), []);
    scene.offer(&mut nurse);
    assert_eq!(scene.commanded(wishes), [LayerWish::Paused]);
    scene.ask(&nurse, settings(false));
    let size = LayerWish::Size {
        width: 320,
        height: 180,
    };
    assert_eq!(scene.commanded(wishes), [size]);
}

#[test]
fn a_publisher_decides_who_may_receive() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    nurse.said();
    scene.commands.clear();
    let nobody = proto::SubscriptionPermission::default();
    scene.ask(&doctor, Asked::SubscriptionPermission(nobody));
    let said = nurse.said();
    assert!(said.iter().any(|message| {
        matches!(message, Message::SubscriptionPermissionUpdate(update) if !update.allowed)
    }));
    assert_eq!(requirement(&said), Some((0, 0)));
    let ended = scene.commanded(|command| match command {
        Command::Unsubscribe { .. } => Some(()),
        _ => None,
    });
    assert_eq!(ended.len(), 1, "at once, not with the next answer");
    scene.offer(&mut nurse);
    assert!(nurse.answer().mid_to_track_id.is_empty());
}

#[test]
fn an_extension_that_a_later_offer_numbers_reaches_the_media_plane() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    let sending = format!("a=sendonly\r\na=extmap:9/sendonly {rid}");
    doctor.sections.push((TrackType::Video, sending));
    scene.commands.clear();
    let learnt = |command: &Command| match command {
        Command::LearnExtensions { extensions, .. } => Some(extensions.rid),
        _ => None,
    };
    scene.offer(&mut doctor);
    assert_eq!(scene.commanded(learnt), [Some(9)]);
    scene.offer(&mut doctor);
    assert_eq!(scene.commanded(learnt), [], "it is known by now");
}

#[test]
fn red_is_preferred_for_sound() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let first = scene.commanded(|command| match command {
        Command::Publish { params, .. } => params.codecs.first().map(|one| one.codec),
        _ => None,
    });
    assert_eq!(first, [Codec::Red]);
    let answer = doctor.answer();
    assert!(
        answer
            .sdp
            .contains("m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n")
    );
    assert!(answer.sdp.contains("usedtx=1"));
}

#[test]
fn vp9_and_av1_are_taken_whether_a_room_is_recorded_or_not() {
    for (policy, codec) in [
        (Policy::Never, "VP9"),
        (Policy::Never, "AV1"),
        (Policy::WithConsent, "AV1"),
        (Policy::Must, "VP9"),
        (Policy::Must, "AV1"),
    ] {
        let wanted = format!("video/{codec}");
        let mut scene = Scene::new();
        let mut setup = (*scene.room.setup).clone();
        setup.recording = policy;
        let name = "consult".to_owned();
        scene.room = Room::new(scene.now, RoomId(1), name, WorkerId(0), Arc::new(setup));
        let mut doctor = scene.join("wang");
        let said = doctor.said();
        let Message::Join(join) = &said[0] else {
            panic!("{:?}", said[0]);
        };
        let has_it = |codecs: &[proto::Codec]| codecs.iter().any(|one| one.mime == wanted);
        assert!(has_it(&join.enabled_publish_codecs));
        let layer = |quality, width, height| proto::VideoLayer {
            quality,
            width,
            height,
            ..Default::default()
        };
        let request = AddTrackRequest {
            cid: "camera".into(),
            r#type: TrackType::Video as i32,
            source: TrackSource::Camera as i32,
            layers: vec![layer(2, 1280, 720), layer(0, 320, 180), layer(1, 640, 360)],
            simulcast_codecs: [codec, "vp8"]
                .map(|codec| proto::SimulcastCodec {
                    codec: codec.into(),
                    ..Default::default()
                })
                .into(),
            ..Default::default()
        };
        scene.ask(&doctor, Asked::AddTrack(request));
        let section = format!(
            "a=sendonly\r\na=msid:- camera\r\na=rtpmap:98 {codec}/90000\r\n\
             a=fmtp:98 profile-id=0;profile=0"
        );
        doctor.sections.push((TrackType::Video, section));
        scene.offer(&mut doctor);
        let track = &scene.room.participants[&doctor.key].tracks[0];
        assert_eq!(track.info.mime_type, wanted, "{policy:?}");
        let sizes = scene.commanded(|command| match command {
            Command::Publish { params, .. } => Some(params.spatial_layers.clone()),
            _ => None,
        });
        let widths: Vec<u32> = sizes[0].iter().map(|size| size.width).collect();
        assert_eq!(widths, [320, 640, 1280], "{policy:?}");
    }
}
