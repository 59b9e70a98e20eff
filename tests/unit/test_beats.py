"""Heartbeats that are read without the model: never otherwise than it reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from apviso.protocol.daemon import BeatingRunner, Directives, HeartbeatAnswer
from apviso.protocol.states import AdminState, RunnerStatus
from apviso.protocol.timers import Timers
from apviso.server.runners.beats import Remembered, after_beat, remembered
from apviso.server.runners.presence import admin_state_at, presence_of
from tests.unit.known import NOW, POLICY, runner, seconds

SAID: dict[str, Any] = {
    "bootId": "boot-1", "beatSeq": 2, "version": "0.1.0", "os": "linux", "configuredConcurrency": 1, "currentJobs": 0,
    "runningJobs": [], "providerState": {}, "capabilities": {}, "health": {"diskFreeBytes": 10**11}, "lastClaimPollAgeMs": 800,
}  # fmt: skip


def known(**differences: Any) -> Remembered:
    facts = runner(**differences)
    answer = HeartbeatAnswer(
        runner=BeatingRunner(id=facts.id, status=RunnerStatus.ONLINE),
        heartbeat_interval_ms=15_000,
        directives=Directives(admin_state=facts.admin_state),
        server_time=NOW,
    )
    return remembered(facts, "digest", answer, frozenset())


def told(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


def beaten(before: Remembered, said: dict[str, Any], at: float = 15) -> Remembered | None:
    """None also for what the model refuses."""
    try:
        return after_beat(before, told(said), NOW + seconds(at), POLICY)
    except ValidationError:
        return None


def after(before: Remembered, said: dict[str, Any], at: float = 15) -> Remembered:
    moved = beaten(before, said, at)
    assert moved is not None
    return moved


_NUMBERS = [-1, 0, 1, 3, 1.0, 2.5, 2**53, 2**53 + 1, 1e999]
_WORDS = ["", "1", "boot-1", "0.1.0", "a\x00", "\ud800"]
_ODD: st.SearchStrategy[object] = st.sampled_from([None, True, False, *_NUMBERS, *_WORDS, [], {}, [None]]) | st.recursive(
    st.none() | st.integers(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("a"), inner), max_leaves=8
)


@given(name=st.sampled_from([*SAID, "boot_id", "beat_seq", "unknown"]), value=_ODD)
def test_heartbeat_is_taken_with_one_before_it_as_it_is_by_the_model_alone(name: str, value: object) -> None:
    first, said = known(), {**SAID, "beatSeq": 3, name: value}
    second = after(first, SAID)
    assert second.repeated
    assert not first.repeated

    by_model, repeating = beaten(first, said), beaten(second, said)

    if repeating is None:
        # What says a smaller number than the heartbeat before it is none after it.
        assert by_model is None or by_model.pulse.beat_seq <= second.pulse.beat_seq
        return
    assert by_model is not None
    health = by_model.pulse.health if said.get("health") is not None else second.pulse.health
    assert repeating.pulse == by_model.pulse._replace(health=health)


@given(
    health=st.dictionaries(
        st.sampled_from(["faults", "engineReachable", "diskFreeBytes", "clockSkewMs", "spoolBacklogBytes"]),
        st.sampled_from([None, True, False, 0, -1, 30_000, 30_001, -30_001, 10**12, [], ["disk_low"], ["no fault"], "disk_low"]),
    ),
    age=st.sampled_from([None, 0, 90_000, 90_001]),
    facts=st.fixed_dictionaries(
        {
            "admin_state": st.sampled_from([AdminState.ENABLED, AdminState.PAUSED, AdminState.DRAINING]),
            "admin_until": st.sampled_from([None, NOW + seconds(20), NOW + seconds(40)]),
        }
    ),
)
def test_runner_that_is_well_stands_as_it_would_by_all_that_is_known(
    health: dict[str, Any], age: int | None, facts: dict[str, Any]
) -> None:
    well = after(known(**facts), SAID)
    said = {**SAID, "beatSeq": 3, "health": health, "lastClaimPollAgeMs": age}
    assert well.well is not None

    moved, by_all = beaten(well, said, at=30), beaten(well._replace(well=None), said, at=30)

    assert (moved is None) is (by_all is None)
    if moved is not None:
        now = NOW + seconds(30)
        assert presence_of(moved.facts, now, POLICY).status is RunnerStatus.ONLINE
        assert admin_state_at(moved.facts, now) is facts["admin_state"]


def test_limits_that_have_changed_are_applied_to_a_runner_that_was_well() -> None:
    well = after(known(), SAID)
    strict = replace(POLICY, timers=Timers(disk_floor_bytes=10**12))

    assert after_beat(well, told({**SAID, "beatSeq": 3}), NOW + seconds(30), strict) is None


def test_facts_follow_each_heartbeat() -> None:
    last = after(after(known(), SAID), {**SAID, "beatSeq": 3, "health": {}, "lastClaimPollAgeMs": 5}, at=30)

    expected: dict[str, Any] = {"beat_seq": 3, "health": {}, "claim_poll_age_ms": 5, "last_heartbeat_at": NOW + seconds(30)}
    assert last.facts == replace(runner(), **expected, last_contact_at=NOW + seconds(30))


@pytest.mark.parametrize("beat_seq", [1, 2])
def test_heartbeat_that_came_before_says_nothing(beat_seq: int) -> None:
    assert beaten(after(known(), SAID), {**SAID, "beatSeq": beat_seq}) is None


def test_what_is_remembered_is_shown_without_the_digest() -> None:
    assert "digest" not in repr(known())
