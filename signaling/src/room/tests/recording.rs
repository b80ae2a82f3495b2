//! Whether a room is recorded and of whom packets may enter: told what the recorder says, and asked
//! what it orders.

use super::*;
use crate::consent::{ATTRIBUTE, Consent, POLICY_TAG, RECORDING_ATTRIBUTE};
use crate::egress::{Ask, EgressRefusal, Target, whole_room};
use crate::room::recording::{AskId, Order, Report};
use crate::wire::proto::{EgressInfo, EgressStatus, UpdateParticipantMetadata, WebhookEvent};
use recorder::journal::body::ConsentState;
use recorder::recording::{Fact, Ticket};

impl Scene {
    pub(super) fn recorded_by(policy: Policy) -> Self {
        let mut scene = Self::new();
        let mut setup = (*scene.room.setup).clone();
        setup.recording = policy;
        let setup = Arc::new(setup);
        let name = "consult".to_owned();
        scene.room = Room::new(scene.now, RoomId(1), name, WorkerId(0), setup);
        scene
    }

    /// Somebody comes with an answer in his token, or without one, and is connected.
    fn enter(&mut self, identity: &str, answer: Option<&str>) -> Client {
        let client = self
            .join_answering(identity, answer, None)
            .expect("there is a place");
        self.connect(&client);
        client.said();
        client
    }

    pub(super) fn join_answering(
        &mut self,
        identity: &str,
        answer: Option<&str>,
        policy: Option<&str>,
    ) -> Result<Client, ApiError> {
        let answer = answer.map(|word| (ATTRIBUTE.to_owned(), word.to_owned()));
        let config = policy.map(|word| serde_json::json!({"tags": {POLICY_TAG: word}}));
        self.join_as(Grants {
            identity: identity.into(),
            attributes: answer.into_iter().collect(),
            room_config: config,
            ..Grants::default()
        })
    }

    fn say(&mut self, client: &Client, word: &str) {
        let request = UpdateParticipantMetadata {
            attributes: [(ATTRIBUTE.to_owned(), word.to_owned())].into(),
            ..Default::default()
        };
        self.ask(client, Asked::UpdateMetadata(request));
    }

    pub(super) fn orders(&mut self) -> Vec<Order> {
        let (mut orders, later) = self.room.take_orders();
        self.collect();
        orders.extend(later);
        orders
    }

    fn report(&mut self, report: Report) {
        self.room.report(self.now, report);
        self.collect();
    }

    pub(super) fn begun(&mut self) {
        let recording = "01JD0000000000000000000000".to_owned();
        self.report(Report::Begun { recording });
    }

    /// The tickets of the consents that were just written down.
    fn tickets(&mut self) -> Vec<Ticket> {
        let orders = self.orders().into_iter();
        orders
            .filter_map(|order| match order {
                Order::Tell(Fact::Consent { .. }, ticket) => ticket,
                _ => None,
            })
            .collect()
    }

    /// The gates that were just set, by participant.
    fn gates(&mut self) -> Vec<(TransportId, bool)> {
        self.commanded(|command| match command {
            Command::SetTapGate { transport, is_open } => Some((*transport, *is_open)),
            _ => None,
        })
    }

    /// How often keyframes were asked for.
    fn refreshed(&mut self) -> usize {
        let asked = self.commanded(|command| matches!(command, Command::RefreshTap).then_some(()));
        asked.len()
    }

    fn start(&mut self, target: Target) -> AskId {
        let id = AskId(self.room.take_notices().len() as u64 + 100);
        let ask = Ask {
            room: "consult".into(),
            target,
            request: whole_room("consult"),
        };
        self.room.start_egress(id, ask);
        self.collect();
        id
    }

    fn stop(&mut self, egress: &str) -> Result<EgressInfo, EgressRefusal> {
        self.room.stop_egress(AskId(1), egress);
        self.collect();
        let answers = self.room.take_answers();
        answers.into_iter().next().expect("answered at once").1
    }

    fn answer(&mut self) -> Option<Result<EgressInfo, EgressRefusal>> {
        let answers = self.room.take_answers();
        answers.into_iter().next().map(|(_, answer)| answer)
    }

