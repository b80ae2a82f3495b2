"""What products with a server in Python ask of LiveKit, call for call in their order and with their
fields. Read in their public sources, of the commit that each test names; no line is theirs."""

import base64
import hashlib
import json
import uuid
from datetime import datetime, timedelta, timezone

import aiohttp
import pytest
from livekit import api, rtc
from livekit.protocol.agent_dispatch import CreateAgentDispatchRequest
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.sip import (
    CreateSIPDispatchRuleRequest,
    ListSIPDispatchRuleRequest,
    SIPDispatchRule,
    SIPDispatchRuleDirect,
)
from person import KEY, SECRET, URL, Person
from wait import until


@pytest.fixture
def mode():
    """Once is enough: what a product asks for is not a matter of peer connections."""
    return "v1"


@pytest.fixture
async def seats():
    """Lets in whoever has a token of the product."""
    people = []

    async def take(jwt, **options):
        people.append(await Person.enter(jwt, **options))
        return people[-1]

    yield take
    for person in people:
        await person.leave()


def asking():
    """Both products make a client for every question, and give it the address that pages have."""
    return api.LiveKitAPI(URL, KEY, SECRET)


def disconnects(person):
    return [told[0] for name, told in person.events if name == "disconnected"]


# HCW@Home V6 (github.com/HCW-home/hcw, 89e8027, of 2026-08-21; livekit-api 1.1.0): rooms and
# identities as its backend names them, tokens as it makes them, no webhooks at all.


def hcw_token(room, tenant, user, name, is_practitioner):
    grants = api.VideoGrants(
        room=room,
        room_join=True,
        can_publish=True,
        can_subscribe=True,
        room_admin=is_practitioner,
    )
    made = api.AccessToken(KEY, SECRET).with_grants(grants).with_identity(f"{tenant}:{user}")
    return made.with_name(name).to_jwt()


async def hcw_mute(room, identity, muted):
    """How many sounds of somebody it has muted."""
    async with asking() as lk:
        who = api.RoomParticipantIdentity(room=room, identity=identity)
        sounds = [
            track
            for track in (await lk.room.get_participant(who)).tracks
            if track.type == api.TrackType.AUDIO
        ]
        for track in sounds:
            request = api.MuteRoomTrackRequest(
                room=room, identity=identity, track_sid=track.sid, muted=muted
            )
            await lk.room.mute_published_track(request)
        return len(sounds)


async def hcw_remove(room, identity):
    async with asking() as lk:
        try:
            who = api.RoomParticipantIdentity(room=room, identity=identity)
            await lk.room.remove_participant(who)
        except api.TwirpError:
            return False
        return True


async def hcw_eject_all(room):
    async with asking() as lk:
        try:
            inside = await lk.room.list_participants(api.ListParticipantsRequest(room=room))
        except api.TwirpError:
            return 0
        for one in inside.participants:
            who = api.RoomParticipantIdentity(room=room, identity=one.identity)
            await lk.room.remove_participant(who)
        return len(inside.participants)


async def test_hcw_at_home_holds_an_appointment(seats):
    async with asking() as lk:
        # Its administrator's button "test the connection".
        await lk.room.list_rooms(api.ListRoomsRequest())
    room = str(uuid.uuid4())
    doctor = await seats(hcw_token(room, "clinic", 1, "Dr. Li", True))
    patient = await seats(hcw_token(room, "clinic", 2, "Wang Wu", False))
    await doctor.speak("red")
    await patient.speak("green")
    await patient.show("green", 1280, 720, simulcast=True, codec=rtc.VideoCodec.VP8)
    await until("the doctor sees the patient", lambda: doctor.sees("clinic:2", "green"))
    await until("the doctor hears the patient", lambda: doctor.hears("clinic:2", "green"))
    await until("the patient hears the doctor", lambda: patient.hears("clinic:1", "red"))
    assert doctor.room.remote_participants["clinic:2"].name == "Wang Wu"

    assert await hcw_mute(room, "clinic:2", True) == 1
    await until("the doctor is told", lambda: doctor.count("track_muted") == 1)
    told = [publication for name, (_, publication) in muted_of(doctor)]
    assert [one.kind for one in told] == [rtc.TrackKind.KIND_AUDIO]
    with pytest.raises(api.TwirpError) as refused:
        await hcw_mute(room, "clinic:2", False)
    # By this word it tells the practitioner that the patient must do it himself.
    assert "unmute" in str(refused.value).lower()

    assert await hcw_remove(room, "clinic:2")
    await until("the patient is told", lambda: disconnects(patient))
    assert disconnects(patient) == [rtc.DisconnectReason.PARTICIPANT_REMOVED]
    assert not await hcw_remove(room, "clinic:2")
    # The consultation is closed.
    assert await hcw_eject_all(room) == 1
    await until("the doctor is told", lambda: disconnects(doctor))
    assert await hcw_eject_all(room) == 0
    assert await hcw_eject_all(str(uuid.uuid4())) == 0


