"""A wire to the server's HTTP port that a test can cut."""

import asyncio
from urllib.parse import urlsplit

from person import URL


class Relay:
    def __init__(self):
        self.writers = []
        self.is_open = True

    @classmethod
    async def start(cls):
        relay = cls()
        relay.server = await asyncio.start_server(relay._accept, "127.0.0.1", 0)
        port = relay.server.sockets[0].getsockname()[1]
        relay.url = f"ws://127.0.0.1:{port}"
        return relay

    async def _accept(self, reader, writer):
        if not self.is_open:
            writer.close()
            return
        to = urlsplit(URL)
        there_reader, there_writer = await asyncio.open_connection(to.hostname, to.port)
        self.writers += [writer, there_writer]
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def stop(self):
        self.cut()
        self.server.close()


async def pump(reader, writer):
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
