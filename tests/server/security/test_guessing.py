"""Whoever guesses at tokens learns nothing: not from the words of a refusal, not from its headers, not from the work that it costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from apviso.protocol.tokens import Namespace, new_token, parse_token
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner, register

# Each surface by a call that its tokens open.
CALLS = {
    Namespace.API_KEY: ("GET", "/api/v1/quota"),
    Namespace.RUNNER: ("GET", "/api/runner/targets"),
    Namespace.JOB: ("POST", "/api/runner/jobs/unknown/lease"),
}


def with_another_secret(token: str) -> str:
    """What somebody would try who has seen the prefix, which is public."""
    known = parse_token(token)
    assert known is not None
    return f"{known.namespace}_{known.prefix}_{new_token(known.namespace).secret}"


@contextmanager
def statements(plane: Plane) -> Iterator[list[str]]:
    """What is asked of the database about tokens meanwhile; duties of the server's own ask for other things at any time."""
    said: list[str] = []

    def note(*told: Any) -> None:
        if "prefix = " in told[2]:
            said.append(told[2])

    engine = plane.resources.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


def what_is_told(answer: httpx2.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    """All of an answer but what is new in each."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "x-ratelimit-remaining"}}
    return answer.status_code, headers, {name: value for name, value in answer.json().items() if name != "requestId"}


@pytest.mark.parametrize("kind", CALLS, ids=str)
async def test_wrong_secret_behind_a_known_prefix_is_told_and_costs_what_an_unknown_prefix_does(
    plane: Plane, acme: Organization, runner: Runner, kind: Namespace
) -> None:
    await acme.scan((await acme.target())["id"])
    known = {Namespace.API_KEY: acme.key, Namespace.RUNNER: runner.token, Namespace.JOB: (await runner.claimed())["jobToken"]}[kind]
    method, path = CALLS[kind]
    answers, costs = [], []

    for token in (with_another_secret(known), new_token(kind).reveal()):
        with statements(plane) as said:
            answers.append(await plane.call(method, path, token))
        costs.append(said)

    assert answers[0].status_code == 401
    assert what_is_told(answers[0]) == what_is_told(answers[1])
    assert costs[0] == costs[1] != []


async def test_wrong_secret_of_an_enrollment_token_is_told_and_costs_what_an_unknown_one_does(plane: Plane, acme: Organization) -> None:
    known = await acme.enrollment_token()
    answers, costs = [], []

    for token in (with_another_secret(known), new_token(Namespace.ENROLLMENT).reveal()):
        with statements(plane) as said:
            answers.append(await register(plane.client, token))
        costs.append(said)

    assert what_is_told(answers[0]) == what_is_told(answers[1])
    assert costs[0] == costs[1] != []


async def test_many_guesses_change_nothing_for_who_has_the_token(plane: Plane, acme: Organization, runner: Runner) -> None:
    guesses = [await plane.call("GET", "/api/v1/quota", with_another_secret(acme.key)) for _ in range(20)]
    guesses += [await plane.call("GET", "/api/runner/targets", with_another_secret(runner.token)) for _ in range(20)]

    assert {answer.status_code for answer in guesses} == {401}
    assert (await acme.get("/quota")).status_code == 200
    assert (await runner.get("/targets")).status_code == 200