    /// The egress events that others hear of since the last time.
    fn egress_events(&mut self) -> Vec<(String, EgressStatus)> {
        let status = |event: &WebhookEvent| event.egress_info.as_ref().map(EgressInfo::status);
        let notices = self.room.take_notices().into_iter();
        notices
            .filter_map(|event| Some((event.event.clone(), status(&event)?)))
            .collect()
    }

    /// What a participant is told is recorded of it.
    fn shown(&self, client: &Client) -> Option<&str> {
        let participant = &self.room.participants[&client.key];
        let shown = participant.attributes.get(RECORDING_ATTRIBUTE);
        shown.map(String::as_str)
    }
}

fn is_begin(orders: &[Order]) -> bool {
    matches!(orders, [Order::Begin(_)])
}

#[test]
fn a_room_that_must_be_recorded_is_from_its_first_publisher_on() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    assert_eq!(scene.orders(), []);
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    assert_eq!(scene.orders(), [Order::Begin(Policy::Must)]);
    assert_eq!(scene.shown(&wang), None, "a wish is no recording");
    assert!(!scene.room.info().active_recording);
    assert_eq!(scene.egress_events(), []);
    scene.begun();
    assert!(scene.room.info().active_recording);
    let told = ["egress_started", "egress_updated"];
    let told = told.map(|event| (event.to_owned(), EgressStatus::EgressActive));
    assert_eq!(scene.egress_events(), told);
    let orders = scene.orders();
    let kinds: Vec<&str> = orders
        .iter()
        .map(|order| match order {
            Order::Attach(_) => "attach",
            Order::Tell(Fact::Joined { .. }, None) => "joined",
            Order::Tell(Fact::Consent { .. }, Some(_)) => "consent",
            Order::Tell(Fact::Published(_), None) => "published",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["joined", "consent", "published", "attach"]);
}

#[test]
fn packets_enter_only_once_consent_is_on_the_disk() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Video, TrackSource::Camera);
    scene.orders();
    scene.begun();
    assert_eq!(scene.shown(&wang), Some("held"));
    let tickets = scene.tickets();
    assert_eq!((tickets.len(), scene.gates()), (1, vec![]));
    scene.report(Report::Durable(Ticket(tickets[0].0 + 7)));
    assert_eq!(scene.gates(), [], "somebody else's");
    scene.report(Report::Durable(tickets[0]));
    let transport = scene.transport(&wang);
    assert_eq!(scene.gates(), [(transport, true)]);
    assert_eq!(scene.shown(&wang), Some("on"));
}

#[test]
fn whoever_has_not_answered_or_refused_is_held_out() {
    for answer in [None, Some("refused"), Some("perhaps")] {
        let mut scene = Scene::recorded_by(Policy::Must);
        let mut wang = scene.enter("wang", answer);
        scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
        scene.orders();
        scene.begun();
        assert_eq!(scene.tickets(), []);
        scene.wait(Duration::from_secs(1));
        assert_eq!(scene.gates(), []);
        assert_eq!(scene.shown(&wang), Some("held"));
    }
}

#[test]
fn a_withdrawal_closes_the_gate_with_the_message_that_brings_it() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.orders();
    scene.begun();
    let tickets = scene.tickets();
    scene.report(Report::Durable(tickets[0]));
    let transport = scene.transport(&wang);
    scene.gates();
    scene.say(&wang, "refused");
    assert_eq!(scene.gates(), [(transport, false)]);
    assert_eq!(scene.shown(&wang), Some("held"));
    let state = scene.orders().into_iter().find_map(|order| match order {
        Order::Tell(Fact::Consent { state, .. }, None) => Some(state),
        _ => None,
    });
    assert_eq!(state, Some(ConsentState::Withdrawn));
    // An old acknowledgement opens nothing, and a new consent is acknowledged anew.
    scene.report(Report::Durable(tickets[0]));
    assert_eq!(scene.gates(), []);
    scene.say(&wang, "granted");
    assert_eq!(scene.gates(), []);
    let again = scene.tickets();
    scene.report(Report::Durable(again[0]));
    assert_eq!(scene.gates(), [(transport, true)]);
}

#[test]
fn a_withdrawal_while_consent_is_on_its_way_opens_nothing() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.orders();
    scene.begun();
    let tickets = scene.tickets();
    scene.say(&wang, "refused");
    scene.report(Report::Durable(tickets[0]));
    assert_eq!(scene.gates(), []);
}

