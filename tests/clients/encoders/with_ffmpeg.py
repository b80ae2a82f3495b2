"""An encoder made of FFmpeg's WHIP muxer, which PyAV carries. Arguments: address, token, codec,
colour, tone. The muxer knows H.264 only, and ends its session by itself."""

import pathlib
import sys
import tempfile
import threading
import time

import av

import certificate
import scene
import whip


def main(url, token, codec, rgb, hz):
    assert codec == "h264", "FFmpeg's muxer sends H.264 only"
    rgb, hz = scene.colour(rgb), int(hz)
    # As a DTLS server, which the muxer would be otherwise, an encoder asks us to be the client.
    options = {"authorization": token, "whip_flags": "dtls_active"}
    folder = tempfile.TemporaryDirectory()
    for option, text in zip(("key_file", "cert_file"), certificate.pem()):
        options[option] = f"{folder.name}/{option}.pem"
        pathlib.Path(options[option]).write_text(text)
    out = av.open(url, "w", format="whip", options=options)
    video = out.add_stream("libx264", rate=scene.RATE)
    video.width, video.height, video.pix_fmt = scene.WIDTH, scene.HEIGHT, "yuv420p"
    video.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": "15"}
    audio = out.add_stream("libopus", rate=scene.SOUND_RATE)
    audio.layout = "stereo"
    over = threading.Event()
    threading.Thread(target=lambda: (whip.wait_for_the_end(), over.set()), daemon=True).start()
    began, sounds, n = time.time(), 0, 0
    while not over.is_set():
        out.mux(video.encode(scene.picture(rgb, n)))
        n += 1
        while sounds * scene.SOUND_STEP / scene.SOUND_RATE < n / scene.RATE:
            out.mux(audio.encode(scene.tone(hz, sounds)))
            sounds += 1
        if n == 1:
            whip.say("published")
        time.sleep(max(0, began + n / scene.RATE - time.time()))
    out.close()
    whip.say("ended")


main(*sys.argv[1:])
