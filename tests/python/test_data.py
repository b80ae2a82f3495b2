"""Data between participants: to whom, under which topic, in which order, and not to others."""

import asyncio

from livekit import rtc
from wait import until


def texts(person):
    return [(packet.topic, packet.data.decode()) for packet in person.data]


async def test_data_reaches_everybody_else_in_order_and_never_its_sender(enter):
    li, wang, chen = [await enter(who) for who in ("li", "wang", "chen")]
    for n in range(50):
        await li.room.local_participant.publish_data(f"{n}", reliable=True, topic="count")
    wanted = [("count", f"{n}") for n in range(50)]
    for other in (wang, chen):
        await until("all of it is here", lambda other=other: len(other.data) >= 50)
        assert texts(other) == wanted
        assert {packet.participant.identity for packet in other.data} == {"li"}
    assert li.data == []


async def test_data_for_one_is_not_told_to_others(enter):
    li, wang, chen = [await enter(who) for who in ("li", "wang", "chen")]
    send = li.room.local_participant.publish_data
    await send("for wang", destination_identities=["wang"], topic="private")
    await send("for nobody", destination_identities=["zhou"], topic="private")
    await send("for all", topic="public")
    await until("both have what is theirs", lambda: len(wang.data) == 2 and len(chen.data) == 1)
    assert texts(wang) == [("private", "for wang"), ("public", "for all")]
    assert texts(chen) == [("public", "for all")]


async def test_lossy_data_arrives_on_a_good_line(enter):
    li, wang = [await enter(who) for who in ("li", "wang")]

    # What is sent before a channel is open may be lost, and is.
    async def ten_more():
        for n in range(10):
            await li.room.local_participant.publish_data(bytes([n]), reliable=False, topic="sensor")
        return len(wang.data) >= 50

    await until("most arrive", ten_more)
    kinds = {packet.kind for packet in wang.data}
    assert kinds == {rtc.DataPacketKind.KIND_LOSSY}


async def test_a_text_stream_and_an_rpc_pass(enter):
    li, wang = [await enter(who) for who in ("li", "wang")]
    read = []

    async def keep(reader, identity):
        read.append((identity, await reader.read_all()))

    wang.room.register_text_stream_handler(
        "notes", lambda reader, identity: asyncio.ensure_future(keep(reader, identity))
    )

    @wang.room.local_participant.register_rpc_method("double")
    async def double(call):
        return str(2 * int(call.payload))

    long = "影像所见 " * 5_000
    await li.room.local_participant.send_text(long, topic="notes")
    await until("the text is read", lambda: read)
    assert read == [("li", long)]
    answer = await li.room.local_participant.perform_rpc(
        destination_identity="wang", method="double", payload="21"
    )
    assert answer == "42"


async def test_who_may_not_send_is_not_heard(enter):
    li = await enter("li", grants={"can_publish_data": False})
    wang = await enter("wang")
    chen = await enter("chen")
    try:
        await li.room.local_participant.publish_data("nonsense", topic="x")
    except Exception:  # noqa: BLE001  the SDK may refuse by itself
        pass
    await chen.room.local_participant.publish_data("sense", topic="x")
    await until("chen is heard", lambda: wang.data)
    assert texts(wang) == [("x", "sense")]
