"""People, runners and time, in any order: whoever repeats, forges, forgets and restarts. What must hold is the world's to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model.stage import Stage
from tests.model.world import Attempt, Enrollment, World
from tests.support.databases import Databases
from tests.support.people import Runner

One = TypeVar("One")
KEYS = (None, "the-first-exchange-key", "the-other-exchange-key")
MOMENTS = (1, 16, 31, 61, 121, 121, 181, 301, 3700)
ENDINGS = ("completed", "scanner_failed", "disk_full", "canceled_by_user")
# One rule draws from this list, so that no kind of step is missing from any sequence; what stands more often happens more often.
STEPS = (
    "start_scan", "start_scan", "start_scan", "cancel", "cancel", "administer", "revoke", "enroll", "exchange", "beat", "beat",
    "claim", "take_up", "take_up", "take_up", "take_up", "take_up", "say_goodbye", "renew_token", "renew", "renew", "preflight",
    "start", "send_events", "send_events", "finish", "pass_by", "pass_by", "cut_off", "cut_off", "cut_short", "cut_short", "restart",
)  # fmt: skip


class ControlPlaneModel(RuleBasedStateMachine):
    databases: Databases

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.databases)
        self.world = World(self.stage)
        self.draw: st.DataObject

    def teardown(self) -> None:
        try:
            for scan_id in self.world.scans:
                self.world.check_record(scan_id)
        finally:
            self.stage.close()

    @initialize()
    def furnish(self) -> None:
        """Two targets with a scan each, two runners; the amnesty of the first start is over."""
        self.stage.clock.pass_by(seconds=121)
        for number in range(2):
            target = self.stage.turn(self.stage.organization.target(f"localhost:{3000 + number}"))
            self.world.targets.append(target["id"])
            self.world.enrollments.append(Enrollment(self.stage.turn(self.stage.organization.enrollment_token())))
            self.world.exchange(self.world.enrollments[number], KEYS[1], 1)
            self._queue(target["id"])
        for runner in self.world.runners.values():
            self.world.answer(runner.beat(configuredConcurrency=2))

    @rule(step=st.sampled_from(STEPS), draw=st.data())
    def go_on(self, step: str, draw: st.DataObject) -> None:
        self.draw = draw
        getattr(self, f"_{step}")()

    @invariant()
    def promises_are_kept(self) -> None:
        self.world.check()

    # ---- people

    def _start_scan(self) -> None:
        self._queue(self._one_of(self.world.targets))

    def _queue(self, target_id: str) -> None:
        answer = self.world.answer(self.stage.organization.post("/scans", {"targetId": target_id, "whenUnavailable": "queue"}))
        if answer.status_code == 201:
            self.world.scans.append(answer.json()["scan"]["id"])

    def _cancel(self) -> None:
        self.world.answer(self.stage.organization.post(f"/scans/{self._one_of(self.world.scans[-3:])}/cancel"))

    def _administer(self) -> None:
        what = self._one_of(("resume", "resume", "resume", "pause", "drain", "rotate-token"))
        self.world.answer(self.stage.organization.post(f"/runners/{self._runner().id}/{what}"))

    def _revoke(self) -> None:
        if self._seldom():
            self.world.answer(self.stage.organization.delete(f"/runners/{self._runner().id}"))

    def _enroll(self) -> None:
        if len(self.world.enrollments) < 8:
            wanted = self.stage.organization.enrollment_token(ephemeral=self._seldom())
            self.world.enrollments.append(Enrollment(self.stage.turn(wanted)))
            self._exchange()

    # ---- runners

    def _exchange(self) -> None:
        """Any token, known or used, with any key."""
        self.world.exchange(self._one_of(self.world.enrollments[-3:]), self._one_of(KEYS), self._number(1, 3))

    def _beat(self) -> None:
        runner = self._runner()
        if self._seldom():
            runner.boot_id = f"{runner.boot_id}+"
        health = {"engineReachable": not self._seldom()}
        self.world.answer(runner.beat(configuredConcurrency=2, health=health))

    def _claim(self) -> list[Attempt]:
        """Two runners, or one twice, at the same time; seldom with a nonce that somebody used before."""
        number = len(self.world.nonces)
        asking = [(self._runner(), f"nonce-{number}-a"), (self._runner(), f"nonce-{number}-b")]
        if self.world.nonces and self._seldom():
            runner_id, nonce = self._one_of(self.world.nonces[-6:])
            asking[1] = (self.world.runners[runner_id], nonce)
        return self.world.claim(*asking)

    def _take_up(self) -> None:
        """Claim and start: most of what can go wrong begins with a scan that runs."""
        for attempt in self._claim():
            self.world.start(attempt, self.world.runners[attempt.runner_id])

    def _say_goodbye(self) -> None:
        """Said after everything has stopped. One of an earlier boot knows nothing of what runs now."""
        runner, is_stale = self._runner(), not self._seldom()
        boot = runner.boot_id
        if is_stale:
            runner.boot_id = f"{boot}+"
            self.world.answer(runner.beat(configuredConcurrency=2))
        answer = self.world.answer(runner.call("POST", "/goodbye", {"bootId": boot}))
        if answer.status_code == 200 and not is_stale:
            for attempt in self.world.attempts:
                attempt.is_touching = attempt.is_touching and attempt.runner_id != runner.id

    def _renew_token(self) -> None:
        runner = self._runner()
        answer = self.world.answer(runner.call("POST", "/token"))
        if answer.status_code == 200:
            runner.token = answer.json()["token"]

    # ---- jobs

    def _renew(self) -> None:
        for attempt, speaker in self._attempt():
            if self.world.on_job(attempt, speaker, "lease").status_code == 200:
                attempt.renewed_at = self.world.now

    def _preflight(self) -> None:
        for attempt, speaker in self._attempt():
            self.world.on_job(attempt, speaker, "preflight", ok=not self._seldom())

    def _start(self) -> None:
        for attempt, speaker in self._attempt():
            self.world.start(attempt, speaker)

    def _send_events(self) -> None:
        for attempt, speaker in self._attempt():
            self.world.send(attempt, speaker, max(1, len(attempt.sent) + self._number(-1, 2)), self._number(0, 4))

    def _finish(self) -> None:
        for attempt, speaker in self._attempt():
            self.world.finish(attempt, speaker, self._one_of(ENDINGS), missing=int(self._seldom()))

    # ---- time

    def _pass_by(self) -> None:
        self.stage.clock.pass_by(seconds=self._one_of(MOMENTS))
        if not self._seldom():
            self.stage.turn(self.stage.plane.settle())

    def _cut_off(self) -> None:
        """Nobody is heard of until every lease is lost; then somebody takes up what is left, and the others still speak of theirs."""
        for seconds in (121, 181, 61):
            self.stage.clock.pass_by(seconds=seconds)
            self.stage.turn(self.stage.plane.settle())
        self._take_up()

    def _cut_short(self) -> None:
        """A cancel is forced on a runner that may not have heard; the same target is asked for again and somebody is free for it."""
        self._cancel()
        self.stage.clock.pass_by(seconds=121)
        self.stage.turn(self.stage.plane.settle())
        for target_id in self.world.targets:
            self._queue(target_id)
        self._take_up()

    def _restart(self) -> None:
        if self._seldom():
            self.world.restart()

    # ---- choosing

    def _one_of(self, things: Sequence[One]) -> One:
        return self.draw.draw(st.sampled_from(things))

    def _number(self, least: int, most: int) -> int:
        return self.draw.draw(st.integers(least, most))

    def _seldom(self) -> bool:
        return self._number(0, 3) == 3

    def _runner(self) -> Runner:
        return self._one_of(list(self.world.runners.values())[-4:])

    def _attempt(self) -> list[tuple[Attempt, Runner]]:
        """One of the latest attempts, if there is any, and who speaks for it: its runner, or seldom another."""
        if not self.world.attempts:
            return []
        attempt = self._one_of(self.world.attempts[-3:])
        return [(attempt, self._runner() if self._seldom() else self.world.runners[attempt.runner_id])]
