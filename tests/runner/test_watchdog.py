"""Which silence ends the process, and which is only waited out."""

from __future__ import annotations

import asyncio
import threading

import pytest

from apviso.runner.clock import Clock
from apviso.runner.pulse import Pulse
from apviso.runner.watchdog import Watchdog, find_stall, is_unanswered
from tests.runner.test_lease import HandClock


def pulse_at(hand: HandClock) -> Pulse:
    return Pulse(hand.clock)


async def verdict(pulse: Pulse, *, ready: bool) -> list[str]:
    """What the watchdog ended the process for, after a few looks."""
    ended: list[str] = []
    looks = 0
    enough = asyncio.Event()

    async def is_ready() -> bool:
        return ready

    class Counting(Watchdog):
        async def _look(self) -> None:
            nonlocal looks
            await super()._look()
            looks += 1
            if looks >= 3:
                enough.set()

    watching = asyncio.ensure_future(Counting(pulse, is_ready, ended.append, look_seconds=0.01).run())
    await asyncio.wait_for(enough.wait(), 5)
    watching.cancel()
    return ended


@pytest.mark.parametrize("loop", ["heartbeat", "claims"])
async def test_loop_that_finished_no_try_for_five_minutes_ends_the_process(loop: str) -> None:
    hand = HandClock()
    pulse = pulse_at(hand)
    hand.seconds += 301
    pulse.loops = {name: hand.seconds if name != loop else hand.seconds - 301 for name in pulse.loops}
    pulse.on_answer()

    ended = await verdict(pulse, ready=False)

    assert ended
    assert f"the {loop} loop" in ended[0]


async def test_no_answer_for_five_minutes_while_a_fresh_connection_is_answered_ends_the_process() -> None:
    hand = HandClock()
    pulse = pulse_at(hand)
    hand.seconds += 301
    pulse.finished_try("heartbeat", "no answer")
    pulse.finished_try("claims", "no answer")

    ended = await verdict(pulse, ready=True)

    assert ended
    assert "fresh connection" in ended[0]


async def test_control_plane_that_is_down_for_hours_does_not_end_the_process() -> None:
    hand = HandClock()
    pulse = pulse_at(hand)
    hand.seconds += 7200
    pulse.finished_try("heartbeat", "no answer")
    pulse.finished_try("claims", "no answer")

    assert await verdict(pulse, ready=False) == []


def test_stall_is_found_only_after_the_patience() -> None:
    hand = HandClock()
    pulse = pulse_at(hand)

    assert find_stall(hand.seconds + 300, pulse, 300) is None
    assert find_stall(hand.seconds + 300.1, pulse, 300) is not None
    assert not is_unanswered(hand.seconds + 300, pulse, 300)


async def test_event_loop_that_stands_still_ends_the_process_from_its_thread() -> None:
    ended = threading.Event()
    stuck = threading.Event()

    async def is_ready() -> bool:
        return False

    dog = Watchdog(Pulse(Clock()), is_ready, lambda reason: ended.set(), patience=0.3, look_seconds=0.05)
    watching = asyncio.ensure_future(dog.run())
    await asyncio.wait({watching}, timeout=0.2)

    stuck.wait(1.0)  # Holds this thread, and with it the event loop.

    assert ended.is_set()
    watching.cancel()


async def test_sleep_of_the_machine_starts_the_patience_anew() -> None:
    hand = HandClock()
    ended: list[str] = []
    looked = asyncio.Event()

    async def is_ready() -> bool:
        return True

    class Looking(Watchdog):
        async def _look(self) -> None:
            await super()._look()
            await super()._look()
            looked.set()

    dog = Looking(pulse_at(hand), is_ready, ended.append)
    hand.seconds += 3600

    watching = asyncio.ensure_future(dog.run())
    await asyncio.wait_for(looked.wait(), 5)
    watching.cancel()

    assert ended == []