def muted_of(person):
    return [event for event in person.events if event[0] == "track_muted"]


async def test_hcw_at_home_records_an_appointment(seats):
    room = str(uuid.uuid4())

    async def start():
        async with asking() as lk:
            found = await lk.room.list_rooms(api.ListRoomsRequest(names=[room]))
            # It refuses by itself where there is no room, or nobody in it.
            if not found.rooms or found.rooms[0].num_participants == 0:
                return None
            storage = api.S3Upload(
                access_key="key",
                secret="secret",
                bucket="hcw",
                region="us-east-1",
                endpoint="https://s3.example.org",
                force_path_style=True,
            )
            path = "recordings/appointment_7_1787000000.mp4"
            request = api.RoomCompositeEgressRequest(
                room_name=room,
                file_outputs=[api.EncodedFileOutput(filepath=path, s3=storage)],
                audio_only=False,
            )
            return (await lk.egress.start_room_composite_egress(request)).egress_id

    assert await start() is None
    doctor = await seats(hcw_token(room, "clinic", 1, "Dr. Li", True))
    await doctor.speak("red")
    egress = await start()
    assert egress
    await until("the page shows it", lambda: doctor.room.local_participant.attributes)
    # Its tokens say nothing of consent: the room is recorded, the doctor is not, until he agrees.
    me = doctor.room.local_participant
    assert me.attributes["consilium.recording"] == "held"
    await me.set_attributes({"consilium.consent": "granted"})
    await until("he is recorded", lambda: me.attributes["consilium.recording"] == "on")
    async with asking() as lk:
        await lk.egress.stop_egress(api.StopEgressRequest(egress_id=egress))
    await until("it is over", lambda: "consilium.recording" not in me.attributes)


# La Suite Meet (github.com/suitenumerique/meet, e5f0b1c, of 2026-08-21; livekit-api 1.2.0): rooms
# are UUIDs, somebody unknown has a UUID too, and what the pages show stands in attributes.

SOURCES = ["camera", "microphone", "screen_share", "screen_share_audio"]


def suite_token(room, identity, name, role=None, sources=SOURCES, ttl=None):
    rules = role in ("owner", "administrator")
    grants = api.VideoGrants(
        room=room,
        room_join=True,
        room_admin=rules,
        can_update_own_metadata=False,
        can_publish=bool(sources),
        can_publish_sources=sources,
        can_subscribe=True,
    )
    attributes = {
        "color": "hsl(210, 60%, 50%)",
        # None where there is no role: null in the token.
        "room_role": role,
        "is_authenticated": "true" if role else "false",
    }
    made = api.AccessToken(KEY, SECRET).with_grants(grants).with_identity(identity)
    made = made.with_name(name).with_attributes(attributes)
    return (made.with_ttl(ttl) if ttl else made).to_jwt()


async def suite_update(room, identity, attributes=None, permission=None, name=None):
    """Metadata that are not mentioned are written as `null`, as a word."""
    async with asking() as lk:
        request = api.UpdateParticipantRequest(
            room=room,
            identity=identity,
            metadata=json.dumps(None),
            permission=permission,
            attributes=attributes,
            name=name,
        )
        await lk.room.update_participant(request)


async def suite_metadata(room, more, gone=()):
    """False where there is no such room any more."""
    async with asking() as lk:
        found = await lk.room.list_rooms(api.ListRoomsRequest(names=[room]))
        if not found.rooms:
            return False
        known = json.loads(found.rooms[0].metadata or "{}")
        kept = {key: value for key, value in known.items() if key not in gone}
        request = api.UpdateRoomMetadataRequest(room=room, metadata=json.dumps({**kept, **more}))
        await lk.room.update_room_metadata(request)
        return True


async def suite_notify(room, what):
    async with asking() as lk:
        if (await lk.room.list_rooms(api.ListRoomsRequest(names=[room]))).rooms:
            data = json.dumps(what).encode()
            request = api.SendDataRequest(room=room, data=data, kind="RELIABLE")
            await lk.room.send_data(request)


