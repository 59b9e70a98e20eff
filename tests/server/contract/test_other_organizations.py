"""Every operation on one thing, called for a thing of another organization: it is not there, and nothing happens to it."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from tests.server.api.test_every_operation import PEOPLE, UNKNOWN_ID, WITH_ID, Operation
from tests.server.scans.situations import found, queued_scan
from tests.server.webhooks.hooks import hook
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


@pytest.fixture
async def ids(acme: Organization, runner: Runner) -> dict[str, str]:
    """One of everything, by the word before its id in a path."""
    case = await queued_scan(acme, runner)
    job = await case.running()
    await runner.on_job(job, "events", events=[found(1)])
    daily = {"targetId": case.target["id"], "frequency": "daily", "hour": 3}
    schedule = (await acme.post("/schedules", daily)).raise_for_status().json()
    # It is not sent to, so that nothing changes by itself.
    webhook = await hook(acme, "https://hooks.example.invalid/", enabled=False)
    return {
        "scans": case.scan_id,
        "jobs": case.job_id,
        "targets": case.target["id"],
        "runners": runner.id,
        "findings": (await acme.get("/findings")).json()["findings"][0]["id"],
        "api-keys": (await acme.get("/api-keys")).json()["apiKeys"][0]["id"],
        "enrollment-tokens": (await acme.enrollment_token()).split("_")[1],
        "schedules": schedule["schedule"]["id"],
        "webhooks": webhook.id,
        "deliveries": (await webhook.tried())["id"],
    }


def _told(answer: httpx2.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "requestId"}


async def _everything(acme: Organization) -> list[Any]:
    paths = ("/runners", "/scans", "/targets", "/findings", "/api-keys", "/runners/enrollment-tokens", "/schedules", "/webhooks")
    return [(await acme.get(path)).json() for path in paths]


@pytest.fixture
async def before(acme: Organization, ids: dict[str, str]) -> list[Any]:
    assert ids
    return await _everything(acme)


@pytest.fixture
async def stranger(other: Organization) -> Runner:
    return await other.runner("stranger")


@in_turn("operation", WITH_ID)
async def test_operation_on_a_thing_of_another_organization_is_not_found(
    operation: Operation,
    plane: Plane,
    acme: Organization,
    ids: dict[str, str],
    before: list[Any],
    other: Organization,
    stranger: Runner,
) -> None:
    word = operation.template.split("/{")[0].rpartition("/")[2]
    path = operation.template.replace("{id}", ids[word]).replace("{tokenPrefix}", ids[word]).replace("{deliveryId}", ids["deliveries"])
    unknown = re.sub("|".join(map(re.escape, {ids[word], ids["deliveries"]})), UNKNOWN_ID, path)
    token = other.key if operation in PEOPLE else stranger.token

    more = {"json": operation.body} if operation.body is not None else {}

    answer, as_unknown = [await plane.call(operation.method, place, token, **more) for place in (path, unknown)]

    assert _told(answer) == _told(as_unknown)
    assert (answer.status_code, answer.json()["code"].endswith("_not_found")) == (404, True)
    assert await _everything(acme) == before
