"""What every read and every create has in common, for each operation that the document describes: a new one is in it by itself."""

from __future__ import annotations

import re
from typing import Any

import httpx2

from tests.server.api.test_every_operation import PEOPLE, Operation
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

# Answers are streams: they have no end that a tag could be of.
STREAMS = {"followEvents"}
# Where a body of the document's examples names something that has to be there.
IDENTITIES = {"targetId": "targets"}


async def known_identities(acme: Organization, runner: Runner) -> dict[str, str]:
    """Something of each kind that an address can name, by the word before it."""
    target = (await acme.target())["id"]
    scan = (await acme.scan(target))["scan"]["id"]
    flaw = {"title": "A flaw", "severity": "high", "url": "http://localhost:3000/"}
    event = {"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw}
    (await runner.run_whole(await runner.claimed(), event)).raise_for_status()
    finding = (await acme.get("/findings")).json()["findings"][0]["id"]
    key = (await acme.get("/api-keys")).json()["apiKeys"][0]["id"]
    token = (await acme.enrollment_token()).split("_")[1]
    schedule = (await acme.post("/schedules", {"targetId": target, "frequency": "daily", "hour": 3})).json()["schedule"]["id"]
    webhook = (await acme.post("/webhooks", {"url": "https://hooks.example.com/", "events": ["*"]})).json()["webhook"]["id"]
    delivery = (await acme.post(f"/webhooks/{webhook}/test")).json()["delivery"]["id"]
    runs = {"runners": runner.id, "targets": target, "scans": scan, "findings": finding, "schedules": schedule, "webhooks": webhook}
    return runs | {"api-keys": key, "enrollment-tokens": token, "deliveries": delivery}


def path_of(operation: Operation, known: dict[str, str]) -> str:
    """Raises KeyError for a kind of things that `known_identities` lacks: make one there."""
    return re.sub(r"([\w-]+)/\{\w+\}", lambda found: f"{found[1]}/{known[found[1]]}", operation.template)


async def call(acme: Organization, operation: Operation, known: dict[str, str], **more: Any) -> httpx2.Response:
    return await acme.call(operation.method, path_of(operation, known).removeprefix("/api/v1"), **more)


async def test_reads_all_carry_a_tag_by_which_they_are_not_sent_again(acme: Organization, runner: Runner) -> None:
    known = await known_identities(acme, runner)
    reads = [operation for operation in PEOPLE if operation.method == "GET" and operation.id not in STREAMS]

    first = {operation.id: await call(acme, operation, known) for operation in reads}
    tags = {name: answer.headers.get("etag", "none") for name, answer in first.items()}
    again = {operation.id: await call(acme, operation, known, headers={"If-None-Match": tags[operation.id]}) for operation in reads}

    assert len(reads) > 15
    assert {name: answer.status_code for name, answer in first.items() if answer.status_code != 200} == {}
    assert {name: tag for name, tag in tags.items() if not re.fullmatch(r'"\w{32}"', tag)} == {}
    assert {name: answer.status_code for name, answer in again.items() if answer.status_code != 304} == {}


async def test_create_is_done_again_under_its_key_when_the_day_is_over(acme: Organization, plane: Plane, clock: Clock) -> None:
    async def create(domain: str) -> httpx2.Response:
        return await acme.post("/targets", {"domain": domain, "visibility": "localhost"}, headers={"Idempotency-Key": "k-1"})

    first = (await create("localhost:1")).json()["target"]["id"]
    clock.pass_by(hours=23, minutes=59)
    await plane.settle()
    kept = (await create("localhost:1")).json()["target"]["id"]
    clock.pass_by(minutes=2)
    await plane.settle()

    assert kept == first
    assert (await create("localhost:2")).status_code == 201


def body_of(operation: Operation, known: dict[str, str], **more: Any) -> Any:
    told = {name: known.get(IDENTITIES.get(name, ""), value) for name, value in (operation.body or {}).items()}
    return told | more


async def test_creates_all_take_a_key_under_which_they_are_done_once(acme: Organization, runner: Runner) -> None:
    known = await known_identities(acme, runner)
    creates = [operation for operation in PEOPLE if operation.creates]

    first = {one.id: await call(acme, one, known, json=body_of(one, known), headers={"Idempotency-Key": one.id}) for one in creates}
    again = {one.id: await call(acme, one, known, json=body_of(one, known), headers={"Idempotency-Key": one.id}) for one in creates}
    other = {one.id: await call(acme, one, known, json=body_of(one, known, more=1), headers={"Idempotency-Key": one.id}) for one in creates}

    assert len(creates) >= 8
    assert {name: answer.text for name, answer in first.items() if answer.status_code not in (201, 202)} == {}
    # The first answer again, or a refusal where that one holds a secret, which is not kept.
    is_refused = {name for name, answer in again.items() if answer.json().get("code") == "already_issued"}
    assert {name: answer.text for name, answer in again.items() if name not in is_refused and answer.content != first[name].content} == {}
    assert {name: answer.json().get("code") for name, answer in other.items()} == {one.id: "idempotency_key_reused" for one in creates}
