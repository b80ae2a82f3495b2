//! A room that has parts on several workers.

use super::*;

/// What a worker was told, in short.
fn told(scene: &Scene, worker: u16) -> Vec<&'static str> {
    let commands = scene.told.iter().filter(|(to, _)| to.0 == worker);
    commands
        .map(|(_, command)| match &**command {
            Command::OpenRoom => "open",
            Command::AddTransport { .. } => "transport",
            Command::RemoveTransport { .. } => "remove",
            Command::Publish { .. } => "publish",
            Command::SetMuted { .. } => "mute",
            Command::OpenRelay { .. } => "relay",
            Command::Subscribe { .. } => "subscribe",
            Command::Unsubscribe { .. } => "unsubscribe",
            Command::SetWish { .. } => "wish",
            Command::SendData { .. } => "data",
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_room_on_two_workers_tells_each_its_part() {
    let mut scene = Scene::spread();
    let mut wang = scene.join("wang");
    let mut li = scene.join("li");
    let ports = [&wang, &li].map(|client| {
        let said = client.said();
        let mut answers = said.iter().filter_map(|message| match message {
            Message::Answer(answer) => Some(answer.sdp.clone()),
            _ => None,
        });
        let sdp = answers.next_back().expect("the offer was answered");
        [" 7882 ", " 7883 "].map(|port| sdp.contains(port))
    });
    assert_eq!(ports, [[true, false], [false, true]], "each its own worker");
    let publisher = scene.transport(&wang);
    let sid = scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.offer(&mut li);
    assert_eq!(told(&scene, 0), ["open", "transport", "publish"]);
    assert_eq!(told(&scene, 1), ["open", "transport", "relay", "subscribe"]);
    let agreed = scene.told.iter().find_map(|(_, command)| match &**command {
        Command::Publish { params, .. } => Some(params.clone()),
        _ => None,
    });
    let relay = scene.told.iter().find_map(|(_, command)| match &**command {
        Command::OpenRelay {
            owner,
            publisher,
            params,
            ..
        } => Some((*owner, *publisher, Some(params.clone()))),
        _ => None,
    });
    assert_eq!(relay, Some((WorkerId(0), publisher, agreed)));

    scene.told.clear();
    let mute = MuteTrackRequest { sid, muted: true };
    scene.ask(&wang, Asked::Mute(mute));
    scene.connect(&wang);
    scene.connect(&li);
    let sender = scene.transport(&wang);
    scene.event(EventKind::Data {
        transport: sender,
        channel: DataChannel::Reliable,
        payload: packet(1, &[]).into(),
    });
    // Somebody else on the publisher's worker needs no relay.
    let mut zhao = scene.join("zhao");
    scene.offer(&mut zhao);
    assert_eq!(told(&scene, 0), ["mute", "transport", "subscribe"]);
    assert_eq!(told(&scene, 1), ["data"]);

    // Whoever publishes goes: only its own worker must be told.
    scene.told.clear();
    scene.ask(&wang, Asked::Leave(proto::LeaveRequest::default()));
    assert_eq!(told(&scene, 0), ["remove"]);
    assert_eq!(told(&scene, 1), [""; 0]);
}

#[test]
fn a_worker_that_loses_its_part_costs_only_that() {
    let mut scene = Scene::spread();
    let (wang, li, zhao) = (scene.join("wang"), scene.join("li"), scene.join("zhao"));
    for client in [&wang, &li, &zhao] {
        client.said();
    }
    scene.told.clear();
    scene
        .room
        .event(scene.now, WorkerId(1), EventKind::RoomLost);
    assert!(scene.wait(Duration::from_secs(1)), "the room goes on");
    let left = li.said().into_iter().find_map(|message| match message {
        Message::Leave(leave) => Some(leave.action()),
        _ => None,
    });
    assert_eq!(left, Some(Action::Reconnect));
    assert_eq!(scene.room.len(), 2);
    assert!(scene.told.is_empty(), "there is nobody to tell");

    // Whoever comes back finds the room opened there anew.
    let li = scene.join("li");
    assert_eq!(told(&scene, 1), ["open", "transport"]);
    scene
        .room
        .event(scene.now, WorkerId(0), EventKind::RoomLost);
    assert!(scene.wait(Duration::from_secs(1)));
    assert_eq!(scene.room.len(), 1);
    drop(li);
    scene
        .room
        .event(scene.now, WorkerId(1), EventKind::RoomLost);
    assert!(!scene.wait(Duration::from_secs(1)), "nothing is left of it");
}