#[test]
fn a_late_joiner_is_held_out_until_he_answers() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.orders();
    scene.begun();
    scene.orders();
    let li = scene.enter("li", None);
    let facts = scene.orders();
    assert!(facts.iter().any(|order| matches!(
        order,
        Order::Tell(Fact::Joined { identity, .. }, None) if identity == "li"
    )));
    assert_eq!(scene.shown(&li), Some("held"));
    assert_eq!(scene.gates(), []);
    // He needs no right to change himself: the answer is his own.
    scene.say(&li, "granted");
    let tickets = scene.tickets();
    scene.report(Report::Durable(tickets[0]));
    assert_eq!(scene.gates(), [(scene.transport(&li), true)]);
    assert_eq!(scene.shown(&li), Some("on"));
}

#[test]
fn an_sdk_that_sends_along_what_it_knows_is_understood() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let li = scene.enter("li", None);
    let (name, metadata) = {
        let participant = scene.room.participants.get_mut(&li.key);
        let participant = participant.expect("he is there");
        participant.name = "Dr. Li".into();
        participant.metadata = "ward 3".into();
        participant.attributes.insert("role".into(), "nurse".into());
        (participant.name.clone(), participant.metadata.clone())
    };
    let request = |role: &str| UpdateParticipantMetadata {
        name: name.clone(),
        metadata: metadata.clone(),
        attributes: [("role", role), (ATTRIBUTE, "granted")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    };
    scene.ask(&li, Asked::UpdateMetadata(request("chief")));
    assert_eq!(scene.room.participants[&li.key].consent, Consent::Unknown);
    scene.ask(&li, Asked::UpdateMetadata(request("nurse")));
    assert_eq!(scene.room.participants[&li.key].consent, Consent::Granted);
}

#[test]
fn nobody_can_say_himself_what_is_recorded_of_him() {
    let mut scene = Scene::recorded_by(Policy::Never);
    let video = VideoGrant {
        can_update_own_metadata: Some(true),
        ..VideoGrant::default()
    };
    let wang = scene.join_with("wang", video).expect("there is a place");
    let request = UpdateParticipantMetadata {
        attributes: [(RECORDING_ATTRIBUTE.to_owned(), "on".to_owned())].into(),
        ..Default::default()
    };
    scene.ask(&wang, Asked::UpdateMetadata(request));
    assert_eq!(scene.shown(&wang), None);
}

#[test]
fn a_new_worker_of_the_room_is_recorded_too() {
    let mut scene = Scene::spread();
    let mut setup = (*scene.room.setup).clone();
    setup.recording = Policy::Must;
    let name = "consult".to_owned();
    scene.room = Room::new(scene.now, RoomId(1), name, WorkerId(0), Arc::new(setup));
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.orders();
    scene.begun();
    let attached = |scene: &mut Scene| -> Vec<u16> {
        let orders = scene.orders().into_iter();
        orders
            .filter_map(|order| match order {
                Order::Attach(worker) => Some(worker.0),
                _ => None,
            })
            .collect()
    };
    assert_eq!(attached(&mut scene), [0]);
    scene.enter("li", None);
    assert_eq!(attached(&mut scene), [1]);
    scene
        .room
        .event(scene.now, WorkerId(1), EventKind::RoomLost);
    scene.enter("zhao", None);
    assert_eq!(attached(&mut scene), [1], "the new part needs a new tap");
}

