"""Rooms that are encrypted from end to end: the server forwards what it cannot read."""

from livekit import rtc
from wait import until

SHARED = b"a key that everybody in the room has"


def options(shared=None):
    provider = rtc.KeyProviderOptions(shared_key=shared)
    return rtc.E2EEOptions(key_provider_options=provider)


async def test_with_a_shared_key_everybody_sees_and_hears(enter):
    li, wang = [await enter(who, encryption=options(SHARED)) for who in ("li", "wang")]
    stranger = await enter("stranger", encryption=options(b"another key altogether"))
    await li.speak("red")
    await li.show("red", 1280, 720, simulcast=True)
    await until("wang sees li", lambda: wang.sees("li", "red"))
    await until("wang hears li", lambda: wang.hears("li", "red"))
    # Layers are told apart by what is not encrypted.
    publications = wang.room.remote_participants["li"].track_publications.values()
    (camera,) = [one for one in publications if one.kind == rtc.TrackKind.KIND_VIDEO]
    camera.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_LOW)
    await until("a smaller one comes", lambda: wang.seen["li"]["size"][0] <= 320)
    assert not stranger.sees("li", "red")
    assert not stranger.hears("li", "red")


async def test_with_a_key_for_each_it_is_the_same(enter):
    people = [await enter(who, encryption=options()) for who in ("li", "wang")]
    keys = {"li": b"the key of li", "wang": b"the key of wang"}
    for person in people:
        for who, key in keys.items():
            person.room.e2ee_manager.key_provider.set_key(who, key, 0)
    for person, colour in zip(people, ("red", "green"), strict=True):
        await person.speak(colour)
        await person.show(colour)
    li, wang = people
    await until("wang sees li", lambda: wang.sees("li", "red"))
    await until("wang hears li", lambda: wang.hears("li", "red"))
    await until("li sees wang", lambda: li.sees("wang", "green"))
    await until("li hears wang", lambda: li.hears("wang", "green"))
