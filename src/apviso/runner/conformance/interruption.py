"""Runs a coroutine so that a signal cancels it and still lets it clean up; a second signal changes nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

Answer = TypeVar("Answer")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """`signal` is the number of the first one that came."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.signal = number


def run_until_interrupted(work: Coroutine[object, object, Answer]) -> Answer:
    """Its result. Raises Interrupted once all that it had begun is undone."""
    return asyncio.run(_run(work))


async def _run(work: Coroutine[object, object, Answer]) -> Answer:
    loop, task, came = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def interrupt(number: int) -> None:
        if not came:
            task.cancel()
        came.append(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError as error:
        if came:
            raise Interrupted(came[0]) from error
        raise