#[test]
fn whoever_asks_hears_what_the_recorder_says() {
    let mut scene = Scene::recorded_by(Policy::WithConsent);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    assert_eq!(scene.orders(), [], "nobody has asked");
    scene.start(Target::Room);
    assert!(is_begin(&scene.orders()));
    assert_eq!(scene.answer(), None, "not before the recorder has said so");
    scene.begun();
    let info = scene.answer().expect("answered").expect("it records");
    assert_eq!(info.status(), EgressStatus::EgressActive);
    assert_eq!(info.file_results[0].filename, "01JD0000000000000000000000");
    // A second request shares the recording, and the first to stop does not end it.
    scene.start(Target::Participant("wang".into()));
    let second = scene
        .answer()
        .expect("at once")
        .expect("it records already");
    let stopped = scene.stop(&second.egress_id).expect("it goes on");
    assert_eq!(stopped.status(), EgressStatus::EgressComplete);
    assert!(scene.room.info().active_recording);
    scene.egress_events();
    let stopping = scene.stop(&info.egress_id).expect("the last one");
    assert_eq!(stopping.status(), EgressStatus::EgressEnding);
    assert!(!scene.room.info().active_recording);
    let orders = scene.orders();
    assert_eq!(orders.last(), Some(&Order::Stop("stopped")));
    let updated = ("egress_updated".to_owned(), EgressStatus::EgressEnding);
    assert_eq!(scene.egress_events(), [updated]);
    scene.report(Report::Closed);
    let ended = ("egress_ended".to_owned(), EgressStatus::EgressComplete);
    assert_eq!(scene.egress_events(), [ended]);
}

#[test]
fn what_is_not_there_is_not_recorded() {
    let mut scene = Scene::recorded_by(Policy::WithConsent);
    let mut wang = scene.enter("wang", None);
    let track = scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.start(Target::Participant("li".into()));
    assert_eq!(scene.answer(), Some(Err(EgressRefusal::NoParticipant)));
    scene.start(Target::Tracks(vec![track.clone(), "TR_x".into()]));
    assert_eq!(scene.answer(), Some(Err(EgressRefusal::NoTrack)));
    assert_eq!(scene.orders(), []);
    scene.start(Target::Tracks(vec![track]));
    assert!(is_begin(&scene.orders()));
}

#[test]
fn a_refusal_is_told_in_the_recorders_words_and_leaves_nothing() {
    let mut scene = Scene::recorded_by(Policy::WithConsent);
    let wang = scene.enter("wang", None);
    scene.start(Target::Room);
    scene.orders();
    let text = "the disk for recordings is full".to_owned();
    let refused = Report::Refused {
        is_full: true,
        text: text.clone(),
    };
    scene.report(refused);
    let refusal = EgressRefusal::Recorder {
        is_full: true,
        text,
    };
    assert_eq!(scene.answer(), Some(Err(refusal)));
    assert_eq!(scene.egress_events(), []);
    scene.wait(Duration::from_secs(60));
    assert_eq!(scene.orders(), [], "nobody asks any more");
    assert_eq!(scene.shown(&wang), None);
}

#[test]
fn a_room_that_must_be_and_is_not_recorded_says_so_and_tries_again() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    assert!(is_begin(&scene.orders()));
    scene.report(Report::Refused {
        is_full: false,
        text: "no officer".into(),
    });
    assert_eq!(scene.shown(&wang), Some("failed"));
    scene.wait(Duration::from_secs(5));
    assert_eq!(scene.orders(), []);
    scene.wait(Duration::from_secs(6));
    assert!(is_begin(&scene.orders()));
    assert_eq!(scene.shown(&wang), Some("failed"), "until it is recorded");
    scene.begun();
    assert_eq!(scene.shown(&wang), Some("held"));
}

#[test]
fn a_policy_is_not_to_be_talked_out_of() {
    let mut scene = Scene::recorded_by(Policy::Never);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.start(Target::Room);
    assert_eq!(scene.answer(), Some(Err(EgressRefusal::Never)));
    assert_eq!(scene.orders(), []);

    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.begun();
    let notices = scene.room.take_notices();
    let info = notices.into_iter().find_map(|event| event.egress_info);
    let id = info.expect("it has begun").egress_id;
    assert_eq!(scene.stop(&id), Err(EgressRefusal::Must));
    assert!(scene.room.info().active_recording);
}

#[test]
fn a_token_chooses_the_policy_where_the_server_leaves_a_choice() {
    for (server, wish, begins) in [
        (Policy::WithConsent, "must", true),
        (Policy::WithConsent, "never", false),
        (Policy::Must, "never", true),
        (Policy::Never, "must", false),
    ] {
        let mut scene = Scene::recorded_by(server);
        let joined = scene.join_answering("wang", None, Some(wish));
        let mut wang = joined.expect("there is a place");
        scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
        assert_eq!(is_begin(&scene.orders()), begins, "{server:?} {wish}");
        // Whoever comes later chooses nothing.
        let other = if begins { "never" } else { "must" };
        let joined = scene.join_answering("li", None, Some(other));
        let mut li = joined.expect("there is a place");
        scene.publish(&mut li, TrackType::Audio, TrackSource::Microphone);
        assert_eq!(scene.orders(), [], "{server:?} {wish}");
    }
}