async def refusal(question):
    """The code of the Twirp error that a question is answered with."""
    with pytest.raises(api.TwirpError) as refused:
        await question
    return refused.value.code


async def test_la_suite_meet_moderates_a_meeting(seats):
    room, owner_id, guest_id = [str(uuid.uuid4()) for _ in range(3)]
    owner = await seats(suite_token(room, owner_id, "Dr. Li", "owner"))
    guest = await seats(suite_token(room, guest_id, "Anonymous", ttl=timedelta(hours=1)))
    await guest.speak("green")
    await guest.show("green")
    await until("the owner sees the guest", lambda: owner.sees(guest_id, "green"))
    await until("the owner hears the guest", lambda: owner.hears(guest_id, "green"))
    seen = owner.room.remote_participants[guest_id]
    assert seen.attributes["color"] == "hsl(210, 60%, 50%)"
    assert not seen.attributes.get("room_role")

    # Somebody waits in the lobby, which is the product's own; those inside are told.
    waiting = {"type": "participantWaiting"}
    await suite_notify(room, waiting)
    for person in (owner, guest):
        await until("it is told", lambda person=person: person.data)
        assert [json.loads(packet.data) for packet in person.data] == [waiting]
    await suite_notify(str(uuid.uuid4()), waiting)

    # May the guest ask for this? Only if he is in the meeting.
    async with asking() as lk:
        who = api.RoomParticipantIdentity(room=room, identity=guest_id)
        found = await lk.room.get_participant(who)
        assert found.state != ParticipantInfo.State.DISCONNECTED
        stranger = api.RoomParticipantIdentity(room=room, identity=str(uuid.uuid4()))
        assert await refusal(lk.room.get_participant(stranger)) == "not_found"

    raised = datetime.now(timezone.utc).isoformat()
    await suite_update(room, guest_id, attributes={"handRaisedAt": raised})
    await until("the hand is up", lambda: seen.attributes.get("handRaisedAt") == raised)
    assert seen.attributes["color"] == "hsl(210, 60%, 50%)"
    await suite_update(room, guest_id, attributes={"handRaisedAt": ""})
    await until("the hand is down", lambda: not seen.attributes.get("handRaisedAt"))
    await suite_update(room, guest_id, name="Wang Wu")
    await until("the name is new", lambda: seen.name == "Wang Wu")
    await suite_update(room, guest_id, attributes={"room_role": "administrator"})
    await until("the role is shown", lambda: seen.attributes.get("room_role") == "administrator")
    assert guest.room.local_participant.attributes["color"] == "hsl(210, 60%, 50%)"
    # The page may not do this by itself: its token says so, and it asks the product's server.
    await guest.room.local_participant.set_attributes({"room_role": "owner"})
    await suite_notify(room, {"type": "afterwards"})
    await until("what came later is here", lambda: len(owner.data) == 2)
    assert seen.attributes["room_role"] == "administrator"

    # Cameras are not wanted any more; what is not mentioned comes as None.
    permission = {
        "can_subscribe": True,
        "can_publish": True,
        "can_publish_data": True,
        "can_publish_sources": ["MICROPHONE"],
        "hidden": None,
        "recorder": None,
        "can_update_metadata": None,
        "agent": None,
        "can_subscribe_metrics": None,
    }
    await suite_update(room, guest_id, permission=permission)
    await until("the camera is gone", lambda: owner.count("track_unpublished") == 1)
    owner.heard[guest_id].clear()
    await until("the microphone is not", lambda: owner.hears(guest_id, "green"))
    assert await suite_metadata(room, {"everyone_can_mute": True})
    await until("the page knows", lambda: guest.room.metadata == '{"everyone_can_mute": true}')

    async with asking() as lk:
        (microphone,) = (await lk.room.get_participant(who)).tracks
        mute = dict(room=room, track_sid=microphone.sid, muted=True)
        await lk.room.mute_published_track(api.MuteRoomTrackRequest(identity=guest_id, **mute))
        await until("the owner is told", lambda: owner.count("track_muted") == 1)
        wrong = api.MuteRoomTrackRequest(identity=str(uuid.uuid4()), **mute)
        assert await refusal(lk.room.mute_published_track(wrong)) == "not_found"
        await lk.room.remove_participant(who)
        await until("the guest is told", lambda: disconnects(guest))
        assert await refusal(lk.room.remove_participant(who)) == "not_found"
        ended = api.DeleteRoomRequest(room=room)
        await lk.room.delete_room(ended)
        await until("the owner is told", lambda: disconnects(owner))
        assert await refusal(lk.room.delete_room(ended)) == "not_found"
    assert not await suite_metadata(room, {})


