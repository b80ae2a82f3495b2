"""A participant made of the unmodified Python SDK: sends a colour and a tone, and knows what it
sees and hears of everybody else."""

import asyncio
import os

import numpy as np
from livekit import api, rtc

URL = os.environ["LIVEKIT_URL"]
KEY = os.environ.get("LIVEKIT_API_KEY", "devkey")
SECRET = os.environ.get("LIVEKIT_API_SECRET", "secret")

RATE = 48_000
WIDTH, HEIGHT, FRAMES_PER_SECOND = 640, 360, 15
# I420 values that no other's codec could make of them; a moving bar shows that a picture is alive.
COLOURS = {
    "red": (82, 90, 240),
    "green": (145, 54, 34),
    "blue": (41, 240, 110),
    "magenta": (107, 202, 222),
    "cyan": (170, 166, 16),
}
TONES = {"red": 440, "green": 700, "blue": 1130, "magenta": 1830, "cyan": 940}
COLOUR_TOLERANCE = 40
TONE_TOLERANCE_HZ = 10


def token(identity, room, **grants):
    """A token for one room; `grants` are those of a `VideoGrants`."""
    video = api.VideoGrants(room_join=True, room=room, **grants)
    attributes = {"consilium.consent": "granted"}
    made = api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(video)
    return made.with_attributes(attributes).to_jwt()


class Person:
    """Joined to a room until `leave`."""

    def __init__(self, identity):
        self.identity = identity
        self.room = rtc.Room()
        self.data = []
        self.events = []
        self.seen = {}
        self.heard = {}
        # The tracks by whom and of what kind they are.
        self.tracks = {}
        self.tasks = []
        self.room.on("track_subscribed", self._watch)
        self.room.on("data_received", self.data.append)
        for event in (
            "participant_connected",
            "participant_disconnected",
            "track_published",
            "track_unpublished",
            "track_unsubscribed",
            "track_muted",
            "track_unmuted",
            "participant_metadata_changed",
            "participant_attributes_changed",
            "participant_name_changed",
            "room_metadata_changed",
            "connection_state_changed",
            "reconnecting",
            "reconnected",
            "disconnected",
        ):
            self.room.on(event, lambda *told, event=event: self.events.append((event, told)))

    @classmethod
    async def join(cls, identity, room, url=URL, single=True, grants=None, **options):
        return await cls.enter(token(identity, room, **(grants or {})), url, single, **options)

    @classmethod
    async def enter(cls, jwt, url=URL, single=True, **options):
        """With a token that somebody else has made."""
        person = cls(api.TokenVerifier(KEY, SECRET).verify(jwt).identity)
        chosen = rtc.RoomOptions(single_peer_connection=single, **options)
        await person.room.connect(url, jwt, chosen)
        return person

    def count(self, event):
        return sum(1 for name, _ in self.events if name == event)

    def _watch(self, track, publication, participant):
        self.tracks[participant.identity, track.kind] = track
        watch = self._see if track.kind == rtc.TrackKind.KIND_VIDEO else self._hear
        self.tasks.append(asyncio.ensure_future(watch(track, participant.identity)))

    async def _see(self, track, who):
        seen = self.seen[who] = {"frames": 0, "size": None, "yuv": None, "bars": set(), "change": 0}
        before = None
        stream = rtc.VideoStream(track)
        async for event in stream:
            frame = event.frame
            seen["frames"] += 1
            seen["size"] = (frame.width, frame.height)
            if seen["frames"] % 5 == 1:
                seen["yuv"], bar, grid = look(frame)
                seen["bars"].add(bar)
                if before is not None and before.shape == grid.shape:
                    seen["change"] = float(np.abs(grid - before).mean())
                before = grid

    async def _hear(self, track, who):
        # What came before by another track is not mixed in: the SDK goes on with silence there.
        heard = self.heard[who] = []
        # Each piece costs the same whatever its length.
        pieces = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=50)
        async for event in pieces:
            heard.append(np.frombuffer(event.frame.data, dtype=np.int16).copy())
            while sum(map(len, heard)) > RATE:
                heard.pop(0)

    def sees(self, who, colour):
        """Moving pictures of that colour."""
        seen = self.seen.get(who)
        if not seen or seen["frames"] < 20 or len(seen["bars"]) < 2:
            return None
        wanted = np.array(COLOURS[colour])
        return seen["yuv"] is not None and np.abs(seen["yuv"] - wanted).max() < COLOUR_TOLERANCE

    def tone(self, who):
        """The loudest frequency of the last second, if it is loud."""
        samples = np.concatenate(self.heard.get(who) or [np.zeros(0, np.int16)])
        if len(samples) < RATE // 2 or np.abs(samples).max() <= 500:
            return None
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        return float(spectrum.argmax() * RATE / len(samples))

    def hears(self, who, colour):
        """The tone of that colour, and nothing louder."""
        hz = self.tone(who)
        return hz is not None and abs(hz - TONES[colour]) < TONE_TOLERANCE_HZ

    async def speak(self, colour):
        source = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        self.tasks.append(asyncio.ensure_future(feed_tone(source, TONES[colour])))
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        return await self.room.local_participant.publish_track(track, options)

    async def show(
        self,
        colour,
        width=WIDTH,
        height=HEIGHT,
        rate=FRAMES_PER_SECOND,
        simulcast=False,
        codec=None,
        mode=None,
    ):
        source = rtc.VideoSource(width, height)
        track = rtc.LocalVideoTrack.create_video_track("camera", source)
        self.tasks.append(asyncio.ensure_future(feed_colour(source, colour, width, height, rate)))
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, simulcast=simulcast
        )
        if codec is not None:
            options.video_codec = codec
        if mode is not None:
            options.scalability_mode = mode
        return await self.room.local_participant.publish_track(track, options)

    async def leave(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.room.disconnect()


async def feed_tone(source, hz):
    at = 0
    while True:
        times = (np.arange(RATE // 100) + at) / RATE
        samples = (8_000 * np.sin(2 * np.pi * hz * times)).astype(np.int16)
        at += len(samples)
        await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples)))


