"""What a careful observer knows of people, runners and jobs, and what must hold whenever the control plane answers."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx2
from hypothesis import note

from apviso.protocol.states import FINAL_STATUSES, LEASED_STATUSES
from tests.model.stage import Stage
from tests.support.people import Runner, register

# From the last renewal that was accepted, a runner goes on for 240 s and is killed within 30 s.
SURELY_STOPPED_SECONDS = 270
# The answer to an `Idempotency-Key` is kept for 24 h; clocks are set by one at a time.
KEY_SECONDS = 20 * 3600
EVENT = {"at": "2026-05-03T09:15:32Z"}
FLAW = "flaw "
ID = re.compile(r"/[0-9a-f-]{36}")


@dataclass
class Enrollment:
    token: str
    is_ephemeral: bool = False
    runner_ids: set[str] = field(default_factory=set)


@dataclass
class Attempt:
    """One claim that was answered, as the runner that holds the answer sees it. `renewed_at` is on the host's boot time.

    `is_secured`: it knows how old its lease is. Whoever asked again for a claim does not, and renews before it starts.
    """

    runner_id: str
    job: dict[str, Any]
    renewed_at: float
    is_secured: bool = True
    is_touching: bool = False
    was_started: bool = False
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


@dataclass(frozen=True)
class Said:
    """A call for a job. The network may bring it twice, or again much later."""

    attempt: Attempt
    speaker: Runner
    step: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Start:
    """A scan that was asked for with a key, and when."""

    key: str
    target_id: str
    scan_id: str
    at: float


@dataclass
class World:
    """`met` counts what was answered to what, so that one sees how far the sequences have led."""

    stage: Stage
    met: Counter[str]
    enrollments: list[Enrollment] = field(default_factory=list)
    runners: dict[str, Runner] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)
    # The target of each scan, and those with one that has not ended, as they were after the last step.
    target_of: dict[str, str] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    starts: list[Start] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    nonces: list[tuple[str, str]] = field(default_factory=list)
    ended: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    # Runners that people have stopped, that may do nothing any more, and that are there for one scan.
    held_back: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    ephemeral: set[str] = field(default_factory=set)
    worthless_tokens: list[Runner] = field(default_factory=list)

    @property
    def now(self) -> float:
        """Seconds as they really pass, however clocks are set."""
        return self.stage.clock.booted_for

    def answer(self, call: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
        """Whatever is asked, the control plane knows what to say."""
        answer = self.stage.turn(call)
        note(f"  {answer.request.method} {answer.request.url.path}: {answer.status_code}")
        return self._heard(f"{answer.request.method} {ID.sub('/{id}', answer.request.url.path)}", answer)

    def _heard(self, asked: str, answer: httpx2.Response) -> httpx2.Response:
        code = f" {answer.json()['code']}" if answer.status_code >= 400 else ""
        self.met[f"{asked}: {answer.status_code}{code}"] += 1
        assert answer.status_code < 500, answer.text
        return answer

    def restart(self) -> None:
        self.stage.restart()
        for runner in (*self.runners.values(), *self.worthless_tokens):
            runner.client = self.stage.plane.client

    # ---- people

    def queue(self, target_id: str, key: str | None = None, times: int = 1) -> None:
        """Ask for a scan, once or several times at once. One key makes one scan, whoever asks again."""

        async def together() -> list[httpx2.Response]:
            headers = {"Idempotency-Key": key} if key else {}
            body = {"targetId": target_id, "whenUnavailable": "queue"}
            return await asyncio.gather(*(self.stage.organization.post("/scans", body, headers=headers) for _ in range(times)))

        answers = self.stage.turn(together())
        made = {answer.json()["scan"]["id"] for answer in answers if self._heard("scan", answer).status_code == 201}
        before = next((start for start in self.starts if start.key == key), None)
        if before is not None and self.now - before.at < KEY_SECONDS:
            assert made == ({before.scan_id} if before.target_id == target_id else set()), "a key did not give its first answer again"
        assert len(made) <= 1, "one wish made two scans"
        for scan_id in made - set(self.scans):
            self.scans.append(scan_id)
            if key is not None:
                self.starts = [*(start for start in self.starts if start.key != key), Start(key, target_id, scan_id, self.now)]

    def administer(self, runner: Runner, what: str) -> None:
        if self.answer(self.stage.organization.post(f"/runners/{runner.id}/{what}")).status_code != 200:
            return
        if what in ("pause", "drain"):
            self.held_back.add(runner.id)
        elif what == "resume":
            self.held_back.discard(runner.id)

    def revoke(self, runner: Runner) -> None:
        self.answer(self.stage.organization.delete(f"/runners/{runner.id}"))
        self.gone.add(runner.id)

    # ---- enrollment and claims

    def exchange(self, enrollment: Enrollment, key: str | None, times: int) -> None:
        """Register once, or several times at once."""

        async def together() -> list[httpx2.Response]:
            client = self.stage.organization.client
            return await asyncio.gather(*(register(client, enrollment.token, exchangeKey=key) for _ in range(times)))

        for answer in self.stage.turn(together()):
            assert self._heard("register", answer).status_code in (201, 402, 409), answer.text
            if answer.status_code == 201:
                told = answer.json()
                enrollment.runner_ids.add(told["runner"]["id"])
                self.runners[told["runner"]["id"]] = Runner(self.stage.organization.client, told["runner"]["id"], told["token"])
                if enrollment.is_ephemeral:
                    self.ephemeral.add(told["runner"]["id"])
        assert len(enrollment.runner_ids) <= 1, "one token made two runners"

    def renew_token(self, runner: Runner, *, is_lost: bool) -> None:
        """A new token; where its answer is lost, the runner goes on with the one that it has."""
        answer = self.answer(runner.call("POST", "/token"))
        if answer.status_code != 200 or is_lost:
            return
        before = Runner(runner.client, runner.id, runner.token)
        runner.token = answer.json()["token"]
        if self.answer(runner.get("/targets")).status_code == 200:
            self.worthless_tokens.append(before)

    def try_worthless(self, runner: Runner) -> None:
        """A token that was replaced and one of a runner that was revoked open nothing."""
        for call in (runner.beat(), runner.claim(freeSlots=1), runner.call("POST", "/token")):
            assert self.answer(call).status_code == 401, "a token was taken that is worth nothing"

    def say_goodbye(self, runner: Runner, boot: str, *, is_stale: bool) -> None:
        """Everything of this boot has stopped."""
        answer = self.answer(runner.call("POST", "/goodbye", {"bootId": boot}))
        if answer.status_code == 200 and not is_stale:
            for attempt in self.attempts:
                attempt.is_touching = attempt.is_touching and attempt.runner_id != runner.id

    def claim(self, *asking: tuple[Runner, str], is_lost: bool = False) -> list[Attempt]:
        """Claims with these nonces, at the same time; the attempts that are new. Where answers are lost, nobody knows of the jobs."""

        async def together() -> list[httpx2.Response]:
            return await asyncio.gather(*(runner.claim(nonce, freeSlots=2) for runner, nonce in asking))

        new = []
        for (runner, nonce), answer in zip(asking, self.stage.turn(together()), strict=True):
            note(f"  claim {nonce} of {runner.id}: {answer.status_code} {(answer.json().get('job') or {}).get('job')}")
            assert self._heard("claim", answer).status_code in (200, 401), answer.text
            assert answer.status_code == 401 or runner.id not in self.gone, "a runner that was revoked is answered"
            job = answer.json().get("job")
            self.met[f"claim: {'a job' if job else answer.json().get('notAccepting')}"] += 1
            if job is not None and not is_lost:
                new += self._note(Attempt(runner.id, job, self.now, is_secured=(runner.id, nonce) not in self.nonces))
            elif job is not None:
                self._may_have(runner.id)
            self.nonces.append((runner.id, nonce))
        return new

    def _may_have(self, runner_id: str) -> None:
        """A new scan; what it had before it was stopped goes on."""
        quarantined = self.stage.quarantined()
        assert runner_id not in quarantined, "a runner that is quarantined was given a scan"
        assert runner_id not in self.held_back, "a runner that people have stopped was given a scan"

    def _note(self, new: Attempt) -> list[Attempt]:
        assert new.job["job"]["runnerId"] == new.runner_id
        known = next((one for one in self.attempts if (one.scan_id, one.number) == (new.scan_id, new.number)), None)
        if known is not None:
            assert known.runner_id == new.runner_id, "one attempt was given to two runners"
            return []
        if new.is_secured:
            self._may_have(new.runner_id)
        if new.runner_id in self.ephemeral:
            # What it gave back unbegun is not its one.
            begun = [before for before in self.attempts if before.runner_id == new.runner_id and before.was_started]
            assert not begun, "a runner for one scan was given two"
        assert new.scan_id not in self.ended, "an ended scan was given out again"
        for before in self.attempts:
            if before.target_id == new.target_id and before.is_touching:
                assert self.now >= before.renewed_at + SURELY_STOPPED_SECONDS, "two attempts may touch one target"
                before.is_touching = False
        self.attempts.append(new)
        return [new]

    # ---- calls for a job

    def on_job(self, said: Said, times: int = 1) -> httpx2.Response:
        """Call for a job, once or several times at once, and see that nobody but the holder of the lease changes anything."""
        attempt, speaker = said.attempt, said.speaker
        before = self._kept(attempt.scan_id)
        ((scan,), *_) = before
        holds = (scan.attempt, scan.runner_id) == (attempt.number, speaker.id) == (attempt.number, attempt.runner_id)
        is_holder = holds and scan.status in LEASED_STATUSES

        async def together() -> list[httpx2.Response]:
            return await asyncio.gather(*(speaker.on_job(attempt.job, said.step, **said.body) for _ in range(times)))

        answers = self.stage.turn(together())
        for answer in answers:
            note(f"  {said.step} of {attempt.scan_id}/{attempt.number} by {speaker.id}: {answer.status_code} {answer.text[:200]}")
            self._heard(said.step, answer)
            is_repeat = attempt.finish == said.body and speaker.id == attempt.runner_id
            assert answer.status_code != 200 or is_holder or is_repeat, f"{said.step} was taken without the lease"
            assert answer.status_code == 401 or speaker.id not in self.gone, "a runner that was revoked is answered"
            self._learn(said, answer)
        if not is_holder:
            changed = [(old, new) for old, new in zip(before, self._kept(attempt.scan_id), strict=True) if old != new]
            assert not changed, f"{said.step} without the lease changed the scan, an attempt or the log: {changed}"
        return answers[0]

    def _kept(self, scan_id: str) -> list[list[Any]]:
        """All that calls for a job may change. When an attempt was last heard of is no part of what it says."""
        return self.stage.rows(
            "SELECT id, runner_id, status, status_reason, end_reason, attempt, infrastructure_failures, not_before, phase, percent, "
            f"requests, coverage, cancel_requested_at, cancel_reason, started_at, finished_at FROM scans WHERE id = '{scan_id}'",
            "SELECT number, runner_id, renewed_at, lease_expires_at, started_at, preflight, runtime_metadata, last_seq, log_gaps, "
            f"ended_at, end_reason, finish, silent_at FROM attempts WHERE scan_id = '{scan_id}' ORDER BY number",
            f"SELECT attempt, count(*) FROM scan_events WHERE scan_id = '{scan_id}' GROUP BY attempt ORDER BY attempt",
            f"SELECT * FROM sightings WHERE scan_id = '{scan_id}' ORDER BY attempt, finding_id",
        )

    def _learn(self, said: Said, answer: httpx2.Response) -> None:
        attempt, is_taken = said.attempt, answer.status_code == 200
        match said.step:
            case "lease" if is_taken:
                attempt.renewed_at, attempt.is_secured = self.now, True
            case "start" if is_taken:
                attempt.is_touching = attempt.was_started = True
            case "finish" if is_taken:
                assert said.body["lastSeq"] <= len(attempt.sent), "an end without all its events was taken"
                attempt.finish, attempt.is_touching = said.body, False
            case "events":
                self._learn_events(attempt, said.body["events"], answer)
            case _:
                pass

    def _learn_events(self, attempt: Attempt, events: list[dict[str, Any]], answer: httpx2.Response) -> None:
        """What continues is kept, what was there before is not kept again, and a gap is told where it begins."""
        expected, first = len(attempt.sent) + 1, events[0]["seq"] if events else 0
        if answer.status_code == 200:
            assert first <= expected, "a gap was taken"
            attempt.sent += [line_of(event) for event in events if event["seq"] >= expected]
            assert answer.json()["ackedSeq"] == len(attempt.sent)
        elif answer.json()["code"] == "sequence_gap":
            assert first > expected, "what continues was taken for a gap"
            assert answer.json()["expectedSeq"] == expected

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
        assert {scan.id for scan in scans} == set(self.scans), "a scan that nobody asked for, or one that is lost"
        active = [scan.target_id for scan in scans if scan.status not in FINAL_STATUSES]
        assert len(active) == len(set(active)), "two active scans of one target"
        self.target_of, self.busy = {scan.id: scan.target_id for scan in scans}, set(active)
        for scan in scans:
            if scan.status in FINAL_STATUSES:
                assert self.ended.setdefault(scan.id, tuple(scan)) == tuple(scan), "an ended scan changed"

    def check_record(self, scan_id: str) -> None:
        """At the end: what ended has ended once, each attempt has its beginning, and the log of the last attempt is whole."""
        seen = self._get(f"/scans/{scan_id}")["scan"]
        trail = self._get(f"/audit-events?subjectId={scan_id}&limit=100")["auditEvents"]
        counted = Counter(event["action"] for event in trail)
        assert (counted["scan.created"], counted["scan.ended"]) == (1, int(scan_id in self.ended))
        assert counted["scan.assigned"] == seen["attempt"], "an attempt without its claim"
        last = next((one for one in self.attempts if (one.scan_id, one.number) == (scan_id, seen["attempt"])), None)
        if last is not None:
            log = self._get(f"/scans/{scan_id}/log")["events"]
            assert [event["seq"] for event in log] == list(range(1, len(last.sent) + 1))
            assert [line_of(event) for event in log] == last.sent
        if last is not None and seen["status"] == "completed":
            told = {line for line in last.sent if line.startswith(FLAW)}
            found = self._get(f"/scans/{scan_id}/findings")["findings"]
            assert sorted(finding["title"] for finding in found) == sorted(told), "a finding that was not said, or one twice"

    def _get(self, path: str) -> dict[str, Any]:
        told: dict[str, Any] = self.answer(self.stage.organization.get(path)).json()
        return told


def line_of(event: dict[str, Any]) -> str:
    return str(event["finding"]["title"] if event["type"] == "finding" else event["message"])


def event_of(seq: int, line: str) -> dict[str, Any]:
    """A log line, or a finding where that is what it says."""
    if line.startswith(FLAW):
        finding = {"title": line, "severity": "low", "url": f"http://localhost/{line[-1]}"}
        return {"seq": seq, **EVENT, "type": "finding", "finding": finding}
    return {"seq": seq, **EVENT, "type": "log", "level": "info", "message": line}