async def test_la_suite_meet_does_without_subtitles_and_telephones():
    """It catches any error of these, says that it could not, and the meeting goes on."""
    room = str(uuid.uuid4())
    rule = SIPDispatchRule(
        dispatch_rule_direct=SIPDispatchRuleDirect(room_name=room, pin="1234567890")
    )
    async with asking() as lk:
        for question in [
            lk.agent_dispatch.create_dispatch(
                CreateAgentDispatchRequest(agent_name="multi-user-transcriber", room=room)
            ),
            lk.agent_dispatch.delete_dispatch(dispatch_id="AD_1", room_name=room),
            lk.sip.list_sip_dispatch_rule(list=ListSIPDispatchRuleRequest()),
            lk.sip.create_sip_dispatch_rule(
                create=CreateSIPDispatchRuleRequest(rule=rule, name=f"SIP_{room}")
            ),
        ]:
            assert await refusal(question) == "unimplemented"


class SuiteWebhooks:
    """How its server takes webhooks: what it cannot do yet is 500, what it does not know 422."""

    def __init__(self, room):
        self.room = room
        self.workers = set()
        self.taken = []

    async def take(self, event):
        if event.event == "participant_connection_aborted":
            return 422
        if event.event in ("egress_updated", "egress_ended"):
            if event.egress_info.egress_id not in self.workers:
                return 500
            await self.tell(event)
        self.taken.append(event)
        return 200

    async def tell(self, event):
        words = {
            api.EgressStatus.EGRESS_ACTIVE: "started",
            api.EgressStatus.EGRESS_ENDING: "saving",
            api.EgressStatus.EGRESS_ABORTED: "aborted",
        }
        if event.event == "egress_ended":
            await suite_metadata(self.room, {}, ["recording_mode", "recording_status"])
        elif word := words.get(event.egress_info.status):
            await suite_metadata(self.room, {"recording_status": word})

    def names(self):
        return [event.event for event in self.taken]


async def suite_start(room, sound_only=False):
    """Asks for a film of the meeting, or for its sound alone to be transcribed."""
    storage = api.S3Upload(
        endpoint="https://s3.example.org",
        access_key="key",
        secret="secret",
        region="local",
        bucket="meet-media-storage",
        force_path_style=True,
    )
    kind, more = api.EncodedFileType.MP4, {"layout": "speaker-light"}
    if sound_only:
        kind, more = api.EncodedFileType.OGG, {"audio_only": True}
    name = f"recordings/{uuid.uuid4()}.{api.EncodedFileType.Name(kind).lower()}"
    output = api.EncodedFileOutput(file_type=kind, filepath=name, s3=storage)
    request = api.RoomCompositeEgressRequest(room_name=room, file_outputs=[output], **more)
    async with asking() as lk:
        return await lk.egress.start_room_composite_egress(request)


@pytest.mark.parametrize("sound_only", [False, True])
async def test_la_suite_meet_shows_how_far_its_recording_is(seats, receiving, sound_only):
    room = str(uuid.uuid4())
    hooks = SuiteWebhooks(room)
    receiving(room, hooks.take)
    owner = await seats(suite_token(room, str(uuid.uuid4()), "Dr. Li", "owner"))
    await owner.speak("red")
    started = await suite_start(room, sound_only)
    assert started.egress_id
    # Between writing this down and its first word about it the product has a race; not so here.
    mode = "transcript" if sound_only else "screen_recording"
    await suite_metadata(room, {"recording_mode": mode, "recording_status": "starting"})
    hooks.workers.add(started.egress_id)

    def shown():
        return json.loads(owner.room.metadata or "{}")

    await until("it has started", lambda: shown().get("recording_status") == "started")
    assert shown()["recording_mode"] == mode
    async with asking() as lk:
        stopped = await lk.egress.stop_egress(api.StopEgressRequest(egress_id=started.egress_id))
        # Anything else but ENDING and ABORTED is a failure to stop.
        assert stopped.status == api.EgressStatus.EGRESS_ENDING
    await until("it is over", lambda: hooks.names()[-1] == "egress_ended")
    assert hooks.taken[-1].egress_info.status == api.EgressStatus.EGRESS_COMPLETE
    await until("the page shows nothing any more", lambda: shown() == {})
    async with asking() as lk:
        gone = lk.egress.stop_egress(api.StopEgressRequest(egress_id=started.egress_id))
        assert await refusal(gone) == "failed_precondition"
    told = [
        (event.event, event.egress_info.status)
        for event in hooks.taken
        if event.event.startswith("egress")
    ]
    assert told == [
        ("egress_started", api.EgressStatus.EGRESS_ACTIVE),
        ("egress_updated", api.EgressStatus.EGRESS_ACTIVE),
        ("egress_updated", api.EgressStatus.EGRESS_ENDING),
        ("egress_ended", api.EgressStatus.EGRESS_COMPLETE),
    ]


