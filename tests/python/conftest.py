"""Rooms of their own for every test, and everybody sent home after it."""

import itertools

import pytest
from person import Person

ROOMS = itertools.count(1)


@pytest.fixture(params=["v1"])
def mode(request):
    """How many peer connections a client has: one (v1) or two (v0)."""
    return request.param


@pytest.fixture
async def enter(request, mode):
    """Lets people into the room of this test."""
    room = f"{request.node.originalname}-{next(ROOMS)}"
    people = []

    async def one(identity, **options):
        options.setdefault("single", mode == "v1")
        people.append(await Person.join(identity, room, **options))
        return people[-1]

    one.room = room
    yield one
    for person in people:
        await person.leave()
