"""From the operation into the lecture, and in the operation all the while."""

import pytest
from livekit import api, rtc
from person import Person
from wait import until


async def test_from_the_operation_into_the_lecture(service, enter, mode):
    operation, lecture = enter.room, f"{enter.room}-lecture"
    surgeon = await enter("li")
    nurse = await enter("wang")
    student = await Person.join("zhao", lecture, single=mode == "v1")
    microphone = await surgeon.speak("red")
    await surgeon.show("red")
    await nurse.speak("green")
    await student.speak("blue")
    await until("the nurse hears the surgeon", lambda: nurse.hears("li", "red"))
    seat = surgeon.room.local_participant.sid

    there = api.ForwardParticipantRequest(
        room=operation, identity="li", destination_room=lecture
    )
    await service.room.forward_participant(there)
    await until("the student hears the surgeon", lambda: student.hears("li", "red"))
    await until("the student sees the surgeon", lambda: student.sees("li", "red"))
    shown = student.room.remote_participants["li"]
    assert shown.sid != seat
    assert microphone.sid in shown.track_publications, "under the name that it has"

    async def present(room):
        listed = await service.room.list_participants(api.ListParticipantsRequest(room=room))
        return {one.identity: one for one in listed.participants}

    assert sorted(await present(operation)) == ["li", "wang"]
    listed = await present(lecture)
    assert sorted(listed) == ["li", "zhao"]
    assert list(listed["li"].kind_details) == [api.ParticipantInfo.KindDetail.FORWARDED]

    # What he does is followed.
    who = api.RoomParticipantIdentity(room=operation, identity="li")
    await service.room.update_participant(
        api.UpdateParticipantRequest(room=operation, identity="li", name="Dr. Li")
    )
    await until("the student reads his name", lambda: shown.name == "Dr. Li")
    await service.room.mute_published_track(
        api.MuteRoomTrackRequest(
            room=operation, identity="li", track_sid=microphone.sid, muted=True
        )
    )
    await until("the student sees him mute", lambda: student.count("track_muted") == 1)
    await until("the student hears nothing", lambda: student.tone("li") is None)
    microphone.track.unmute()
    await until("the student hears him again", lambda: student.hears("li", "red"))
    await surgeon.room.local_participant.unpublish_track(microphone.sid)
    await until("the student sees it end", lambda: student.count("track_unpublished") == 1)
    await surgeon.speak("magenta")
    await until("the student hears the new one", lambda: student.hears("li", "magenta"))

    # He himself has noticed nothing, and sees nobody of them.
    assert list(surgeon.room.remote_participants) == ["wang"]
    assert surgeon.room.local_participant.sid == seat
    await student.room.local_participant.publish_data(b"a question", topic="x")

    # Whoever is only shown is changed where he is, and not sent on.
    for refused, code in (
        (lambda: service.room.forward_participant(there), "already_exists"),
        (
            lambda: service.room.forward_participant(
                api.ForwardParticipantRequest(
                    room=lecture, identity="li", destination_room=f"{lecture}-on"
                )
            ),
            "failed_precondition",
        ),
        (
            lambda: service.room.move_participant(
                api.MoveParticipantRequest(
                    room=lecture, identity="li", destination_room=f"{lecture}-on"
                )
            ),
            "failed_precondition",
        ),
        (
            lambda: service.room.update_participant(
                api.UpdateParticipantRequest(room=lecture, identity="li", name="x")
            ),
            "failed_precondition",
        ),
    ):
        with pytest.raises(api.TwirpError) as error:
            await refused()
        assert error.value.code == code, error.value.message

    gone = api.RoomParticipantIdentity(room=lecture, identity="li")
    await service.room.remove_participant(gone)
    await until("the student sees him go", lambda: not student.room.remote_participants)
    nurse.heard["li"].clear()
    await until("the nurse hears him", lambda: nurse.hears("li", "magenta"))
    assert (await service.room.get_participant(who)).sid == seat
    assert surgeon.count("disconnected") == 0 and not surgeon.data
    assert surgeon.room.connection_state == rtc.ConnectionState.CONN_CONNECTED

    # And once more, until he is sent home.
    await service.room.forward_participant(there)
    await until("the student sees him", lambda: student.room.remote_participants)
    await service.room.remove_participant(who)
    await until("the student sees him go", lambda: not student.room.remote_participants)
    await student.leave()