async def test_la_suite_meet_hears_of_the_end_after_an_event_that_it_does_not_know(receiving):
    room, identity = str(uuid.uuid4()), str(uuid.uuid4())
    hooks = SuiteWebhooks(room)
    receiving(room, hooks.take)
    token = suite_token(room, identity, "Anonymous")
    # Somebody whose media never came is sent away.
    async with aiohttp.ClientSession() as session, asking() as lk:
        address = f"{URL}/rtc?access_token={token}&protocol=15&sdk=js&version=2.21.0"
        async with session.ws_connect(address) as socket:
            await socket.receive()
            who = api.RoomParticipantIdentity(room=room, identity=identity)
            await lk.room.remove_participant(who)
        await lk.room.delete_room(api.DeleteRoomRequest(room=room))
    await until("it hears of the end", lambda: "room_finished" in hooks.names())
    assert uuid.UUID(hooks.taken[-1].room.name) == uuid.UUID(room)


# Element Call (github.com/element-hq/element-call, b51a33c, of 2026-08-21) with lk-jwt-service
# (a375b13, of 2026-07-23). What its server part asks is in `tests/clients/products.test.mjs`; this
# is what its pages do: a key for each member under an identity that is a hash, and new keys, with
# the next index, when somebody has left.


def matrix_hash(*parts):
    """What lk-jwt-service makes of a room and its slot, or of a member: base64 with `+` and `/`."""
    told = json.dumps(parts, separators=(",", ":")).encode()
    return base64.b64encode(hashlib.sha256(told).digest()).decode().rstrip("=")


def element_token(room, identity):
    grants = api.VideoGrants(
        room_join=True,
        room_create=False,
        room=room,
        can_publish=True,
        can_subscribe=True,
        can_update_own_metadata=True,
    )
    made = api.AccessToken(KEY, SECRET).with_grants(grants).with_identity(identity)
    return made.with_ttl(timedelta(hours=1)).to_jwt()


async def test_element_call_has_a_key_for_each_and_new_ones_when_somebody_leaves(seats):
    room = matrix_hash(f"!{uuid.uuid4()}:example.org", "m.call#ROOM")
    names = ("li", "wang", "chen")
    identities = {name: matrix_hash(f"@{name}:example.org", "DEVICE", name) for name in names}
    secure = rtc.E2EEOptions(
        key_provider_options=rtc.KeyProviderOptions(ratchet_window_size=10, key_ring_size=256)
    )
    li, wang, chen = [
        await seats(element_token(room, identities[name]), encryption=secure) for name in names
    ]

    def hand_out(index, people):
        for person in people:
            for other in people:
                key = f"key {index} of {other.identity}".encode()
                person.room.e2ee_manager.key_provider.set_key(other.identity, key, index)

    hand_out(0, [li, wang, chen])
    # Its pages send no RED, because that is no matter of a server that cannot read it.
    await li.speak("red")
    await li.show("red", 1280, 720, simulcast=True)
    await wang.speak("green")
    for person, who, colour in [(wang, li, "red"), (chen, li, "red"), (li, wang, "green")]:
        await until("it is heard", lambda p=person, w=who, c=colour: p.hears(w.identity, c))
    await until("wang sees li", lambda: wang.sees(li.identity, "red"))

    await chen.leave()
    await until("li is told", lambda: li.count("participant_disconnected") == 1)
    hand_out(1, [li, wang])
    for person in (li, wang):
        for cryptor in person.room.e2ee_manager.frame_cryptors():
            cryptor.set_key_index(1)
    wang.heard[li.identity].clear()
    wang.seen[li.identity].update(frames=0, bars=set())
    await until("wang hears li", lambda: wang.hears(li.identity, "red"))
    await until("wang sees li", lambda: wang.sees(li.identity, "red"))
    await li.room.local_participant.set_attributes({"hand": "up"})
    seen = wang.room.remote_participants[li.identity]
    await until("wang sees the hand", lambda: seen.attributes.get("hand") == "up")
