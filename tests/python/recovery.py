"""How soon a voice is back after the line was: figures, not a test.

Every kind of fault has a clinic with a network of its own, in which a doctor speaks without end; a
listener beside the server notes when he is heard. Run by `tests/recovery.sh`, in namespaces.
"""

import argparse
import asyncio
import json
import os
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
from person import Person  # noqa: E402

CUT_S = 4.0
RESTART_S = 5.0
# What is heard in between two faults before the next one.
CALM_S = 2.0
PATIENCE_S = 40.0
LOUD = 500


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
        self.do("nft flush chain inet fault in")
        self.do("nft flush chain inet fault out")


SIDE = {"out": "dport", "in": "sport"}
NO_WEBSOCKET = f"tcp {{side}} {PORT} reject with tcp reset"
NO_UDP = "ip protocol udp drop"


async def cut_websocket(clinic):
    clinic.refuse(NO_WEBSOCKET)
    await asyncio.sleep(0.3)
    clinic.relent()


async def cut_udp(clinic):
    clinic.refuse(NO_UDP)
    await asyncio.sleep(CUT_S)
    clinic.relent()


async def cut_both(clinic):
    clinic.refuse(NO_UDP, NO_WEBSOCKET)
    await asyncio.sleep(CUT_S)
    clinic.relent()


async def change_address(clinic):
    clinic.do(f"ip address del {clinic.net}.{clinic.host}/24 dev {clinic.inside}")
    clinic.host = 5 - clinic.host
    clinic.up()


async def restart_network(clinic):
    clinic.do(f"ip link set {clinic.inside} down")
    await asyncio.sleep(RESTART_S)
    clinic.up()


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
        # Times at which a loud piece was heard; the last seconds are enough.
        self.loud = []

    async def _hear(self, track, who):
        async for event in rtc.AudioStream(track, sample_rate=48_000, num_channels=1):
            samples = np.frombuffer(event.frame.data, dtype=np.int16)
            if np.abs(samples).max() > LOUD:
                self.loud = [*self.loud[-2_000:], time.monotonic()]

    async def is_heard(self, since, lasting):
        """Waits until there were no holes for so long; when that began, or None."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            pieces = [at for at in self.loud if at >= since]
            holes = [n for n in range(1, len(pieces)) if pieces[n] - pieces[n - 1] > 0.1]
            unbroken = pieces[holes[-1] if holes else 0 :]
            if unbroken and time.monotonic() - unbroken[-1] < 0.1:
                if unbroken[-1] - unbroken[0] > lasting:
                    return unbroken[0]
        return None


async def rounds(number, name, runs):
    fault, limit = FAULTS[name]
    clinic = Clinic(number)
    room = f"recovery-{number}"
    command = [*clinic.enter, sys.executable, __file__, "--speak", room]
    doctor = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    listener = await Listener.join("listener", room)
    times, lost = [], 0
    seats = set()
    for _ in range(runs):
        assert await listener.is_heard(0, CALM_S) is not None, f"{name}: nobody speaks"
        seats.add(listener.room.remote_participants["doctor"].sid)
        await fault(clinic)
        restored = time.monotonic()
        back = await listener.is_heard(restored, CALM_S)
        if back is None:
            lost += 1
            continue
        times.append(max(0.0, back - restored))
    seats.add(listener.room.remote_participants["doctor"].sid)
    doctor.stdin.close()
    await listener.leave()
    doctor.wait()
    clinic.holder.kill()
    kept = sum(one <= limit for one in times)
    times.sort()
    return {
        "fault": name,
        "limit": limit,
        "runs": runs,
        "kept": kept,
        "lost": lost,
        "median": times[len(times) // 2] if times else None,
        "slowest": times[-1] if times else None,
        "seats": len(seats),
    }


async def speak(room):
    doctor = await Person.join("doctor", room)
    await doctor.speak("red")
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    await doctor.leave()


async def measure(runs, binary):
    run("ip link set lo up")
    run(f"ip address add {SERVER}/32 dev lo")
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "consilium.toml")
        with open(config, "w", encoding="utf8") as file:
            file.write(CONFIG.format(data=json.dumps(folder), address=SERVER, port=PORT, secret=SECRET))
        # What it warns of stands beside the table.
        server = subprocess.Popen([binary, "serve", "--config", config], stdout=sys.stderr)
        await asyncio.sleep(2)
        try:
            work = [rounds(n + 1, name, runs) for n, name in enumerate(FAULTS)]
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
[recording]
policy = "never"
"""


def table(lines):
    yield "| fault | runs | back in time | median | slowest | bound | seat kept |"
    yield "|---|--:|--:|--:|--:|--:|---|"
    for one in lines:
        shown = ["–" if one[key] is None else f"{one[key]:.2f} s" for key in ("median", "slowest")]
        kept = "yes" if one["seats"] == 1 else f"no, {one['seats']}"
        yield (
            f"| {one['fault']} | {one['runs']} | {one['kept']} | {shown[0]} | {shown[1]} "
            f"| {one['limit']} s | {kept} |"
        )


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--speak", metavar="ROOM")
    options.add_argument("--runs", type=int, default=50)
    options.add_argument("--binary", default="target/release/consilium")
    chosen = options.parse_args()
    if chosen.speak:
        asyncio.run(speak(chosen.speak))
    else:
        print("\n".join(table(asyncio.run(measure(chosen.runs, chosen.binary)))))
