"""Rooms of their own for every test, and everybody sent home after it."""

import itertools

import pytest
from person import Person

ROOMS = itertools.count(1)


@pytest.fixture(params=["v1", "v0", "mixed"])
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