#[test]
fn a_screen_is_recorded_in_full_size_and_a_camera_within_the_bound() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    let mut wishes = |source| {
        scene.publish(&mut wang, TrackType::Video, source);
        scene.commanded(|command| match command {
            Command::SetTapWish { wish, .. } => Some(*wish),
            _ => None,
        })
    };
    assert_eq!(wishes(TrackSource::Camera), []);
    assert_eq!(wishes(TrackSource::ScreenShare), [Some(LayerWish::Best)]);
}

#[test]
fn an_interruption_is_told_and_so_is_its_end() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.begun();
    let tickets = scene.tickets();
    scene.report(Report::Durable(tickets[0]));
    scene.egress_events();
    scene.report(Report::Interrupted("the disk is slow".into()));
    assert_eq!(scene.shown(&wang), Some("interrupted"));
    assert!(!scene.room.info().active_recording);
    let updated = ("egress_updated".to_owned(), EgressStatus::EgressActive);
    assert_eq!(scene.egress_events(), std::slice::from_ref(&updated));
    scene.report(Report::Interrupted("still".into()));
    assert_eq!(scene.egress_events(), []);
    // A worker that drops packets is another trouble, and both must be over.
    scene.event(EventKind::TapOverflowed);
    assert_eq!(scene.refreshed(), 0);
    scene.report(Report::Resumed);
    assert_eq!(scene.refreshed(), 1, "pictures begin anew");
    assert_eq!(scene.shown(&wang), Some("interrupted"));
    scene.event(EventKind::TapResumed);
    assert_eq!(scene.shown(&wang), Some("on"));
    assert_eq!(scene.egress_events(), [updated]);
}

#[test]
fn a_recording_that_the_recorder_loses_closes_all_gates_and_begins_anew() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.begun();
    let tickets = scene.tickets();
    scene.report(Report::Durable(tickets[0]));
    scene.gates();
    scene.egress_events();
    scene.report(Report::Closed);
    assert_eq!(scene.gates(), [(scene.transport(&wang), false)]);
    let ended = ("egress_ended".to_owned(), EgressStatus::EgressFailed);
    assert_eq!(scene.egress_events(), [ended]);
    assert_eq!(scene.shown(&wang), Some("failed"));
    scene.wait(Duration::from_secs(11));
    assert!(is_begin(&scene.orders()));
    scene.begun();
    let tickets = scene.tickets();
    scene.report(Report::Durable(tickets[0]));
    assert_eq!(scene.gates(), [(scene.transport(&wang), true)]);
}

#[test]
fn what_a_killed_process_recorded_goes_on_when_somebody_comes() {
    let mut scene = Scene::recorded_by(Policy::WithConsent);
    let mut left = crate::egress::begun("EG_1".into(), "RM_old", "consult", whole_room("consult"));
    crate::egress::advance(&mut left, EgressStatus::EgressActive, "");
    crate::egress::carried_by(&mut left, "01JD0000000000000000000000");
    scene.room.resume_egresses(vec![left]);
    scene.wait(Duration::from_secs(1));
    assert_eq!(scene.orders(), []);
    scene.enter("wang", Some("granted"));
    scene.wait(Duration::from_secs(1));
    assert!(is_begin(&scene.orders()));
    scene.room.take_notices();
    scene.begun();
    let updated = ("egress_updated".to_owned(), EgressStatus::EgressActive);
    assert_eq!(
        scene.egress_events(),
        [updated],
        "it has been started before"
    );
}

