"""How soon a voice is back after the line was: figures, not a test.

Every kind of fault has a clinic with a network of its own, in which a doctor speaks without end, in
Chromium or through the Python SDK; a listener beside the server notes when he is heard. A bystander
whose line is never cut speaks too: where she had a hole at the same time, the machine stood still. That
is said, and the run counts as late all the same. Run by `tests/recovery.sh`, in namespaces.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

# Where the server is, on loopback's side of every clinic's wire.
SERVER, PORT = "10.77.255.1", 7880
SECRET = "nobody but this measurement uses this secret"
os.environ["LIVEKIT_URL"] = f"ws://{SERVER}:{PORT}"
os.environ["LIVEKIT_API_KEY"] = "clinic"
os.environ["LIVEKIT_API_SECRET"] = SECRET

import numpy as np  # noqa: E402
from livekit import rtc  # noqa: E402
from person import Person, token  # noqa: E402

CUT_S = 4.0
RESTART_S = 5.0
# Who is heard so long without a hole is back.
CALM_S = 4.0
# Between two faults, so that none falls into the tidying up after the one before: browsers on Linux
# learn two seconds late which addresses they have.
PAUSE_S = 5.0
# Clients ping every second. Without this each fault falls as long after a ping as the one before.
JITTER_S = 1.0
PATIENCE_S = 40.0
# A folder for what the doctors' SDKs say, where somebody looks for a cause.
LOGS = os.environ.get("RECOVERY_LOGS")
LOUD = 500
# Pieces of 10 ms that may be missing before it counts as silence.
HOLE = 10
# An event loop that wakes so much too late was not given the machine.
OVERSLEPT_S = 0.5
# Whoever is not heard for so many times PATIENCE_S will not be: what is left of his runs is lost.
TRIES = 3


class Clinic:
    """A network of its own, whose only wire leads to the server."""

    def __init__(self, number):
        self.number = number
        self.host = 2
        # Holds the network namespace for as long as it lives.
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.pid = wait_for_namespace(self.holder.pid)
        outside, self.inside = f"ward{number}", f"clinic{number}"
        run(f"ip link add {outside} type veth peer name {self.inside} netns {self.pid}")
        run(f"ip address add {self.net}.1/24 dev {outside}")
        run(f"ip link set {outside} up")
        self.do("ip link set lo up")
        self.do("nft add table inet fault")
        self.do("nft add chain inet fault out { type filter hook output priority 0; }")
        self.do("nft add chain inet fault in { type filter hook input priority 0; }")
        self.up()

    @property
    def net(self):
        return f"10.77.{self.number}"

    @property
    def enter(self):
        return ["nsenter", "-t", str(self.pid), "-n"]

    def do(self, command):
        run(command, self.enter)

    def up(self):
        self.do(f"ip link set {self.inside} up")
        with suppress(subprocess.CalledProcessError):
            self.do(f"ip address add {self.net}.{self.host}/24 dev {self.inside}")
        self.do(f"ip route replace default via {self.net}.1")

    def refuse(self, *rules):
        for chain in ("in", "out"):
            for rule in rules:
                # What comes in has the port at its other end.
                self.do(f"nft add rule inet fault {chain} {rule.format(side=SIDE[chain])}")

    def relent(self):
        # All rules at once.
        self.do("nft flush table inet fault")


SIDE = {"out": "dport", "in": "sport"}
NO_WEBSOCKET = f"tcp {{side}} {PORT} reject with tcp reset"
NO_UDP = "ip protocol udp drop"


# Faults run in threads, so that they keep nobody from listening.


def cut_websocket(clinic):
    clinic.refuse(NO_WEBSOCKET)
    time.sleep(0.3)
    clinic.relent()


def cut_udp(clinic):
    clinic.refuse(NO_UDP)
    time.sleep(CUT_S)
    clinic.relent()


def cut_both(clinic):
    clinic.refuse(NO_UDP, NO_WEBSOCKET)
    time.sleep(CUT_S)
    clinic.relent()


def change_address(clinic):
    clinic.do(f"ip address del {clinic.net}.{clinic.host}/24 dev {clinic.inside}")
    clinic.host = 5 - clinic.host
    clinic.up()


def restart_network(clinic):
    clinic.do(f"ip link set {clinic.inside} down")
    time.sleep(RESTART_S)
    clinic.up()


def until_restored(fault, clinic):
    """When the line was whole again."""
    fault(clinic)
    return time.monotonic()


# The fault and the seconds within which the voice has to be back.
FAULTS = {
    "the WebSocket is cut": (cut_websocket, 1.5),
    "UDP is cut for 4 s": (cut_udp, 1.5),
    "both are cut for 4 s": (cut_both, 1.5),
    "the address changes": (change_address, 3.5),
    "the network restarts for 5 s": (restart_network, 1.5),
}


def run(command, prefix=()):
    subprocess.run([*prefix, *command.split()], check=True, capture_output=True)


def wait_for_namespace(pid):
    own = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{pid}/ns/net") == own:
        time.sleep(0.01)
    return pid


class Listener(Person):
    """Notes when somebody's voice begins and ends."""

    def __init__(self, identity):
        super().__init__(identity)
        # Since when every piece of 10 ms was loud but for short holes; None while it is still.
        self.since = None
        self.still = 0
        # When there was silence, from when to when.
        self.holes = []

    async def _hear(self, track, who):
        # What was lost comes as silence, piece by piece: a listener who is slow himself loses nothing.
        async for event in rtc.AudioStream(track, sample_rate=48_000, num_channels=1):
            samples = np.frombuffer(event.frame.data, dtype=np.int16)
            if np.abs(samples).max() > LOUD:
                now = time.monotonic()
                if self.still > HOLE:
                    self.holes.append((now - self.still / 100, now))
                self.still = 0
                self.since = self.since or now
            else:
                self.still += 1
                if self.still > HOLE:
                    self.since = None

    async def is_heard(self, since, lasting):
        """Waits until there were no holes for so long; when that began, or None."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            begun = self.since and max(self.since, since)
            if begun and time.monotonic() - begun > lasting:
                return begun
        return None


class Witness:
    """Knows when the machine stood still: a clock, and a bystander whose line is never cut."""

    ROOM = "recovery-bystander"

    async def __aenter__(self):
        # An SDK uses no loopback, so there has to be a wire before the first listener.
        self.clinic = Clinic(200)
        command = [*self.clinic.enter, sys.executable, __file__, "--speak", self.ROOM]
        self.bystander = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.listener = await Listener.join("listener", self.ROOM)
        self.stalls = []
        self.clock = asyncio.create_task(self.tick())
        return self

    async def __aexit__(self, *_):
        self.clock.cancel()
        self.bystander.stdin.close()
        await self.listener.leave()
        self.bystander.wait()
        self.clinic.holder.kill()

    async def tick(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if now - before > OVERSLEPT_S:
                self.stalls.append((before, now))

    def stalled(self, since, until):
        """How long the machine stood still in a time, at the most at once."""
        parts = self.stalls + self.listener.holes
        return max([0.0] + [min(until, end) - max(since, begin) for begin, end in parts])


def note(number, what):
    if LOGS:
        now = time.time()
        when = time.strftime("%H:%M:%S", time.localtime(now)) + f",{int(now * 1000) % 1000:03}"
        with open(f"{LOGS}/faults-{number}.log", "a", encoding="utf8") as file:
            file.write(f"{when} {what}\n")


SPEAKERS = {
    "python": lambda room: [sys.executable, __file__, "--speak", room],
    "browser": lambda room: ["node", BROWSER, os.environ["LIVEKIT_URL"], token("doctor", room)],
}
# What a reader of the table has to know of the client.
REASONS = {
    "python": """An engine in Rust (Python, Node) tries once to resume and joins anew if that fails; its first try
