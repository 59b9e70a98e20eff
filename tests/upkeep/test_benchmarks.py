from __future__ import annotations

from collections.abc import Awaitable, Callable

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.measuring import Row, interleaved
from tests.upkeep.sources import ROOT, modules


def test_benchmarks_in_their_folder_are_all_run() -> None:
    found = {module.place.removesuffix(".py") for module in modules(ROOT / "benchmarks") if "async def rows(" in module.text}

    assert found == set(BENCHMARKS)


async def test_benchmark_that_does_not_exist_is_refused() -> None:
    assert await main(["nothing"]) == 64


def test_row_compares_each_round_with_its_own() -> None:
    row = Row("a start", "plain run", [0.5, 1.5, 1.0], [0.25, 0.5, 0.5])

    assert row.ratios == [2.0, 3.0, 2.0]
    assert row.text().splitlines()[1].strip() == "ratio 2.00 (2.00 to 3.00), 3 rounds"
    assert row.text().endswith("plain 500.00 (250.00 to 500.00) ms: plain run")


async def test_contestants_of_a_benchmark_take_turns_after_a_warm_up() -> None:
    order: list[str] = []

    def contestant(name: str, seconds: float) -> Callable[[], Awaitable[float]]:
        async def deed() -> float:
            order.append(name)
            return seconds

        return deed

    seconds = await interleaved(5, contestant("a", 1.0), contestant("b", 2.0))

    assert seconds == [[1.0] * 5, [2.0] * 5]
    assert order[:2] == ["a", "b"]
    assert {tuple(order[place : place + 2]) for place in range(2, 12, 2)} == {("a", "b"), ("b", "a")}