async def feed_colour(source, colour, width, height, rate):
    n = 0
    luma, cb, cr = COLOURS[colour]
    while True:
        picture = np.full(width * height * 3 // 2, luma, np.uint8)
        plane = picture[: width * height].reshape(height, width)
        # In the lowest eighth, so that the mean of what is above is the colour.
        # Not one step after the other: of five in eight pictures each fifth would be the same.
        bar = (n * (n + 1) // 2 % 8) * width // 8
        plane[height * 7 // 8 :, bar : bar + width // 8] = 235
        for at, chroma in ((4, cb), (5, cr)):
            half = picture[width * height * at // 4 : width * height * (at + 1) // 4]
            half[:] = chroma
            # White: brightness alone that changes is overlooked by libvpx where it encodes in layers.
            half.reshape(height // 2, width // 2)[height * 7 // 16 :, bar // 2 : (bar + width // 8) // 2] = 128
        frame = rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, picture.tobytes())
        source.capture_frame(frame)
        n += 1
        await asyncio.sleep(1 / rate)


def look(frame):
    """The mean colour of the upper seven eighths, where the bar is, and a coarse grid of brightness."""
    width, height = frame.width, frame.height
    data = np.frombuffer(frame.convert(rtc.VideoBufferType.I420).data, np.uint8)
    plane = data[: width * height].reshape(height, width)
    half = ((width + 1) // 2) * ((height + 1) // 2)
    cb, cr = data[width * height : width * height + half], data[width * height + half :]
    upper = plane[: height * 3 // 4]
    bar = plane[height * 7 // 8 + 2 :].astype(float).mean(axis=0).argmax() * 8 // width
    grid = plane[:: max(1, height // 18), :: max(1, width // 32)].astype(float)
    return np.array([upper.mean(), cb.mean(), cr[:half].mean()]), int(bar), grid
