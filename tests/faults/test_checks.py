"""Each check finds what it is for: a record in order passes, and each way to spoil it is told as what it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checks import (
    Kind,
    Record,
    Use,
    check_answers,
    check_record,
    check_secrets,
    check_tokens,
    check_traffic,
    check_uses,
)
from tests.faults.proxy import Exchange, Trouble
from tests.faults.watched_site import Touch

TRAIL = ("scan.created", "scan.assigned", "scan.started", "scan.requeued", "scan.assigned", "scan.started", "scan.ended")


def lines(total: int) -> list[dict[str, Any]]:
    link, said = "s.2", []
    for number in range(1, total + 1):
        link = hashlib.sha256(f"{link} {number} 200".encode()).hexdigest()
        said.append({"seq": number, "attempt": 2, "type": "log", "message": f"request {number} of {total}: 200 {link}"})
    return said


def record(**changed: Any) -> Record:
    scan = {"id": "s", "attempt": 2, "status": "completed", "endReason": "completed", "statusReason": None}
    return replace(Record(scan, lines(4), TRAIL, 1), **changed)


def without(place: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """The log without one event, numbered as if nothing was missing."""
    return lambda log: [{**event, "seq": seq} for seq, event in enumerate([*log[:place], *log[place + 1 :]], 1)]


def test_record_in_order_has_no_problem() -> None:
    assert check_record(record(), ["completed"]) == []


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"scan": {**record().scan, "status": "failed"}}, Kind.LOSS),
        ({"actions": TRAIL[1:]}, Kind.AUDIT),
        ({"actions": TRAIL[:-1]}, Kind.AUDIT),
        ({"actions": [*TRAIL, "scan.ended"]}, Kind.DOUBLE),
        ({"actions": [*TRAIL, "scan.assigned"]}, Kind.AUDIT),
        ({"actions": [*TRAIL, "scan.requeued", "scan.requeued"]}, Kind.AUDIT),
        ({"log": [*lines(4), lines(4)[-1]]}, Kind.DOUBLE),
        ({"log": lines(4)[1:]}, Kind.LOSS),
        ({"log": without(1)(lines(4))}, Kind.LOSS),
        ({"log": without(3)(lines(4))}, Kind.LOSS),
        ({"log": [{**lines(4)[0], "attempt": 1}, *lines(4)[1:]]}, Kind.DOUBLE),
        ({"findings": 2}, Kind.DOUBLE),
        ({"findings": 0}, Kind.LOSS),
    ],
)
def test_record_that_is_spoiled_is_told_as_what_it_is(changed: dict[str, Any], kind: Kind) -> None:
    assert kind in {problem.kind for problem in check_record(record(**changed), ["completed"])}


def touches(*who: tuple[str, int]) -> list[Touch]:
    """Requests one after the other, by these processes with these numbers."""
    return [Touch(float(at), "s", 1 if name == "a" else 2, name, number) for at, (name, number) in enumerate(who)]


@pytest.mark.parametrize(
    ("seen", "kinds"),
    [
        ([("a", 1), ("a", 2), ("b", 1), ("b", 2)], set()),
        ([("a", 1), ("b", 1), ("a", 2), ("b", 2)], {Kind.OVERLAP}),
        ([("a", 1), ("a", 1), ("b", 1)], {Kind.DOUBLE}),
    ],
)
def test_traffic_of_two_attempts_in_turns_is_an_overlap(seen: Sequence[tuple[str, int]], kinds: set[Kind]) -> None:
    assert {problem.kind for problem in check_traffic(touches(*seen))} == kinds


def test_answer_that_the_target_never_gave_is_a_loss() -> None:
    complete = touches(("b", 1), ("b", 2), ("b", 3), ("b", 4))

    assert check_answers(record(), complete) == []
    assert [problem.kind for problem in check_answers(record(), complete[:-1])] == [Kind.LOSS]


@pytest.mark.parametrize(("at", "status", "number"), [(1.0, 200, 0), (3.0, 401, 0), (3.0, None, 0), (3.0, 200, 1), (3.0, 302, 1)])
def test_token_that_is_accepted_after_it_was_revoked_is_found(at: float, status: int | None, number: int) -> None:
    exchange = Exchange(at, "/api/runner/heartbeat", b"token", status, Trouble.NONE)

    assert len(check_tokens({b"token": 2.0}, [exchange])) == number


def test_secret_in_a_file_is_found_unless_it_belongs_there(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "runner.log").write_text("token apvr_0123456789ab_sesame")
    (tmp_path / "identity.json").write_text("sesame")

    assert [problem.what for problem in check_secrets(tmp_path, [b"sesame"], ["identity.json"])] == ["logs/runner.log holds a token"]


def test_process_that_grows_is_found() -> None:
    small = Use(20, 100 * 1024**2)

    assert check_uses("server", [small, small]) == []
    assert len(check_uses("server", [small, replace(small, files=40)])) == 1
    assert len(check_uses("server", [small, replace(small, resident=200 * 1024**2)])) == 1
