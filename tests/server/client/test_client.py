"""Both clients against a real control plane."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from apviso.client import AsyncClient, BadCredential, Client, Conflict, Forbidden, InvalidRequest, NotFound, NotYet, WaitedTooLong
from apviso.client.calls import Call
from apviso.client.endpoints import Resource, Steps
from apviso.client.following import Following
from apviso.client.listing import Listing
from apviso.client.resources import Resources
from apviso.protocol.access import NewApiKey
from apviso.protocol.findings import FindingStatusPatch
from apviso.protocol.runners import NewEnrollmentToken, Pause, RunnerPatch
from apviso.protocol.scans import NewScan
from apviso.protocol.states import RunnerStatus, ScanStatus, Scope, Severity, UserStatus, Visibility
from apviso.protocol.targets import NewTarget, TargetPatch
from apviso.protocol.tokens import Namespace, new_token
from tests.server.api.test_every_operation import PEOPLE
from tests.support.clock import Clock
from tests.support.people import Organization, Runner

FINDING = {
    "seq": 1,
    "at": "2026-05-03T09:15:32Z",
    "type": "finding",
    "finding": {"title": "A flaw", "severity": "high", "url": "http://localhost:3000/"},
}


def target(number: int = 0) -> NewTarget:
    return NewTarget(domain=f"localhost:{3000 + number}", visibility=Visibility.LOCALHOST)


async def test_client_that_is_awaited_does_all_that_people_do(url: str, acme: Organization, runner: Runner) -> None:
    async with AsyncClient(url, acme.key) as client:
        made = await client.targets.add(target())
        edited = await client.targets.edit(made.id, TargetPatch(scan_url="http://localhost:3000/app"))
        ready = await client.runners.readiness(target_id=made.id, brief=True)
        created = await client.scans.start(NewScan(target_id=made.id))
        with pytest.raises(NotYet):
            await client.scans.report(created.scan.id)
        waiting = asyncio.create_task(client.scans.wait(created.scan.id, seconds=20))
        events = asyncio.create_task(_gather(client, created.scan.id))
        (await runner.run_whole(await runner.claimed(), FINDING)).raise_for_status()
        ended = await waiting
        found = [finding async for finding in client.scans.findings(ended.id)]
        settled = await client.findings.set_status(found[0].id, FindingStatusPatch(user_status=UserStatus.IN_PROGRESS))
        attempts, log = await client.scans.attempts(ended.id), await client.scans.log(ended.id, of=1, limit=1)
        page, retested = await client.scans.findings_page(ended.id), await client.scans.retest(ended.id)
        open_of_target = (await client.targets.get(made.id)).open_findings
        over_time = (await client.scans.load(), await client.findings.trend(), await client.findings.looks(found[0].id))
        history = await client.findings.history_page(found[0].id)
        listed = await client.findings.page(severity=[Severity.CRITICAL, Severity.HIGH], q="flaw", sort="-lastSeen")
        table = await client.findings.table(severity=Severity.HIGH, q="flaw")
        report = await client.scans.report(ended.id)
        quota = await client.organization.quota()

    assert (edited.scan_url, ready.ready) == ("http://localhost:3000/app", True)
    assert (ended.status, ended.finding_counts.high) == (ScanStatus.COMPLETED, 1)
    assert [event["type"] for event in await events] == ["finding", "end"]
    assert (found[0].title, settled.user_status) == ("A flaw", UserStatus.IN_PROGRESS)
    assert [(one.number, one.runner_name, one.last_seq) for one in attempts] == [(1, "runner-1", 1)]
    assert (log.last_seq, [one.title for one in page.findings], retested.results) == (1, ["A flaw"], [])
    assert (ended.target_domain, ended.runner_name, open_of_target.high) == ("localhost:3000", "runner-1", 1)
    load, trend, looks = over_time
    assert (len(load.moments), trend.days[-1].counts.high, [look.seen for look in looks.looks]) == (49, 1, [True])
    assert [change.to_status for change in history.history] == [UserStatus.IN_PROGRESS]
    assert ([one.id for one in listed.findings], table.count(b"\r\n")) == ([found[0].id], 2)
    assert "A flaw" in report.markdown_content
    assert quota.usage.targets == 1


async def _gather(client: AsyncClient, scan_id: str) -> list[dict[str, object]]:
    return [event async for event in client.scans.follow(scan_id)]


async def test_client_that_blocks_has_the_same_methods_with_the_same_answers(url: str, acme: Organization, runner: Runner) -> None:
    def story() -> tuple[object, ...]:
        with Client(url, acme.key) as client:
            targets = [client.targets.add(target(number)) for number in range(3)]
            renamed = client.runners.edit(runner.id, RunnerPatch(name="north"))
            paused = client.runners.pause(runner.id, Pause(note="for now"))
            resumed = client.runners.wait(client.runners.resume(runner.id).id, seconds=20)
            queued = client.scans.start(NewScan(target_id=targets[0].id, when_unavailable="queue")).scan
            cancelled = client.scans.wait(client.scans.cancel(queued.id).id, seconds=20)
            events = list(client.scans.follow(queued.id))
            issued = client.enrollment_tokens.issue(NewEnrollmentToken(name="south"))
            waiting = [known.name for known in client.enrollment_tokens.page().enrollment_tokens]
            client.enrollment_tokens.revoke(issued.token_prefix)
            outcome = client.enrollment_tokens.outcome(issued.token_prefix).status
            paged, lasted = client.runners.page(name="nor").runners, client.runners.uptime(name="nor").runners
            sampled = client.runners.health(runner.id)
            seen = [*(one.id for one in paged), *(one.id for one in lasted)]
            taken = client.scans.page(runner_id=runner.id).total
            newest = client.organization.audit_page(limit=1, subject_id=queued.id).audit_events[0].action
            left = list(client.enrollment_tokens.all())
            listed = {known.id for known in client.targets.all()} == {known.id for known in targets}
            actions = [event.action for event in client.organization.audit_events(subject_id=queued.id)]
        assert (waiting, outcome, seen, taken, newest) == (["south"], "revoked", [runner.id] * 2, 0, "scan.ended")
        assert (sampled.sample_seconds, sampled.samples) == (900, [])
        names = (renamed.name, paused.admin_note, resumed.status)
        return names, cancelled.status, [event["type"] for event in events], left, listed, actions

    told = await asyncio.to_thread(story)

    names = ("north", "for now", RunnerStatus.ONLINE)
    assert told == (names, ScanStatus.CANCELLED, ["end"], [], True, ["scan.ended", "scan.created"])


async def test_client_that_waits_too_long_says_so_and_is_told_of_each_change(url: str, acme: Organization, runner: Runner) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]
    seen: list[str] = []

    async with AsyncClient(url, acme.key) as client:
        with pytest.raises(WaitedTooLong):
            await client.scans.wait(scan["id"], seconds=0.05, on_change=lambda changed: seen.append(changed.status))

    assert seen == ["pending_runner"]


async def test_refusals_are_errors_of_their_families(url: str, acme: Organization, runner: Runner) -> None:
    unknown, narrow = new_token(Namespace.API_KEY).reveal(), (await acme.limited_to("runners:read")).key
    async with AsyncClient(url, acme.key) as client, AsyncClient(url, unknown) as stranger, AsyncClient(url, narrow) as reader:
        made = await client.targets.add(target())
        await client.runners.pause(runner.id)
        with pytest.raises(Conflict) as not_ready:
            await client.scans.start(NewScan(target_id=made.id))
        with pytest.raises(NotFound) as missing:
            await client.scans.get("no-such-scan")
        with pytest.raises(InvalidRequest) as invalid:
            await client.targets.add(NewTarget(domain="10.0.0.7"))
        with pytest.raises(Forbidden) as forbidden:
            await reader.targets.get(made.id)
        with pytest.raises(BadCredential):
            await stranger.organization.quota()

    assert not_ready.value.code == "runner_not_ready"
    assert isinstance(not_ready.value.member("readiness"), dict)
    assert (missing.value.code, missing.value.status) == ("scan_not_found", 404)
    assert invalid.value.fields[0].field == "domain"
    assert forbidden.value.member("required") == "targets:read"


async def test_client_with_a_key_that_has_run_out_is_refused(url: str, acme: Organization, clock: Clock) -> None:
    async with AsyncClient(url, acme.key) as client:
        issued = await client.api_keys.issue(NewApiKey(name="ci", scopes=[Scope.SCANS_READ], expires_at=clock.now.replace(hour=10)))
        clock.pass_by(hours=1)
        async with AsyncClient(url, issued.key) as late:
            with pytest.raises(BadCredential) as refused:
                await late.scans.page()

    assert refused.value.code == "credential_invalid"
    assert issued.key not in repr(issued)


class Recorder:
    """A transport that sends nothing: what it is handed is what it answers."""

    def perform(self, call: Call[Any]) -> Any:
        return call

    def take(self, steps: Steps[Any]) -> Any:
        return next(steps)

    def each(self, listing: Listing[Any, Any]) -> Any:
        return listing.first

    def follow(self, following: Following) -> Any:
        return following.call()


def stand_in(kind: Any) -> Any:
    """Something that an argument of this type may be."""
    if issubclass(kind, BaseModel):
        return kind.model_construct()
    return next(iter(kind)) if issubclass(kind, Enum) else "x"


def calls_of(part: Resource[Any]) -> Iterator[tuple[str, str]]:
    """Method and path of what each of its methods sends."""
    for name, method in vars(type(part)).items():
        if callable(getattr(method, "build", None)):
            needed = list(inspect.signature(method.build, eval_str=True).parameters.values())[1:]
            given = [stand_in(one.annotation) for one in needed if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
            call = getattr(part, name)(*given)
            yield call.method, call.path


def test_client_has_a_method_for_every_operation_of_people() -> None:
    parts = [part for part in vars(Resources(Recorder())).values() if isinstance(part, Resource)]

    known = {call for part in parts for call in calls_of(part)}

    described = {(one.method, re.sub(r"\{\w+\}|(?<=/report\.)\w+", "x", one.template).removeprefix("/api/v1")) for one in PEOPLE}
    assert described - known == set()
    assert known - described == set()