comes 3 s into an outage, so whoever is cut from everything for longer gives up his seat himself.""",
    "browser": """A browser goes on trying to resume. That its address is another it learns from `rooms.ping_timeout`
(2 to 3 s by default); livekit-client then waits 0.25 s for a WebSocket that cannot close, draws up to
0.5 s of patience, and 0.15 s go into the resume and the restart of ICE: up to 3.9 s. With a
`ping_timeout` of 2 it is a second less.""",
}
BROWSER = os.path.join(os.path.dirname(__file__), "../clients/speaker.mjs")


async def is_anybody_there(listener):
    for _ in range(TRIES):
        if await listener.is_heard(0, CALM_S) is not None:
            return True
    return False


async def rounds(number, name, runs, client, witness):
    fault, limit = FAULTS[name]
    clinic = Clinic(number)
    room = f"recovery-{number}"
    command = [*clinic.enter, *SPEAKERS[client](room)]
    told = open(f"{LOGS}/doctor-{number}.log", "w") if LOGS else subprocess.DEVNULL
    doctor = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=told)
    listener = await Listener.join("listener", room)
    times, late = [], []
    seats = set()
    # Browsers begin one after the other; the last of them is not to be taken for a fault.
    await listener.is_heard(0, CALM_S)
    await asyncio.sleep(2 * PAUSE_S)
    for run_number in range(1, runs + 1):
        if not await is_anybody_there(listener):
            late += [(None, 0.0)] * (runs - run_number + 1)
            break
        seats.add(listener.room.remote_participants["doctor"].sid)
        note(number, "fault begins")
        restored = await asyncio.to_thread(until_restored, fault, clinic)
        note(number, "fault ends")
        back = await listener.is_heard(restored, CALM_S)
        await asyncio.sleep(PAUSE_S + random.uniform(0, JITTER_S))
        took = back and max(0.0, back - restored)
        stall = witness.stalled(restored, back or time.monotonic())
        note(number, f"heard again after {took} s")
        shown = "not heard again" if took is None else f"{took:.2f} s"
        print(f"{run_number}/{runs} {name}: {shown}", file=sys.stderr, flush=True)
        if took is not None:
            times.append(took)
        if took is None or took > limit:
            late.append((took, stall))
    doctor_now = listener.room.remote_participants.get("doctor")
    seats.add(doctor_now.sid if doctor_now else None)
    doctor.stdin.close()
    await listener.leave()
    doctor.wait()
    clinic.holder.kill()
    times.sort()
    return {
        "fault": name,
        "limit": limit,
        "runs": runs,
        "kept": runs - len(late),
        "late": late,
        "median": times[len(times) // 2] if times else None,
        "slowest": times[-1] if times else None,
        "seats": len(seats),
    }


async def speak(room):
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")
    doctor = await Person.join("doctor", room)
    await doctor.speak("red")
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    await doctor.leave()


async def measure(runs, binary, only, client, ping):
    run("ip link set lo up")
    run(f"ip address add {SERVER}/32 dev lo")
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "consilium.toml")
        with open(config, "w", encoding="utf8") as file:
            values = {"address": SERVER, "port": PORT, "secret": SECRET, "ping": ping}
            file.write(CONFIG.format(data=json.dumps(folder), **values))
        # What it warns of stands beside the table.
        server = subprocess.Popen([binary, "serve", "--config", config], stdout=sys.stderr)
        await asyncio.sleep(2)
        try:
            names = [list(FAULTS)[number - 1] for number in only] or FAULTS
            async with Witness() as witness:
                work = [rounds(n + 1, name, runs, client, witness) for n, name in enumerate(names)]
                return await asyncio.gather(*work)
        finally:
            server.terminate()
            server.wait()


CONFIG = """data_dir = {data}
[http]
listen_ip = "0.0.0.0"
port = {port}
insecure_http = true
[media]
listen_ip = "{address}"
workers = 2
port_first = 7882
[keys]
clinic = "{secret}"
[rooms]
ping_timeout = {ping}
[recording]
policy = "never"
"""


def table(lines, client):
    yield "| fault | runs | back in time | median | slowest | bound | seat kept |"
    yield "|---|--:|--:|--:|--:|--:|---|"
    for one in lines:
        shown = ["–" if one[key] is None else f"{one[key]:.2f} s" for key in ("median", "slowest")]
        kept = "yes" if one["seats"] == 1 else f"no, {one['seats']}"
        yield (
            f"| {one['fault']} | {one['runs']} | {one['kept']} | {shown[0]} | {shown[1]} "
            f"| {one['limit']} s | {kept} |"
        )
    late = [(one["fault"], *run) for one in lines for run in one["late"]]
    if late:
        yield "\nLate, and counted as such:\n"
    for name, took, stall in late:
        shown = "not heard again" if took is None else f"{took:.2f} s"
        # Who was cut from nothing was not heard either.
        beside = f"; the machine stood still for {stall:.2f} s of it" if stall > HOLE / 100 else ""
        yield f"- {name}: {shown}{beside}"
    yield f"\n{REASONS[client]}"


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--speak", metavar="ROOM")
    options.add_argument("--runs", type=int, default=50)
    options.add_argument("--client", choices=SPEAKERS, default="browser")
    options.add_argument("--ping-timeout", type=int, default=3, help="what clients wait for, in s")
    options.add_argument("--only", default="", metavar="NUMBERS", help="such as 2,4,4: these faults of the list")
    options.add_argument("--binary", default="target/release/consilium")
    chosen = options.parse_args()
    if chosen.speak:
        asyncio.run(speak(chosen.speak))
    else:
        only = [int(number) for number in chosen.only.split(",") if number]
        wanted = (chosen.runs, chosen.binary, only, chosen.client, chosen.ping_timeout)
        print("\n".join(table(asyncio.run(measure(*wanted)), chosen.client)))
