"""Coming, being told about others, changing, losing the line, and going."""

from livekit import rtc
from relay import Relay
from wait import until


async def test_everybody_is_told_who_comes_and_goes(enter):
    li = await enter("li")
    assert li.room.connection_state == rtc.ConnectionState.CONN_CONNECTED
    assert await li.room.sid
    wang = await enter("wang")
    await until("li is told", lambda: li.count("participant_connected") == 1)
    assert list(wang.room.remote_participants) == ["li"]
    await wang.leave()
    await until("li is told", lambda: li.count("participant_disconnected") == 1)
    assert wang.room.connection_state == rtc.ConnectionState.CONN_DISCONNECTED


async def test_what_somebody_says_of_himself_is_told(enter):
    li = await enter("li", grants={"can_update_own_metadata": True})
    wang = await enter("wang")
    me = li.room.local_participant
    await me.set_name("Dr. Li")
    await me.set_metadata("cardiology")
    await me.set_attributes({"ward": "7"})
    seen = wang.room.remote_participants["li"]
    await until("wang knows", lambda: (seen.name, seen.metadata) == ("Dr. Li", "cardiology"))
    await until("and the ward", lambda: seen.attributes.get("ward") == "7")


async def test_a_mute_is_told(enter):
    li, wang = [await enter(who) for who in ("li", "wang")]
    microphone = await li.speak("red")
    await until("wang hears li", lambda: wang.hears("li", "red"))
    microphone.track.mute()
    await until("wang is told", lambda: wang.count("track_muted") == 1)
    microphone.track.unmute()
    await until("wang is told", lambda: wang.count("track_unmuted") == 1)
    wang.heard["li"].clear()
    await until("wang hears li again", lambda: wang.hears("li", "red"))


async def test_a_cut_wire_costs_no_sound_and_no_seat(enter):
    wire = await Relay.start()
    li = await enter("li", url=wire.url)
    wang = await enter("wang")
    await li.speak("red")
    await until("wang hears li", lambda: wang.hears("li", "red"))
    seat = li.room.local_participant.sid
    wire.cut()
    await until("it is noticed", lambda: li.count("reconnecting") >= 1)
    await until("li is back", lambda: li.count("reconnected") >= 1)
    assert li.room.local_participant.sid == seat
    wang.heard["li"].clear()
    await until("wang hears li", lambda: wang.hears("li", "red"))
    assert wang.count("participant_disconnected") == 0
    await li.room.local_participant.publish_data("still here", topic="x")
    await until("data passes", lambda: [packet.data for packet in wang.data] == [b"still here"])
    await wire.stop()


async def test_whoever_comes_twice_is_here_once(enter):
    first = await enter("li")
    await enter("li")
    await until("the first is told", lambda: first.count("disconnected") == 1)
    (told,) = [told for name, told in first.events if name == "disconnected"]
    assert told[0] == rtc.DisconnectReason.DUPLICATE_IDENTITY
