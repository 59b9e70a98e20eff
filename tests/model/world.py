"""What a careful observer knows of people, runners and jobs, and what must hold whenever the control plane answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx2

from apviso.protocol.states import FINAL_STATUSES, LEASED_STATUSES
from tests.model.stage import Stage
from tests.support.people import Runner, register

# From the last renewal that was accepted, a runner goes on for 240 s and is killed within 30 s.
SURELY_STOPPED = timedelta(seconds=270)


@dataclass
class Enrollment:
    token: str
    runner_ids: set[str] = field(default_factory=set)


@dataclass
class Attempt:
    """One claim that was answered, as the runner that holds the answer sees it."""

    runner_id: str
    job: dict[str, Any]
    renewed_at: datetime
    is_touching: bool = False
    sent: list[str] = field(default_factory=list)
    finish: dict[str, Any] | None = None

    @property
    def scan_id(self) -> str:
        return str(self.job["scan"]["id"])

    @property
    def target_id(self) -> str:
        return str(self.job["target"]["id"])

    @property
    def number(self) -> int:
        return int(self.job["job"]["attempt"])


@dataclass
class World:
    stage: Stage
    enrollments: list[Enrollment] = field(default_factory=list)
    runners: dict[str, Runner] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    nonces: list[tuple[str, str]] = field(default_factory=list)
    ended: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.stage.clock.now

    def answer(self, call: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
        """Whatever is asked, the control plane knows what to say."""
        answer = self.stage.turn(call)
        assert answer.status_code < 500, answer.text
        return answer

    def restart(self) -> None:
        self.stage.restart()
        for runner in self.runners.values():
            runner.client = self.stage.plane.client

    # ---- enrollment and claims

    def exchange(self, enrollment: Enrollment, key: str | None, times: int) -> None:
        """Register once, or several times at once."""

        async def together() -> list[httpx2.Response]:
            client = self.stage.organization.client
            return await asyncio.gather(*(register(client, enrollment.token, exchangeKey=key) for _ in range(times)))

        for answer in self.stage.turn(together()):
            assert answer.status_code in (201, 402, 409), answer.text
            if answer.status_code == 201:
                told = answer.json()
                enrollment.runner_ids.add(told["runner"]["id"])
                self.runners[told["runner"]["id"]] = Runner(self.stage.organization.client, told["runner"]["id"], told["token"])
        assert len(enrollment.runner_ids) <= 1, "one token made two runners"

    def claim(self, *asking: tuple[Runner, str]) -> list[Attempt]:
        """Claims with these nonces, at the same time; the attempts that are new."""

        async def together() -> list[httpx2.Response]:
            return await asyncio.gather(*(runner.claim(nonce, freeSlots=2) for runner, nonce in asking))

        new = []
        for (runner, nonce), answer in zip(asking, self.stage.turn(together()), strict=True):
            assert answer.status_code in (200, 401), answer.text
            self.nonces.append((runner.id, nonce))
            job = answer.json().get("job")
            if job is not None:
                new += self._note(Attempt(runner.id, job, self.now))
        return new

    def _note(self, new: Attempt) -> list[Attempt]:
        assert new.job["job"]["runnerId"] == new.runner_id
        known = next((one for one in self.attempts if (one.scan_id, one.number) == (new.scan_id, new.number)), None)
        if known is not None:
            assert known.runner_id == new.runner_id, "one attempt was given to two runners"
            return []
        assert new.scan_id not in self.ended, "an ended scan was given out again"
        for before in self.attempts:
            if before.target_id == new.target_id and before.is_touching:
                assert self.now >= before.renewed_at + SURELY_STOPPED, "two attempts may touch one target"
                before.is_touching = False
        self.attempts.append(new)
        return [new]

    # ---- calls for a job

    def on_job(self, attempt: Attempt, speaker: Runner, step: str, repeats: dict[str, Any] | None = None, **said: Any) -> httpx2.Response:
        """Call for a job, and see that nobody but the holder of the lease changes anything."""
        before, log = self.scan(attempt.scan_id), self.log(attempt.scan_id)
        holds = (before["attempt"], before["runnerId"]) == (attempt.number, speaker.id) == (attempt.number, attempt.runner_id)
        is_holder = holds and before["status"] in LEASED_STATUSES
        answer = self.answer(speaker.on_job(attempt.job, step, **said))
        is_repeat = repeats == said and speaker.id == attempt.runner_id
        assert answer.status_code != 200 or is_holder or is_repeat, f"{step} was taken without the lease"
        if not is_holder:
            assert self.scan(attempt.scan_id) == before, f"{step} without the lease changed the scan"
            assert self.log(attempt.scan_id) == log, f"{step} without the lease changed the log"
        return answer

    def start(self, attempt: Attempt, speaker: Runner) -> None:
        if self.on_job(attempt, speaker, "start").status_code == 200:
            attempt.is_touching = True

    def send(self, attempt: Attempt, speaker: Runner, first: int, size: int) -> None:
        """Events from `first` on: before what was acknowledged, right after it, or with a gap."""
        expected = len(attempt.sent) + 1
        lines = [f"{attempt.number}/{number}/{expected}" for number in range(first, first + size)]
        at = {"at": "2026-05-03T09:15:32Z", "type": "log", "level": "info"}
        answer = self.on_job(attempt, speaker, "events", events=[{"seq": first + n, **at, "message": line} for n, line in enumerate(lines)])
        if answer.status_code == 200:
            assert first <= expected or not lines, "a gap was taken"
            attempt.sent += lines[expected - first :]
            assert answer.json()["ackedSeq"] == len(attempt.sent)
        elif answer.json()["code"] == "sequence_gap":
            assert first > expected, "what continues was taken for a gap"
            assert answer.json()["expectedSeq"] == expected

    def finish(self, attempt: Attempt, speaker: Runner, ending: str, missing: int) -> None:
        status = {"completed": "completed", "canceled_by_user": "cancelled"}.get(ending, "failed")
        said = {"status": status, "endReason": ending, "lastSeq": len(attempt.sent) + missing}
        answer = self.on_job(attempt, speaker, "finish", attempt.finish, **said)
        if answer.status_code == 200:
            assert missing == 0, "an end without all its events was taken"
            attempt.finish, attempt.is_touching = said, False

    # ---- what must hold

    def check(self) -> None:
        """After every step, by the database itself."""
        runners, live, held, scans = self.stage.rows(
            "SELECT count(*) FROM runners",
            "SELECT scan_id, number, runner_id FROM attempts WHERE ended_at IS NULL ORDER BY 1",
            "SELECT id, attempt, runner_id FROM scans WHERE status IN ('assigned', 'running', 'stale') ORDER BY 1",
            "SELECT id, target_id, status, end_reason, attempt, finished_at FROM scans",
        )
        assert runners[0][0] == sum(bool(enrollment.runner_ids) for enrollment in self.enrollments), "a runner without a token of its own"
        assert live == held, "a lease without a scan that is held by it, or a scan without its lease"
        active = [scan.target_id for scan in scans if scan.status not in FINAL_STATUSES]
        assert len(active) == len(set(active)), "two active scans of one target"
        for scan in scans:
            if scan.status in FINAL_STATUSES:
                assert self.ended.setdefault(scan.id, tuple(scan)) == tuple(scan), "an ended scan changed"

    def check_record(self, scan_id: str) -> None:
        """At the end: what ended has ended once, and the log of the last attempt is whole."""
        seen = self.scan(scan_id)
        if scan_id in self.ended:
            trail = self.answer(self.stage.organization.get(f"/audit-events?subjectId={scan_id}")).json()["auditEvents"]
            assert [event["action"] for event in trail].count("scan.ended") == 1
        last = next((one for one in self.attempts if (one.scan_id, one.number) == (scan_id, seen["attempt"])), None)
        if last is not None:
            log = self.log(scan_id)
            assert [event["seq"] for event in log] == list(range(1, len(last.sent) + 1))
            assert [event["message"] for event in log] == last.sent

    # ---- looking

    def scan(self, scan_id: str) -> dict[str, Any]:
        """The scan without what it waits for: that is about runners, whom every call brings into contact."""
        seen: dict[str, Any] = self.answer(self.stage.organization.get(f"/scans/{scan_id}")).json()["scan"]
        return {name: value for name, value in seen.items() if name != "waitingFor"}

    def log(self, scan_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.answer(self.stage.organization.get(f"/scans/{scan_id}/log")).json()["events"]
        return events
