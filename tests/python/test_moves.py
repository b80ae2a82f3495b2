"""From the waiting room into the consult, with the connection that is there."""

import pytest
from livekit import api, rtc
from person import Person
from relay import Relay
from wait import until


async def test_from_the_waiting_room_into_the_consult(service, enter, mode):
    waiting, consult = enter.room, f"{enter.room}-consult"
    wire = await Relay.start()
    li = await enter("li", url=wire.url)
    wang = await enter("wang")
    doctor = await Person.join("zhao", consult, single=mode == "v1")
    moved = []
    li.room.on("moved", lambda: moved.append(li.room.name))
    microphone = await li.speak("red")
    await li.show("red")
    await wang.speak("green")
    await doctor.speak("blue")
    await doctor.show("blue")
    await until("wang hears li", lambda: wang.hears("li", "red"))
    await until("li hears wang", lambda: li.hears("wang", "green"))
    seat = li.room.local_participant.sid
    li.events.clear()

    there = api.MoveParticipantRequest(room=waiting, identity="li", destination_room=consult)
    await service.room.move_participant(there)
    await until("li is told", lambda: moved)
    assert li.room.name == consult and list(li.room.remote_participants) == ["zhao"]
    assert li.room.local_participant.sid == seat
    await until("wang sees him go", lambda: wang.count("participant_disconnected") == 1)
    await until("the doctor hears li", lambda: doctor.hears("li", "red"))
    await until("the doctor sees li", lambda: doctor.sees("li", "red"))
    await until("li hears the doctor", lambda: li.hears("zhao", "blue"))
    await until("li sees the doctor", lambda: li.sees("zhao", "blue"))

    async def present(room):
        listed = await service.room.list_participants(api.ListParticipantsRequest(room=room))
        return {one.identity: [track.sid for track in one.tracks] for one in listed.participants}

    assert list(await present(waiting)) == ["wang"]
    assert microphone.sid in (await present(consult))["li"], "under the name that it had"
    await li.room.local_participant.publish_data(b"good morning", topic="x")
    await until("the doctor reads it", lambda: [one.data for one in doctor.data] == [b"good morning"])
    assert not wang.data
    assert li.count("disconnected") == 0

    with pytest.raises(api.TwirpError) as refused:
        await service.room.move_participant(there)
    assert refused.value.code == "not_found"

    # A broken line is taken up in the room where he is now.
    returns = li.count("reconnected")
    wire.cut()
    await until("li is back", lambda: li.count("reconnected") > returns)
    doctor.heard["li"].clear()
    await until("the doctor hears li", lambda: doctor.hears("li", "red"))
    assert li.room.local_participant.sid == seat
    assert doctor.count("participant_disconnected") == 0

    # And back again, over the sections that have been used before.
    back = api.MoveParticipantRequest(room=consult, identity="li", destination_room=waiting)
    await service.room.move_participant(back)
    wang.heard.clear()
    await until("wang hears li", lambda: wang.hears("li", "red"))
    await until("li hears wang", lambda: li.hears("wang", "green"))
    assert li.room.connection_state == rtc.ConnectionState.CONN_CONNECTED
    await doctor.leave()
    await wire.stop()
