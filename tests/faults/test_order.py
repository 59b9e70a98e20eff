"""Which faults a campaign meets, and in which order."""

from __future__ import annotations

import pytest

from tests.faults.faults import FAULTS
from tests.faults.order import ONLY_HERE, Order

ANYWHERE = ("wire_cut", "wire_half_close", "scan_cancelled")
FITTING = {
    "sqlite": (*ANYWHERE, "power_lost", "lid_closed", "server_killed", "server_suspended", "database_locked"),
    "postgresql": (*ANYWHERE, "power_lost", "lid_closed", "server_killed", "server_suspended", "database_crashed", "database_disk_full"),
    "replicas": (*ANYWHERE, "database_crashed", "database_disk_full", "replica_killed", "replica_frozen"),
}
SEEDS = ("1", "2", "3", "4", "5")


def dealt(order: Order, ground: str, rounds: int) -> list[str]:
    return [order.next(ground) for _ in range(rounds)]


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_are_all_met_by_as_many_rounds_as_there_are_kinds(seed: str) -> None:
    order = Order(seed, FITTING)

    for ground in FITTING:
        dealt(order, ground, 4)

    assert order.unmet == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_that_nothing_else_tries_come_first_on_every_ground(seed: str) -> None:
    order = Order(seed, FITTING)

    first = {ground: dealt(order, ground, 3) for ground in FITTING}

    assert set(first["sqlite"][:2]) == {"server_suspended", "wire_half_close"}
    assert (first["postgresql"][0], first["replicas"][0]) == ("database_disk_full", "replica_frozen")


def test_ground_with_time_left_has_all_its_faults_before_any_comes_again() -> None:
    order = Order("1", FITTING)

    rounds = dealt(order, "sqlite", 16)

    assert set(rounds[:8]) == set(rounds[8:]) == set(FITTING["sqlite"])


def test_order_of_another_seed_is_another_and_of_the_same_the_same() -> None:
    orders = [dealt(Order(seed, FITTING), "postgresql", 9) for seed in (*SEEDS, *SEEDS)]

    assert orders[:5] == orders[5:]
    assert len({tuple(order) for order in orders}) > 1


def test_faults_that_come_first_are_there() -> None:
    assert set(FAULTS) >= ONLY_HERE
