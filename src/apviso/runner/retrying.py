"""Repeats one call until it is answered, until a deadline, or until somebody no longer wants the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from apviso.runner.backoff import Patience
from apviso.runner.refusals import NoAnswer

Answer = TypeVar("Answer")


async def until_answered(
    call: Callable[[], Awaitable[Answer]],
    patience: Patience,
    *,
    seconds: float | None = None,
    on_failure: Callable[[NoAnswer, float], None] = lambda error, delay: None,
) -> Answer:
    """The call's answer. A refusal is raised at once; the last NoAnswer is raised when `seconds` are over.

    Without `seconds` it goes on for ever: the caller cancels it.
    """
    loop = asyncio.get_running_loop()
    deadline = None if seconds is None else loop.time() + seconds
    while True:
        try:
            return await call()
        except NoAnswer as error:
            delay = patience.next_delay(error.retry_after)
            if deadline is not None and loop.time() + delay > deadline:
                raise
            on_failure(error, delay)
        await asyncio.sleep(delay)


async def unless(event: asyncio.Event, work: Coroutine[object, object, Answer]) -> Answer | None:
    """The result of `work`, or None as soon as `event` is set; `work` is then cancelled and awaited to its end."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(_cancel_when(event, task))
    try:
        return await task
    except asyncio.CancelledError:
        me = asyncio.current_task()
        # Only the alarm's cancellation may be answered here; one that was meant for the caller goes on up.
        if event.is_set() and not (me and me.cancelling()):
            return None
        raise
    finally:
        alarm.cancel()


async def _cancel_when(event: asyncio.Event, task: asyncio.Task[Answer]) -> None:
    await event.wait()
    task.cancel()


async def pause(event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, at most `seconds`; tells whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
