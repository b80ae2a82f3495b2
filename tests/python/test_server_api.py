"""The server API as an application's server in Python uses it, every method, and its webhooks."""

import asyncio

import pytest
from livekit import api, rtc
from wait import until


@pytest.fixture
def mode():
    """Once is enough: what the API does is not a matter of peer connections."""
    return "v1"


async def test_a_room_lives_and_dies(service, enter):
    room = enter.room
    made = await service.room.create_room(
        api.CreateRoomRequest(name=room, metadata="round", max_participants=3)
    )
    assert (made.name, made.metadata, made.max_participants) == (room, "round", 3)
    listed = await service.room.list_rooms(api.ListRoomsRequest(names=[room]))
    assert [one.sid for one in listed.rooms] == [made.sid]
    changed = await service.room.update_room_metadata(
        api.UpdateRoomMetadataRequest(room=room, metadata="second round")
    )
    assert changed.metadata == "second round"
    li = await enter("li")
    assert li.room.metadata == "second round"
    await service.room.delete_room(api.DeleteRoomRequest(room=room))
    await until("li is told", lambda: li.count("disconnected") == 1)
    assert not (await service.room.list_rooms(api.ListRoomsRequest(names=[room]))).rooms


async def test_those_inside_are_moderated(service, enter):
    room = enter.room
    li, wang = [await enter(who) for who in ("li", "wang")]
    microphone = await li.speak("red")
    await until("wang hears li", lambda: wang.hears("li", "red"))
    listed = await service.room.list_participants(api.ListParticipantsRequest(room=room))
    assert sorted(one.identity for one in listed.participants) == ["li", "wang"]
    who = api.RoomParticipantIdentity(room=room, identity="li")
    assert [one.sid for one in (await service.room.get_participant(who)).tracks] == [microphone.sid]
    changed = await service.room.update_participant(
        api.UpdateParticipantRequest(room=room, identity="li", name="Dr. Li", metadata="chair")
    )
    assert (changed.name, changed.metadata) == ("Dr. Li", "chair")
    async def subscribe(wanted):
        request = api.UpdateSubscriptionsRequest(
            room=room, identity="wang", track_sids=[microphone.sid], subscribe=wanted
        )
        await service.room.update_subscriptions(request)

    # The SDK tells nobody that the server has ended a subscription; the sound ends.
    await subscribe(False)
    await asyncio.sleep(2)
    wang.heard["li"].clear()
    await asyncio.sleep(2)
    assert not wang.hears("li", "red")
    await subscribe(True)
    await until("it is heard again", lambda: wang.hears("li", "red"))
    muted = await service.room.mute_published_track(
        api.MuteRoomTrackRequest(room=room, identity="li", track_sid=microphone.sid, muted=True)
    )
    assert muted.track.muted
    await until("wang is told", lambda: wang.count("track_muted") == 1)
    await service.room.send_data(
        api.SendDataRequest(
            room=room, data=b"please wait", kind=rtc.DataPacketKind.KIND_RELIABLE, topic="ward"
        )
    )
    for person in (li, wang):
        await until("the message is here", lambda person=person: person.data)
        assert [packet.data for packet in person.data] == [b"please wait"]
        assert person.data[0].participant is None
    await service.room.remove_participant(who)
    await until("li is told", lambda: li.count("disconnected") == 1)
    with pytest.raises(api.TwirpError) as refused:
        await service.room.get_participant(who)
    assert refused.value.code == "not_found"


async def test_what_is_not_there_says_so(service):
    absent = [
        lambda: service.agent_dispatch.list_dispatch("a"),
        lambda: service.ingress.list_ingress(api.ListIngressRequest()),
        lambda: service.sip.list_dispatch_rule(api.ListSIPDispatchRuleRequest()),
    ]
    for call in absent:
        with pytest.raises(api.TwirpError) as refused:
            await call()
        assert refused.value.code == "unimplemented", refused.value.message


async def test_every_event_of_a_room_is_told_in_order(hook, enter, service):
    room = enter.room
    li = await enter("li")
    microphone = await li.speak("red")
    await asyncio.sleep(0.5)
    await li.room.local_participant.unpublish_track(microphone.sid)
    # The server hears of it with the next offer.
    await until("it is over", lambda: "track_unpublished" in names(hook, room))
    await li.leave()
    await until("it has left", lambda: "participant_left" in names(hook, room))
    await service.room.delete_room(api.DeleteRoomRequest(room=room))
    await until("the room is over", lambda: "room_finished" in names(hook, room))
    assert names(hook, room) == [
        "room_started",
        "participant_joined",
        "track_published",
        "track_unpublished",
        "participant_left",
        "room_finished",
    ]
    ids = [event.id for event in hook]
    assert len(set(ids)) == len(ids)


def names(events, room):
    return [event.event for event in events if event.room.name == room]