#[test]
fn whoever_asks_while_the_last_recording_closes_gets_the_next_one() {
    let mut scene = Scene::recorded_by(Policy::WithConsent);
    scene.enter("wang", None);
    scene.start(Target::Room);
    scene.begun();
    let first = scene.answer().expect("answered").expect("it records");
    scene.stop(&first.egress_id).expect("the only one");
    scene.orders();
    scene.start(Target::Room);
    assert_eq!(scene.orders(), []);
    scene.egress_events();
    scene.report(Report::Closed);
    let ended = ("egress_ended".to_owned(), EgressStatus::EgressComplete);
    assert_eq!(scene.egress_events(), [ended]);
    assert!(is_begin(&scene.orders()));
    scene.begun();
    let second = scene.answer().expect("answered").expect("it records");
    assert_ne!(second.egress_id, first.egress_id);
}

#[test]
fn the_end_of_the_room_ends_the_recording() {
    let mut scene = Scene::recorded_by(Policy::Must);
    let mut wang = scene.enter("wang", Some("granted"));
    scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.begun();
    scene.orders();
    scene.egress_events();
    let removal = Removal::told(DisconnectReason::RoomClosed, Action::Reconnect);
    scene.room.shut_down(scene.now, removal);
    scene.room.finish_recording();
    assert!(scene.room.is_recording());
    let orders = scene.orders();
    assert!(matches!(orders[0], Order::Tell(Fact::Left { .. }, None)));
    assert_eq!(orders.last(), Some(&Order::Stop("the room ended")));
    scene.report(Report::Closed);
    assert!(!scene.room.is_recording());
    let ended = ("egress_ended".to_owned(), EgressStatus::EgressComplete);
    assert_eq!(scene.egress_events(), [ended]);
}

#[test]
fn the_word_that_a_room_is_there_says_what_it_was_made_with() {
    let mut scene = Scene::recorded_by(Policy::Never);
    assert!(scene.room.take_notices().is_empty(), "not yet");
    let asked = proto::CreateRoomRequest {
        metadata: "round".into(),
        ..proto::CreateRoomRequest::default()
    };
    scene.room.arrange(&asked.clone().into());
    scene.room.arrange(&asked.into());
    let notices = scene.room.take_notices();
    let [started] = &notices[..] else {
        panic!("once: {notices:?}");
    };
    assert_eq!(started.event, "room_started");
    assert_eq!(started.room.as_ref().expect("it has one").metadata, "round");
}

#[test]
fn others_hear_of_a_consult_in_the_order_in_which_it_happens() {
    let mut scene = Scene::recorded_by(Policy::Never);
    let mut wang = scene.join("wang");
    scene.connect(&wang);
    let track = scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    let li = scene.join("li");
    scene.ask(&li, Asked::Leave(proto::LeaveRequest::default()));
    scene.ask(&wang, Asked::Leave(proto::LeaveRequest::default()));
    let notices = scene.room.take_notices();
    let events: Vec<&str> = notices.iter().map(|one| one.event.as_str()).collect();
    let expected = [
        "room_started",
        "participant_joined",
        "track_published",
        "participant_connection_aborted",
        "track_unpublished",
        "participant_left",
    ];
    assert_eq!(events, expected);
    assert_eq!(notices[2].track.as_ref().expect("it has one").sid, track);
    let room = notices[0].room.as_ref().expect("every event has one");
    assert_eq!(room.name, "consult");
    let who = |n: usize| notices[n].participant.as_ref().map(|one| &one.identity[..]);
    assert_eq!((who(1), who(3)), (Some("wang"), Some("li")));
}

#[test]
fn others_hear_of_a_track_after_its_participant_and_not_without() {
    let mut scene = Scene::recorded_by(Policy::Never);
    let mut wang = scene.join("wang");
    let first = scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    let mut li = scene.join("li");
    scene.publish(&mut li, TrackType::Audio, TrackSource::Microphone);
    scene.connect(&wang);
    let second = scene.publish(&mut wang, TrackType::Video, TrackSource::Camera);
    scene.ask(&li, Asked::Leave(proto::LeaveRequest::default()));
    let notices = scene.room.take_notices();
    let told: Vec<(&str, Option<&str>)> = notices
        .iter()
        .map(|one| {
            (
                &one.event[..],
                one.track.as_ref().map(|track| &track.sid[..]),
            )
        })
        .collect();
    let expected = [
        ("room_started", None),
        ("participant_joined", None),
        ("track_published", Some(&first[..])),
        ("track_published", Some(&second[..])),
        ("participant_connection_aborted", None),
    ];
    assert_eq!(told, expected);
}
