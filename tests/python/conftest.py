"""Rooms of their own for every test, everybody sent home after it, and what an application's server
has: the API and a receiver of webhooks."""

import itertools
import os

import pytest
from aiohttp import web
from livekit import api
from person import KEY, SECRET, URL, Person

ROOMS = itertools.count(1)


# With both kinds of connection in one room only where the whole is asked for.
MODES = ["v1", "v0", "mixed"] if "CONSILIUM_WHOLE" in os.environ else ["v1", "v0"]


@pytest.fixture(params=MODES)
def mode(request):
    """How many peer connections a client has: one (v1), two (v0), or one after the other."""
    return request.param


@pytest.fixture
async def enter(request, mode):
    """Lets people into the room of this test."""
    room = f"{request.node.originalname}-{next(ROOMS)}"
    people = []

    async def one(identity, **options):
        is_second = len(people) % 2 == 1
        options.setdefault("single", mode == "v1" or (mode == "mixed" and is_second))
        people.append(await Person.join(identity, room, **options))
        return people[-1]

    one.room = room
    yield one
    for person in people:
        await person.leave()


@pytest.fixture
async def service():
    async with api.LiveKitAPI(URL.replace("ws", "http", 1), KEY, SECRET) as service:
        yield service


@pytest.fixture
async def receiving():
    """Webhooks of a room, verified by the official receiver, go to whom the test names; he says with
    which status they are answered."""
    receiver = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))
    takers = {}

    async def take(request):
        body = (await request.read()).decode()
        event = receiver.receive(body, request.headers["Authorization"])
        taker = takers.get(event.room.name) or takers.get("")
        return web.Response(status=await taker(event) if taker else 200)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["WEBHOOK_PORT"])).start()
    yield takers.__setitem__
    await runner.cleanup()


@pytest.fixture
def hook(receiving):
    """Every webhook of every room, taken as it comes."""
    events = []

    async def take(event):
        events.append(event)
        return 200

    receiving("", take)
    return events
