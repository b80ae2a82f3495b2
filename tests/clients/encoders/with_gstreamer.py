"""An encoder made of GStreamer's webrtcbin. Arguments: address, token, codec, colour, tone. Runs
under Debian's Python, which has GStreamer's bindings."""

import re
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

import certificate  # noqa: E402
import whip  # noqa: E402

ENCODERS = {
    "vp8": "vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay pt=96"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000",
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30"
    " ! video/x-h264,profile=constrained-baseline ! rtph264pay pt=96 config-interval=-1"
    " aggregate-mode=zero-latency"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000",
}
SCENE = """
webrtcbin name=peer bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball background-color=0xff{colour} foreground-color=0xffffffff
 ! video/x-raw,width=640,height=360,framerate=15/1 ! videoconvert ! queue ! {encoder} ! peer.
audiotestsrc is-live=true wave=sine freq={hz} ! audio/x-raw,rate=48000,channels=2 ! queue
 ! opusenc ! rtpopuspay pt=111
 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000 ! peer.
"""
# What is in a reply goes with it: Python's bindings do not copy it.
KEPT = []


def ask(peer, signal, argument, wanted=None):
    """Has webrtcbin do something, and returns what it promised."""
    promise = Gst.Promise.new()
    peer.emit(signal, argument, promise)
    promise.wait()
    reply = promise.get_reply()
    KEPT.append((promise, reply))
    return reply.get_value(wanted) if wanted else None


def description(kind, text):
    _, message = GstSdp.SDPMessage.new_from_text(text)
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def gathered(peer):
    """The offer, once all candidates are in it."""
    done = threading.Event()

    def look(*_):
        if peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            done.set()

    peer.connect("notify::ice-gathering-state", look)
    ask(peer, "set-local-description", ask(peer, "create-offer", None, "offer"))
    done.wait(30)
    return peer.get_property("local-description").sdp.as_text()


def main(url, token, codec, rgb, hz):
    Gst.init(None)
    colour = "".join(f"{int(part):02x}" for part in rgb.split(","))
    scene = SCENE.format(colour=colour, hz=hz, encoder=ENCODERS[codec]).replace("\n", " ")
    pipeline = Gst.parse_launch(scene)
    key, shown = certificate.pem()

    def show(_pipeline, _bin, element):
        factory = element.get_factory()
        if factory and factory.get_name() == "dtlsdec":
            element.set_property("pem", shown + key)

    pipeline.connect("deep-element-added", show)
    peer = pipeline.get_by_name("peer")
    # Where lo is the only interface, libnice would find no address. The agent's reference is floating:
    # whoever takes it must keep it.
    agent = peer.get_property("ice-agent")
    agent.emit("add-local-ip-address", "127.0.0.1")
    # Otherwise it says nothing of its consent (RFC 7675), and is given up.
    agent.get_property("agent").set_property("keepalive-conncheck", True)
    for n in range(2):
        transceiver = peer.emit("get-transceiver", n)
        transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        transceiver.set_property("do-nack", True)
    loop = GLib.MainLoop()
    threading.Thread(target=loop.run, daemon=True).start()
    ready = threading.Event()
    peer.connect("on-negotiation-needed", lambda *_: ready.set())
    pipeline.set_state(Gst.State.PLAYING)
    ready.wait(30)
    # webrtcbin has written down the certificate that it would have shown.
    ours = f"a=fingerprint:{certificate.fingerprint(shown)}"
    offer = re.sub(r"a=fingerprint:[^\r\n]*", ours, gathered(peer))
    session = whip.Session(url, token, offer)
    answer = description(GstWebRTC.WebRTCSDPType.ANSWER, session.answer)
    ask(peer, "set-remote-description", answer)
    candidate = re.search(r"a=candidate:.*", offer)
    fragment = whip.credentials(offer) + f"{candidate[0].strip()}\r\n"
    whip.say("trickled", session.trickle(fragment))
    whip.wait_for_the_end()
    whip.say("ended", session.end())
    pipeline.set_state(Gst.State.NULL)


main(*sys.argv[1:])
