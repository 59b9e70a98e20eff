"""People, runners and time, in any order: whoever repeats, forges, forgets and restarts. What must hold is the world's to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model.stage import Stage
from tests.model.world import FLAW, Attempt, Enrollment, Said, World, event_of
from tests.support.databases import Databases
from tests.support.people import Runner

One = TypeVar("One")
KEYS = (None, "the-first-exchange-key", "the-other-exchange-key")
HOUR = timedelta(hours=1)
BROKEN = "broken: "
# The license has room for ten at a time.
MOST_RUNNERS = 16
MOMENTS = (1, 16, 31, 61, 121, 121, 181, 301, 3700)
ENDINGS = ("completed", "scanner_failed", "disk_full", "canceled_by_user")
# What stands here more often happens more often.
STEPS = (
    "start_scan", "start_scan", "cancel", "administer", "administer", "revoke", "enroll", "exchange", "beat", "beat", "claim",
    "take_up", "take_up", "take_up", "take_up", "say_goodbye", "renew_token", "use_worthless", "renew", "renew", "renew", "preflight",
    "start", "send_events", "send_events", "send_events", "send_events", "send_events", "finish", "finish", "finish", "say_again",
    "say_again", "say_again", "pass_by", "pass_by", "set_clock", "cut_off", "cut_short", "fail_at_once", "restart",
)  # fmt: skip


@lru_cache
def up_to(most: int) -> st.SearchStrategy[int]:
    """Made once for each number: to make it takes longer than to draw from it."""
    return st.integers(0, most)


class ControlPlaneModel(RuleBasedStateMachine):
    databases: Databases
    met: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.databases, self.met)
        self.world = World(self.stage, self.met)
        self.draw: st.DataObject
        self.steps = 0

    def teardown(self) -> None:
        try:
            self.stage.settle(is_thorough=True)
            self.world.check()
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
            self.world.queue(target["id"])
        for runner in self.world.runners.values():
            self.world.answer(runner.beat(configuredConcurrency=2))

    @rule(draw=st.data())
    def go_on(self, draw: st.DataObject) -> None:
        """One rule draws all steps, so that no kind of them is missing from any sequence.

        Each draw counts from another place of the list: the first sequence is the one of which every draw is the same.
        """
        self.draw, self.steps = draw, self.steps + 1
        step = STEPS[(self._number(0, len(STEPS) - 1) + 7 * self.steps) % len(STEPS)]
        note(f"{self.steps}: {step}")
        with self._telling():
            getattr(self, f"_{step}")()

    @invariant()
    def promises_are_kept(self) -> None:
        with self._telling():
            self.world.check()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What broke first is told also where a second try goes another way: two calls at the same time are never quite the same again."""
        try:
            yield
        except AssertionError as broken:
            self.met[f"{BROKEN}{broken}"] += 1
            raise

    # ---- people

    def _start_scan(self) -> None:
        """Without a key, with a new one twice at once, or with one that was used before."""
        number = len(self.world.starts)
        key = self._one_of((None, f"key-{number}", f"key-{self._number(0, number)}"))
        self.world.queue(self._one_of(self.world.targets), key, 1 if key is None else 2)

    def _cancel(self) -> str:
        scan_id = self._one_of(self.world.scans[-3:])
        self.world.answer(self.stage.organization.post(f"/scans/{scan_id}/cancel"))
        return scan_id

    def _administer(self) -> None:
        self.world.administer(self._runner(), self._one_of(("resume", "resume", "resume", "pause", "drain", "rotate-token")))

    def _revoke(self) -> None:
        if self._seldom():
            self.world.revoke(self._runner())

    def _enroll(self) -> None:
        if len(self.world.enrollments) < MOST_RUNNERS:
            is_ephemeral = self._seldom()
            token = self.stage.turn(self.stage.organization.enrollment_token(ephemeral=is_ephemeral))
            self.world.enrollments.append(Enrollment(token, is_ephemeral))
            self._exchange()

    # ---- runners

    def _exchange(self) -> None:
        """Any token, known or used, with any key."""
        self.world.exchange(self._one_of(self.world.enrollments[-3:]), self._one_of(KEYS), self._number(1, 3))

    def _beat(self) -> None:
        """Seldom of a new boot, or one that was under way for long: of the boot before, with an earlier number, by a wrong clock."""
        runner = self._runner()
        if self._seldom():
            runner.boot_id = runner.boot_id[:-1] if runner.boot_id.endswith("+") else f"{runner.boot_id}+"
        runner.beats = max(0, runner.beats - self._one_of((0, 0, 2)))
        health = {"engineReachable": self._number(0, 9) < 9, "clockSkewMs": self._one_of((0, 3_600_000, -3_600_000))}
        self.world.answer(runner.beat(configuredConcurrency=2, health=health))

    def _claim(self) -> list[Attempt]:
        """Two runners, or one twice, at the same time; seldom with a nonce that somebody used before, or with one and the same."""
        number = len(self.world.nonces)
        asking = [(self._runner(), f"nonce-{number}-a"), (self._runner(), f"nonce-{number}-b")]
        if self.world.nonces and self._seldom():
            runner_id, nonce = self._one_of((*self.world.nonces[-6:], (asking[0][0].id, asking[0][1])))
            asking[1] = (self.world.runners[runner_id], nonce)
        return self.world.claim(*asking, is_lost=self._number(0, 7) == 7)

    def _take_up(self) -> None:
        """Claim and start: most of what can go wrong begins with a scan that runs."""
        for attempt in self._claim():
            self._begin(attempt, self.world.runners[attempt.runner_id])

    def _say_goodbye(self) -> None:
        """Said after everything has stopped. One of an earlier boot knows nothing of what runs now."""
        runner, is_stale = self._runner(), not self._seldom()
        boot = runner.boot_id
        if is_stale:
            runner.boot_id = f"{boot}+"
            self.world.answer(runner.beat(configuredConcurrency=2))
        self.world.say_goodbye(runner, boot, is_stale=is_stale)

    def _renew_token(self) -> None:
        self.world.renew_token(self._runner(), is_lost=self._seldom())

    def _use_worthless(self) -> None:
        gone = [runner for runner_id, runner in self.world.runners.items() if runner_id in self.world.gone]
        worthless = [*self.world.worthless_tokens[-3:], *gone[-3:]]
        if worthless:
            self.world.try_worthless(self._one_of(worthless))

    # ---- jobs

    def _renew(self) -> None:
        for attempt, speaker in self._attempt():
            self._say(attempt, speaker, "lease")

    def _preflight(self) -> None:
        for attempt, speaker in self._attempt():
            self._say(attempt, speaker, "preflight", ok=not self._seldom())

    def _start(self) -> None:
        for attempt, speaker in self._attempt():
            self._begin(attempt, speaker)

    def _send_events(self) -> None:
        """From before what was acknowledged, right after it, or with a gap. Each line says what follows from all before it."""
        for attempt, speaker in self._attempt():
            expected = len(attempt.sent) + 1
            first, size = max(1, expected - 1 + self._number(-1, 2)), self._number(0, 4)
            lines = [f"{attempt.number}/{number}/{expected}" for number in range(first, first + size)]
            if lines and self._seldom():
                lines[0] = f"{FLAW}{self._number(0, 2)}"
            self._say(attempt, speaker, "events", events=[event_of(first + place, line) for place, line in enumerate(lines)])

    def _finish(self) -> None:
        for attempt, speaker in self._attempt():
            self._end(attempt, speaker, self._one_of(ENDINGS), missing=int(self._seldom()))

    def _say_again(self) -> None:
        """An answer was lost, or a call was under way for long."""
        if self.world.said:
            self.world.on_job(self._one_of(self.world.said[-8:]))

    def _fail_at_once(self) -> None:
        """A runner that cannot work takes one scan after the other, until it is kept from them."""
        runner = self._runner()
        self.world.administer(runner, "resume")
        self.world.answer(runner.beat(configuredConcurrency=2))
        # What begins at the moment of the resume counts as before it.
        self.stage.clock.pass_by(seconds=1)
        for _ in range(4):
            self.world.check()
            for target_id in self.world.targets:
                if target_id not in self.world.busy:
                    self.world.queue(target_id)
            for attempt in self.world.claim((runner, f"nonce-{len(self.world.nonces)}")):
                self._begin(attempt, runner)
                self._end(attempt, runner, "engine_unavailable", missing=0)
            self.stage.clock.pass_by(seconds=121)
        self.world.claim((runner, f"nonce-{len(self.world.nonces)}"))

    # ---- time

    def _pass_by(self) -> None:
        self.stage.clock.pass_by(seconds=self._one_of(MOMENTS))
        if not self._seldom():
            self.stage.settle(is_thorough=self._seldom())

    def _set_clock(self) -> None:
        """The host's clock is set, and seldom somebody comes before the control plane has followed it."""
        self.stage.clock.be_set(self._one_of((HOUR, -HOUR)))
        if self._seldom():
            self._take_up()
        self.stage.settle()

    def _cut_off(self) -> None:
        """Nobody is heard of until every lease is lost; then somebody takes up what is left, and the others still speak of theirs."""
        for seconds in (121, 181):
            self.stage.clock.pass_by(seconds=seconds)
            self.stage.settle()
        self.stage.clock.pass_by(seconds=61)
        self._take_up()

    def _cut_short(self) -> None:
        """A cancel is forced on a runner that may not have heard; the same target is asked for again and somebody is free for it."""
        scan_id = self._cancel()
        self.stage.clock.pass_by(seconds=121)
        self.stage.settle()
        self.world.queue(self.world.target_of[scan_id])
        self._take_up()

    def _restart(self) -> None:
        if self._seldom():
            self.world.restart()

    # ---- saying

    def _say(self, attempt: Attempt, speaker: Runner, step: str, **body: object) -> None:
        """Seldom twice at the same time."""
        said = Said(attempt, speaker, step, body)
        self.world.said.append(said)
        self.world.on_job(said, times=1 + int(self._number(0, 7) == 7))

    def _begin(self, attempt: Attempt, speaker: Runner) -> None:
        if not attempt.is_secured:
            self._say(attempt, speaker, "lease")
        if attempt.is_secured:
            self._say(attempt, speaker, "start")

    def _end(self, attempt: Attempt, speaker: Runner, ending: str, missing: int) -> None:
        status = {"completed": "completed", "canceled_by_user": "cancelled"}.get(ending, "failed")
        self._say(attempt, speaker, "finish", status=status, endReason=ending, lastSeq=len(attempt.sent) + missing)

    # ---- choosing

    def _one_of(self, things: Sequence[One]) -> One:
        return things[self._number(0, len(things) - 1)]

    def _number(self, least: int, most: int) -> int:
        return least + self.draw.draw(up_to(most - least))

    def _seldom(self) -> bool:
        return self._number(0, 3) == 3

    def _runner(self) -> Runner:
        return self._one_of(list(self.world.runners.values())[-4:])

    def _attempt(self) -> list[tuple[Attempt, Runner]]:
        """One of the latest attempts, mostly one that runs, if there is any; and who speaks for it: its runner, or seldom another."""
        running = [attempt for attempt in self.world.attempts if attempt.is_touching]
        attempts = self.world.attempts if not running or self._seldom() else running
        if not attempts:
            return []
        attempt = self._one_of(attempts[-3:])
        return [(attempt, self._runner() if self._number(0, 7) == 7 else self.world.runners[attempt.runner_id])]
