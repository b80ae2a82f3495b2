"""A colour with a white mark that moves, and a tone: the same as media.mjs makes for people."""

import fractions
import math
from array import array

import av

WIDTH, HEIGHT, RATE = 640, 360, 15
SOUND_RATE, SOUND_STEP = 48_000, 960


def picture(rgb, n):
    red, green, blue = rgb
    luma = int(16 + 0.257 * red + 0.504 * green + 0.098 * blue)
    cb = int(128 - 0.148 * red - 0.291 * green + 0.439 * blue)
    cr = int(128 + 0.439 * red - 0.368 * green - 0.071 * blue)
    side = WIDTH // 8
    at = n * 16 % (WIDTH - side)
    row = bytes([luma]) * WIDTH
    marked = row[:at] + bytes([235]) * side + row[at + side :]
    plain = HEIGHT // 2
    rows = [row * plain, marked * side, row * (HEIGHT - plain - side)]
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    planes = [b"".join(rows)] + [bytes([tint]) * (WIDTH * HEIGHT // 4) for tint in (cb, cr)]
    for plane, data in zip(frame.planes, planes):
        plane.update(data)
    frame.pts, frame.time_base = n, fractions.Fraction(1, RATE)
    return frame


def tone(hz, n):
    # A whole number of hertz begins anew every second.
    first = n * SOUND_STEP
    wave = (8_000 * math.sin(2 * math.pi * hz * (first + i) / SOUND_RATE) for i in range(SOUND_STEP))
    stereo = array("h", (int(value) for value in wave for _ in range(2)))
    frame = av.AudioFrame(format="s16", layout="stereo", samples=SOUND_STEP)
    frame.planes[0].update(stereo.tobytes())
    frame.sample_rate = SOUND_RATE
    frame.pts, frame.time_base = first, fractions.Fraction(1, SOUND_RATE)
    return frame


def colour(text):
    return tuple(int(part) for part in text.split(","))
