"""Participants made of the Python SDK, driven over standard input and output by the matrix of clients:
one JSON object a line, answered by one of the same number."""

import asyncio
import json
import sys

from livekit import rtc
from person import Person

CODECS = {
    "vp8": rtc.VideoCodec.VP8,
    "h264": rtc.VideoCodec.H264,
    "vp9": rtc.VideoCodec.VP9,
    "av1": rtc.VideoCodec.AV1,
}


class Driven:
    """One participant, with a method for each thing that can be asked of it."""

    async def join(self, url, token, single):
        self.person = await Person.enter(token, url, single)

    async def speak(self, colour):
        await self.person.speak(colour)

    async def show(self, colour, codec, **options):
        await self.person.show(colour, codec=CODECS[codec], **options)

    async def hide(self):
        local = self.person.room.local_participant
        for camera in list(local.track_publications.values()):
            if camera.source == rtc.TrackSource.SOURCE_CAMERA:
                await local.unpublish_track(camera.sid)

    async def sends(self):
        stats = await self.person.room.get_rtc_stats()
        codecs, sent = by_kind([*stats.publisher_stats, *stats.subscriber_stats], "outbound_rtp")
        used = [one for one in sent if one.outbound.frames_encoded > 0]
        if not used:
            return None
        return {
            "codec": codecs.get(used[0].stream.codec_id),
            "frames": sum(one.outbound.frames_encoded for one in used),
            "encoder": used[0].outbound.encoder_implementation,
            "mode": used[0].outbound.scalability_mode,
            "sizes": [one.outbound.frame_width for one in sent],
        }

    async def perceives(self, who):
        seen = self.person.seen.get(who)
        track = self.person.tracks.get((who, rtc.TrackKind.KIND_VIDEO))
        if not seen or seen["yuv"] is None or track is None:
            return None
        codecs, received = by_kind(await track.get_stats(), "inbound_rtp")
        return {
            "frames": seen["frames"],
            "rgb": rgb(seen["yuv"]),
            "change": seen["change"],
            "size": seen["size"],
            "hz": self.person.tone(who),
            "codec": codecs.get(received[0].stream.codec_id) if received else None,
        }

    async def want_little(self, who):
        for publication in self.person.room.remote_participants[who].track_publications.values():
            if publication.kind == rtc.TrackKind.KIND_VIDEO:
                publication.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_LOW)

    async def leave(self):
        await self.person.leave()


def by_kind(stats, kind):
    """The codecs by their ids, and the reports of pictures of that kind, each once."""
    codecs, found = {}, {}
    for one in stats:
        if one.HasField("codec"):
            codecs[one.codec.rtc.id] = one.codec.codec.mime_type
        elif one.HasField(kind):
            report = getattr(one, kind)
            if report.stream.kind == "video":
                found[report.rtc.id] = report
    return codecs, list(found.values())


def rgb(yuv):
    luma, cb, cr = yuv[0] - 16, yuv[1] - 128, yuv[2] - 128
    mixed = (
        1.164 * luma + 1.596 * cr,
        1.164 * luma - 0.392 * cb - 0.813 * cr,
        1.164 * luma + 2.017 * cb,
    )
    return [round(min(255, max(0, value))) for value in mixed]


async def answer(people, asked):
    person = people.setdefault(asked["who"], Driven())
    try:
        done = await getattr(person, asked["do"])(**asked["with"])
        return {"number": asked["number"], "done": done}
    except Exception as error:
        # Said to whoever asked, who decides what it means.
        return {"number": asked["number"], "failed": f"{type(error).__name__}: {error}"}


async def serve():
    people, running = {}, set()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.ensure_future(answer(people, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda task: print(json.dumps(task.result()), flush=True))


if __name__ == "__main__":
    asyncio.run(serve())
