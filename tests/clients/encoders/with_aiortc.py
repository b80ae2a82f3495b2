"""An encoder made of aiortc. Arguments: address, token, codec, colour, tone."""

import asyncio
import sys
import time

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

import scene
import whip


class Paced(MediaStreamTrack):
    """Frames of a maker, each when it is due."""

    def __init__(self, kind, seconds, make):
        self.kind = kind
        super().__init__()
        self.seconds, self.make = seconds, make
        self.n, self.began = 0, time.time()

    async def recv(self):
        due = self.began + self.n * self.seconds
        await asyncio.sleep(max(0, due - time.time()))
        self.n += 1
        return self.make(self.n - 1)


async def main(url, token, codec, rgb, hz):
    rgb, hz = scene.colour(rgb), int(hz)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    picture = Paced("video", 1 / scene.RATE, lambda n: scene.picture(rgb, n))
    sound = Paced("audio", scene.SOUND_STEP / scene.SOUND_RATE, lambda n: scene.tone(hz, n))
    video = peer.addTransceiver(picture, direction="sendonly")
    known = RTCRtpSender.getCapabilities("video").codecs
    video.setCodecPreferences([one for one in known if one.mimeType.lower() == f"video/{codec}"])
    peer.addTransceiver(sound, direction="sendonly")
    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp
    session = await asyncio.to_thread(whip.Session, url, token, offer)
    await peer.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))
    candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
    fragment = whip.credentials(offer) + "".join(f"{line}\r\n" for line in candidates[:1])
    whip.say("trickled", await asyncio.to_thread(session.trickle, fragment))
    await asyncio.to_thread(whip.wait_for_the_end)
    whip.say("ended", await asyncio.to_thread(session.end))
    await peer.close()


asyncio.run(main(*sys.argv[1:]))
