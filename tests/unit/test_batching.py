from __future__ import annotations

import asyncio

import pytest

from apviso.server.batching import Batched


class Source:
    """Answers when it is let, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Event()

    async def load(self, keys: list[int]) -> dict[int, str]:
        self.asked.append(keys)
        async with asyncio.timeout(10):
            await self.may_answer.wait()
        if 13 in keys:
            raise ConnectionError("away")
        return {key: str(key) for key in keys if key >= 0}


async def ask(batched: Batched[int, str], *keys: int) -> list[asyncio.Task[str | None]]:
    tasks = [asyncio.create_task(batched.find(key)) for key in keys]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_whoever_comes_while_an_answer_is_on_its_way_is_asked_for_together() -> None:
    source = Source()
    batched = Batched(source.load, most=10)

    tasks = await ask(batched, 1) + await ask(batched, 2, 3, 2, -4)
    source.may_answer.set()

    assert await asyncio.gather(*tasks) == ["1", "2", "3", "2", None]
    assert source.asked == [[1], [2, 3, -4]]


async def test_more_than_the_most_are_asked_for_in_several_looks() -> None:
    source = Source()
    source.may_answer.set()
    batched = Batched(source.load, most=2)

    found = await asyncio.gather(*(batched.find(key) for key in range(5)))

    assert found == [str(key) for key in range(5)]
    assert max(map(len, source.asked)) <= 2


async def test_failure_is_everybodys_who_was_asked_for_with_it_and_nobody_elses() -> None:
    source = Source()
    batched = Batched(source.load, most=10)
    tasks = await ask(batched, 1) + await ask(batched, 13, 14)
    source.may_answer.set()

    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert found[0] == "1"
    assert [type(one) for one in found[1:]] == [ConnectionError, ConnectionError]
    assert await batched.find(14) == "14"


async def test_cancel_of_who_asks_for_all_leaves_the_others_with_an_answer() -> None:
    source = Source()
    batched = Batched(source.load, most=10)
    [first] = await ask(batched, 1)
    others = await ask(batched, 2, 3)
    first.cancel()
    source.may_answer.set()

    assert await asyncio.gather(*others) == ["2", "3"]
    with pytest.raises(asyncio.CancelledError):
        await first
