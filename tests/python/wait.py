"""Waits for facts. A deadline is generous, because it costs nothing when the fact is there."""

import asyncio
import time

PATIENCE_S = 60.0


async def until(what, ask, patience=PATIENCE_S):
    """Asks until the answer is true, and gives it back."""
    deadline = time.monotonic() + patience
    while True:
        answer = ask()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {patience} s in vain until {what}: {answer!r}"
        await asyncio.sleep(0.1)
