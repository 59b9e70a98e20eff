"""Decides whether a scan may start, and exactly why not. One pure function judges readiness, a start, and every queued scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from pydantic import JsonValue

from apviso.protocol.licenses import License
from apviso.protocol.readiness import Check, CheckCode, Readiness, RunnerCounts, RunnerSummary, WaitingFor
from apviso.protocol.states import VISIBILITIES_NEEDING_PROOF, AdminState, Fault, RunnerStatus, Visibility
from apviso.protocol.wire import RunnerId, format_instant
from apviso.server.localtime import Hours, is_within, next_closing, next_opening
from apviso.server.runners.boots import duplicate_of
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import Presence, admin_state_at, is_in_maintenance


@dataclass(frozen=True)
class Candidate:
    """A runner with its presence at the time of the question. `busy_until` are the expected ends of what it runs."""

    facts: RunnerFacts
    presence: Presence
    busy_until: tuple[datetime, ...] = ()

    # Asked for several times in one judgment, of every runner.
    @cached_property
    def free_slots(self) -> int:
        return self.facts.free_slots


@dataclass(frozen=True)
class TargetFacts:
    """The target in question. `is_idle` and `idle_after` tell whether an earlier scan may still touch it.

    `needs_proof` is the organization's switch; at `proof_lost_at` a proof that is missing now is lost.
    `windows`: when scans may start; without any, always.
    """

    visibility: Visibility
    is_verified: bool
    needs_proof: bool
    proof_lost_at: datetime | None = None
    is_idle: bool = True
    idle_after: datetime | None = None
    windows: tuple[Hours, ...] = ()


@dataclass(frozen=True)
class Question:
    """Everything that the answer depends on. `not_before` is set for a scan that waits for its next attempt.

    `is_brief`: the runners are counted and not named, which for ten thousand of them is most of the answer.
    """

    license: License
    live_leases: int
    candidates: Sequence[Candidate]
    now: datetime
    target: TargetFacts | None = None
    requested_runner_id: RunnerId | None = None
    not_before: datetime | None = None
    is_brief: bool = False

    @property
    def roll_call(self) -> dict[str, datetime]:
        """The names of the runners that have to say what they run before anybody is given a scan, and how long they are waited for."""
        called = ((one.facts.name, one.facts.roll_call_until) for one in self.candidates)
        return {name: until for name, until in called if until is not None and until > self.now}

    def name_of(self, runner_id: RunnerId) -> str | None:
        return next((one.facts.name for one in self.candidates if one.facts.id == runner_id), None)


# What `target_idle` observes: a scan of the target is active, or one that ended may still send what it had begun.
SCANNED, SETTLING = "scanned", "settling"

_Keep = Callable[[Candidate], bool]


def assess(question: Question) -> Readiness:
    """Judge every check in order; the first that fails is the primary blocker."""
    return _judged(question, _Stages(question))


def assess_each(questions: Sequence[Question]) -> list[Readiness]:
    """Of one fleet at one moment, as for a queue: what runners can do is worked out once for all targets of one visibility."""
    known: dict[tuple[Visibility | None, RunnerId | None], _Stages] = {}
    found = []
    for question in questions:
        key = question.target.visibility if question.target else None, question.requested_runner_id
        if key not in known:
            known[key] = _Stages(question)
        found.append(_judged(question, known[key]))
    return found


def _judged(question: Question, stages: _Stages) -> Readiness:
    checks = [*_license_checks(question), *stages.checks, *_capacity_checks(question), *_target_checks(question)]
    failed = [check for check in checks if not check.ok]
    passed = {check.code for check in checks if check.ok}
    is_ready = not failed
    return Readiness(
        ready=is_ready,
        visibility=question.target.visibility if question.target else None,
        visibility_ok=CheckCode.VISIBILITY_ALLOWED in passed and CheckCode.TARGET_VERIFIED in passed,
        runner_ok=passed >= _RUNNER_CODES,
        capacity_ok={CheckCode.RUNNER_CAPACITY, CheckCode.LICENSE_CAPACITY} <= passed,
        selected_runner_id=stages.selected,
        reason=failed[0].message if failed else None,
        primary_blocker=failed[0].code if failed else None,
        checks=checks,
        # Null when ready: a time that moves with every look would give every answer a new entity tag.
        estimated_start_at=None if is_ready else _estimate(question, failed, stages),
        license=question.license,
        runners=[] if question.is_brief else [_summary(candidate) for candidate in stages.listed],
        runner_counts=stages.counts,
    )


def waiting_for(readiness: Readiness) -> WaitingFor:
    """The same answer, for a scan that is in the queue."""
    return WaitingFor(
        primary_blocker=readiness.primary_blocker,
        reason=readiness.reason or "A runner can take this scan; it is about to be claimed.",
        checks=readiness.checks,
        estimated_start_at=readiness.estimated_start_at,
    )


_RUNNER_CODES = frozenset(
    {
        CheckCode.RUNNER_REGISTERED,
        CheckCode.RUNNER_ONLINE,
        CheckCode.RUNNER_ACCEPTING,
        CheckCode.RUNNER_HEALTHY,
        CheckCode.RUNNER_COMPATIBLE,
        CheckCode.RUNNER_IN_MAINTENANCE,
    }
)


def _summary(candidate: Candidate) -> RunnerSummary:
    facts = candidate.facts
    return RunnerSummary(
        id=facts.id,
        name=facts.name,
        status=candidate.presence.status,
        configured_concurrency=facts.configured_concurrency,
        current_jobs=facts.live_leases,
    )


def _check(code: CheckCode, ok: bool, message: str, observed: JsonValue, required: JsonValue, fix: str) -> Check:
    return Check(code=code, ok=ok, message=message, observed=observed, required=required, fix=None if ok else fix)


def _license_checks(question: Question) -> list[Check]:
    held = question.license
    allowed: list[JsonValue] = [*held.allowed_target_visibilities]
    target = question.target
    is_allowed = target is None or target.visibility in held.allowed_target_visibilities
    is_proved = target is None or target.is_verified or not (target.needs_proof and target.visibility in VISIBILITIES_NEEDING_PROOF)
    return [
        _check(
            CheckCode.LICENSE_ACTIVE,
            held.can_start_self_hosted_scan,
            f"The {held.plan} license is {held.license_state}.",
            held.license_state,
            ["active", "grace"],
            "Install a valid license with `apviso admin license install FILE`.",
        ),
        _check(
            CheckCode.VISIBILITY_ALLOWED,
            is_allowed,
            "No target was named."
            if target is None
            else f"The license {'permits' if is_allowed else 'does not permit'} {target.visibility} targets.",
            target.visibility if target else None,
            allowed,
            "Change the target's visibility, or install a license that names it.",
        ),
        _check(
            CheckCode.TARGET_VERIFIED,
            is_proved,
            _told_of_proof(target),
            None if target is None else target.is_verified,
            True,
            "Prove control of the target: GET /api/v1/targets/{id}/verify/instructions says how. An administrator can switch the "
            "requirement off with PATCH /api/v1/organization, or `apviso admin organization --no-require-verification`.",
        ),
    ]


def _told_of_proof(target: TargetFacts | None) -> str:
    if target is None:
        return "No target was named."
    if target.visibility not in VISIBILITIES_NEEDING_PROOF:
        return f"A {target.visibility} target needs no proof of control: the scope file of the runner vouches for it."
    if target.is_verified and target.proof_lost_at is not None:
        return f"Control was proved, but the proof is missing now; it is lost at {format_instant(target.proof_lost_at)}."
    if target.is_verified:
        return "Control of the target is proved."
    if not target.needs_proof:
        return "Control of the target has not been proved, and verification is switched off for this organization."
    return f"Control of this {target.visibility} target has not been proved."


@dataclass
class _Stages:
    """The runner checks: each one keeps the runners that pass, so a scan is ready only if one runner passes them all."""

    question: Question
    checks: list[Check] = field(default_factory=list)
    listed: list[Candidate] = field(default_factory=list)
    compatible: list[Candidate] = field(default_factory=list)
    able: list[Candidate] = field(default_factory=list)
    selected: RunnerId | None = None
    counts: RunnerCounts = field(default_factory=RunnerCounts)

    def __post_init__(self) -> None:
        asked = self.question.requested_runner_id
        self.listed = [
            candidate
            for candidate in self.question.candidates
            if candidate.presence.status is not RunnerStatus.REVOKED and asked in (None, candidate.facts.id)
        ]
        standing = Counter(candidate.presence.status for candidate in self.listed)
        self.counts = RunnerCounts(**{str(status): count for status, count in standing.items()})
        left = self.listed
        for code, keep, tell in (
            (CheckCode.RUNNER_REGISTERED, _is_registered, _tell_registered),
            (CheckCode.RUNNER_ONLINE, _is_present, _tell_online),
            (CheckCode.RUNNER_ACCEPTING, self._is_enabled, _tell_accepting),
            (CheckCode.RUNNER_HEALTHY, _is_healthy, _tell_healthy),
            (CheckCode.RUNNER_COMPATIBLE, self._can_reach, _tell_compatible),
        ):
            left = self._judge(code, keep, tell, left)
        self.compatible = left
        self.able = left = self._judge(CheckCode.RUNNER_IN_MAINTENANCE, self._is_working, _tell_maintenance, left)
        free = self._judge(CheckCode.RUNNER_CAPACITY, _has_slot, _tell_capacity, left)
        chosen = min(free or left, key=lambda candidate: (-candidate.free_slots, candidate.facts.id), default=None)
        self.selected = chosen.facts.id if chosen else None

    def _judge(self, code: CheckCode, keep: _Keep, tell: Callable[[_Told], _Telling], before: list[Candidate]) -> list[Candidate]:
        kept = [candidate for candidate in before if keep(candidate)]
        if not before and code is not CheckCode.RUNNER_REGISTERED:
            blocker = next(check.code for check in self.checks if not check.ok)
            self.checks.append(_check(code, False, f"Cannot be judged before {blocker} holds.", 0, 1, f"Mend {blocker} first."))
            return []
        telling, is_ok = tell(_Told(before, kept, self.question)), bool(kept)
        if code is CheckCode.RUNNER_ACCEPTING and kept and self.question.roll_call:
            # Those who could take a scan are judged further: what else stands in its way is told, too.
            telling, is_ok = _tell_roll_call(self.question.roll_call), False
        self.checks.append(_check(code, is_ok, telling.message, telling.observed, telling.required, telling.fix))
        return kept

    def _is_enabled(self, candidate: Candidate) -> bool:
        return admin_state_at(candidate.facts, self.question.now) is AdminState.ENABLED

    def _is_working(self, candidate: Candidate) -> bool:
        return not is_in_maintenance(candidate.facts, self.question.now)

    def _can_reach(self, candidate: Candidate) -> bool:
        return self.question.target is None or candidate.facts.can_reach(self.question.target.visibility)


@dataclass(frozen=True)
class _Told:
    before: list[Candidate]
    kept: list[Candidate]
    question: Question

    @property
    def names(self) -> str:
        return _listed([candidate.facts.name for candidate in self.before])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class _Telling:
    message: str
    fix: str
    observed: JsonValue
    required: JsonValue = 1


def _is_registered(_: Candidate) -> bool:
    return True


def _is_present(candidate: Candidate) -> bool:
    return candidate.presence.is_present


def _is_healthy(candidate: Candidate) -> bool:
    return not candidate.presence.blocking_faults


def _has_slot(candidate: Candidate) -> bool:
    return candidate.free_slots > 0


def _tell_registered(told: _Told) -> _Telling:
    if told.question.requested_runner_id is not None and not told.kept:
        return _Telling("The runner asked for is revoked.", "Ask for another runner, or for none.", 0)
    message = f"{len(told.kept)} registered." if told.kept else "No runner is registered."
    return _Telling(message, "Create an enrollment token and run `apviso register` on a host that reaches the target.", len(told.kept))


def _tell_online(told: _Told) -> _Telling:
    if told.kept:
        return _Telling(f"{len(told.kept)} of {len(told.before)} in contact.", "", len(told.kept))
    latest = max((c.facts.last_contact_at for c in told.before if c.facts.last_heartbeat_at and c.facts.last_contact_at), default=None)
    seen = f"last contact {format_instant(latest)}" if latest else "never heard of since enrollment"
    return _Telling(
        f"No runner is online: {told.names} ({seen}).",
        "Start `apviso run` on the runner's host; `apviso doctor` there says what is wrong.",
        0,
    )


def _tell_accepting(told: _Told) -> _Telling:
    states: list[JsonValue] = [*sorted({admin_state_at(c.facts, told.question.now) for c in told.before})]
    message = f"{len(told.kept)} accept scans." if told.kept else f"{told.names} is {' or '.join(map(str, states))} and takes no new scan."
    fix = "Resume a runner: `POST /api/v1/runners/{id}/resume`."
    ill = next((c.facts for c in told.before if admin_state_at(c.facts, told.question.now) is AdminState.QUARANTINED), None)
    if ill is not None and not told.kept:
        until = f" It is tried again from {format_instant(ill.admin_until)} on." if ill.admin_until else ""
        message += f" {ill.name}: {ill.admin_note}{until}"
        fix = f"Run `apviso doctor` on the host of {ill.name} and mend what it finds. {fix}"
    return _Telling(message, fix, states, ["enabled"])


def _tell_roll_call(waited_for: dict[str, datetime]) -> _Telling:
    have = f"{_listed([*waited_for])} {'has said what it runs' if len(waited_for) == 1 else 'have said what they run'}"
    return _Telling(
        "The records of the control plane may be older than what the runners do, as after a restored backup. No scan is handed out before "
        f"{have}, at the latest until {format_instant(max(waited_for.values()))}.",
        "Wait; it ends by itself, and sooner when the runners that are waited for are there: start those that are stopped.",
        ["roll_call"],
        ["enabled"],
    )


def _tell_healthy(told: _Told) -> _Telling:
    faults: list[JsonValue] = [*sorted({fault for c in told.before for fault in c.presence.blocking_faults})]
    message = (
        f"{len(told.kept)} healthy."
        if told.kept
        else f"{told.names} has a fault that keeps it from running scans: {', '.join(map(str, faults))}."
    )
    fix = "Run `apviso doctor` on the runner's host and follow its next steps."
    twins = [(c.facts.name, duplicate_of(c.facts)) for c in told.before if Fault.DUPLICATE_IDENTITY in c.presence.blocking_faults]
    if twins and not told.kept:
        name, seen = twins[0]
        places = " and ".join(boot.address or "an unknown address" for boot in seen.boots) if seen else "several places"
        message += f" The identity of {name} is in use at {places}."
        fix = "Stop all but one of the machines with this identity, and enroll each of the others with a token of its own."
    return _Telling(message, fix, faults, [])


def _tell_compatible(told: _Told) -> _Telling:
    target = told.question.target
    if target is None:
        return _Telling("No target was named.", "", len(told.kept))
    message = (
        f"{len(told.kept)} can reach {target.visibility} targets."
        if told.kept
        else f"{told.names} does not take {target.visibility} targets."
    )
    return _Telling(message, f"Enroll a runner that takes {target.visibility} targets.", len(told.kept))


def _tell_maintenance(told: _Told) -> _Telling:
    if told.kept:
        return _Telling(f"{len(told.kept)} outside maintenance windows.", "", len(told.kept))
    until = min(next_closing(c.facts.maintenance_windows, told.question.now) for c in told.before)
    message = f"{told.names} takes no new scan in its maintenance window, which lasts until {format_instant(until)}."
    return _Telling(message, "Wait; it takes scans again by itself. Or change `maintenanceWindows` of the runner.", 0)


def _tell_capacity(told: _Told) -> _Telling:
    used, slots = sum(c.facts.live_leases for c in told.before), sum(c.facts.slots for c in told.before)
    free = sum(c.free_slots for c in told.before)
    message = f"{free} of {slots} slots free." if free else f"All {slots} slots are taken ({used} scans are running)."
    return _Telling(message, "Wait for a scan to end, raise the runner's concurrency, or enroll another runner.", free)


def _capacity_checks(question: Question) -> list[Check]:
    limit = question.license.concurrent_job_limit
    return [
        _check(
            CheckCode.LICENSE_CAPACITY,
            question.live_leases < limit,
            f"{question.live_leases} of {limit} concurrent scans that the license permits are running.",
            question.live_leases,
            limit,
            "Wait for a scan to end, or install a license with a higher limit.",
        )
    ]


def _target_checks(question: Question) -> list[Check]:
    checks: list[Check] = []
    target = question.target
    if target is not None:
        until = f" It is certain to be silent at {format_instant(target.idle_after)}." if target.idle_after else ""
        message = (
            "No other scan touches the target." if target.is_idle else f"Another scan of this target is active or may still be.{until}"
        )
        observed = "idle" if target.is_idle else SETTLING if target.idle_after else SCANNED
        checks.append(_check(CheckCode.TARGET_IDLE, target.is_idle, message, observed, "idle", "Wait for it to end, or cancel it."))
        checks.append(_window_check(target, question.now))
    if question.not_before is not None:
        is_due = question.not_before <= question.now
        message = "The next attempt is due." if is_due else f"The next attempt waits until {format_instant(question.not_before)}."
        required = format_instant(question.not_before)
        checks.append(_check(CheckCode.RETRY_DELAY, is_due, message, is_due, required, "Wait; it starts by itself."))
    return checks


def _window_check(target: TargetFacts, now: datetime) -> Check:
    is_open = not target.windows or is_within(target.windows, now)
    opens = format_instant(next_opening(target.windows, now))
    return _check(
        CheckCode.SCAN_WINDOW_CLOSED,
        is_open,
        f"No scan of this target may start before {opens}." if not is_open else "Scans of this target may start now.",
        "open" if is_open else "closed",
        "open",
        f"Wait until {opens}, or change `scanWindows` of the target.",
    )


_PASSES_BY_TIME = frozenset(
    {
        CheckCode.RUNNER_IN_MAINTENANCE,
        CheckCode.RUNNER_CAPACITY,
        CheckCode.LICENSE_CAPACITY,
        CheckCode.TARGET_IDLE,
        CheckCode.SCAN_WINDOW_CLOSED,
        CheckCode.RETRY_DELAY,
    }
)
# Each turn is one window later; windows that leave no common moment are not waited for.
_TURNS_LOOKED_AT = 30


def _estimate(question: Question, failed: list[Check], stages: _Stages) -> datetime | None:
    """When a scan could start if nothing but time stands in its way; None where somebody has to act or nothing is known."""
    # Only where somebody accepts scans is it what they wait for.
    roll_call = question.roll_call if stages.compatible else {}
    passes = _PASSES_BY_TIME | {CheckCode.RUNNER_ACCEPTING} if roll_call else _PASSES_BY_TIME
    if any(check.code not in passes for check in failed):
        return None
    moments: list[datetime] = [*roll_call.values()]
    in_maintenance = not stages.able
    for check in failed:
        match check.code:
            case CheckCode.SCAN_WINDOW_CLOSED | CheckCode.RUNNER_IN_MAINTENANCE | CheckCode.RUNNER_ACCEPTING:
                pass
            case CheckCode.RUNNER_CAPACITY if in_maintenance:
                pass
            case CheckCode.RETRY_DELAY:
                moments.append(question.not_before or question.now)
            case CheckCode.TARGET_IDLE if question.target and question.target.idle_after:
                moments.append(question.target.idle_after)
            case _:
                ends = [end for candidate in stages.able for end in candidate.busy_until]
                if not ends:
                    return None
                moments.append(min(ends))
    return _permitted(question, stages.compatible, max([*moments, question.now]))


def _permitted(question: Question, runners: Sequence[Candidate], moment: datetime) -> datetime | None:
    """The first moment from then on at which the target's windows are open and one of these is outside maintenance."""
    windows = question.target.windows if question.target is not None else ()
    for _ in range(_TURNS_LOOKED_AT):
        opens = next_opening(windows, moment)
        free = min((next_closing(candidate.facts.maintenance_windows, opens) for candidate in runners), default=opens)
        if free == moment:
            return moment
        moment = free
    return None
