"""Pictures and tones from one to another, and the layers of a picture."""

from livekit import rtc
from wait import until


async def test_pictures_and_tones_go_both_ways(enter):
    li, wang = [await enter(who) for who in ("li", "wang")]
    for person, colour in ((li, "red"), (wang, "green")):
        await person.speak(colour)
        await person.show(colour)
    await until("wang sees li", lambda: wang.sees("li", "red"))
    await until("li sees wang", lambda: li.sees("wang", "green"))
    await until("wang hears li", lambda: wang.hears("li", "red"))
    await until("li hears wang", lambda: li.hears("wang", "green"))


async def test_a_late_joiner_sees_what_goes_on(enter):
    li = await enter("li")
    await li.speak("blue")
    await li.show("blue")
    wang = await enter("wang")
    await until("wang sees li", lambda: wang.sees("li", "blue"))
    await until("wang hears li", lambda: wang.hears("li", "blue"))


async def test_a_wanted_layer_is_what_comes(enter):
    li = await enter("li")
    await li.show("green", 1280, 720, simulcast=True)
    wang = await enter("wang")
    await until("wang sees li", lambda: wang.sees("li", "green"))
    (publication,) = wang.room.remote_participants["li"].track_publications.values()
    width = lambda: wang.seen["li"]["size"][0]  # noqa: E731
    publication.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_LOW)
    await until("the picture is small", lambda: width() <= 320)
    publication.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_HIGH)
    # The sender needs seconds to trust its line again.
    await until("the picture is large", lambda: width() == 1280)


async def test_what_is_not_subscribed_does_not_come(enter):
    li = await enter("li")
    microphone = await li.speak("red")
    wang = await enter("wang", auto_subscribe=False)
    await until("wang knows it", lambda: wang.room.remote_participants["li"].track_publications)
    publication = wang.room.remote_participants["li"].track_publications[microphone.sid]
    assert not publication.subscribed and wang.heard == {}
    publication.set_subscribed(True)
    await until("wang hears li", lambda: wang.hears("li", "red"))
    publication.set_subscribed(False)
    await until("it ends", lambda: wang.count("track_unsubscribed") == 1)


async def test_a_track_that_is_taken_back_is_gone(enter):
    li, wang = [await enter(who) for who in ("li", "wang")]
    microphone = await li.speak("red")
    await until("wang hears li", lambda: wang.hears("li", "red"))
    await li.room.local_participant.unpublish_track(microphone.sid)
    await until("it is gone", lambda: wang.count("track_unpublished") == 1)
    await li.speak("blue")
    await until("another tone comes", lambda: wang.hears("li", "blue"))
