//! What people send to each other beside sound and picture.

use super::*;

#[test]
fn data_goes_to_those_it_is_for_once_and_never_back() {
    let mut scene = Scene::new();
    let clients = ["wang", "li", "zhao"].map(|identity| scene.join(identity));
    clients.iter().for_each(|client| scene.connect(client));
    scene.commands.clear();
    let [wang, li, zhao] = [0, 1, 2].map(|i| scene.transport(&clients[i]));
    scene.event(data(wang, &packet(1, &[])));
    let to: Vec<TransportId> = scene.commanded(sent).into_iter().map(|one| one.0).collect();
    assert_eq!(to, [li, zhao]);
    scene.event(data(wang, &packet(1, &[])));
    assert!(scene.commanded(sent).is_empty(), "a number counts once");
    scene.event(data(wang, &packet(2, &["zhao", "wang"])));
    let received = scene.commanded(sent);
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].0, zhao);
    assert_eq!(received[0].1.participant_identity, "wang");
}

#[test]
fn a_message_waits_for_a_channel_that_is_about_to_open() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    let nurse = scene.join("li");
    scene.connect(&doctor);
    let sender = scene.transport(&doctor);
    scene.event(data(sender, &packet(1, &[])));
    assert!(scene.commanded(sent).is_empty());
    scene.connect(&nurse);
    assert_eq!(scene.commanded(sent).len(), 1);
}

#[test]
fn without_data_channels_patience_ends() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    let transport = scene.transport(&doctor);
    scene.event(EventKind::Connected {
        transport,
        profile: Profile::AeadAes256Gcm,
    });
    assert_eq!(scene.room.participants[&doctor.key].state, State::Joined);
    scene.wait(Duration::from_secs(4));
    assert_eq!(scene.room.participants[&doctor.key].state, State::Active);
}
