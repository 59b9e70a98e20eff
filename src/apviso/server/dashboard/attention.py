"""Puts what needs somebody's attention in order, worst first, each with its fix. Pure: takes answers of the API and the time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from apviso.protocol.access import ApiKey
from apviso.protocol.findings import Finding
from apviso.protocol.licenses import License
from apviso.protocol.readiness import CheckCode, Readiness
from apviso.protocol.runners import Runner
from apviso.protocol.scans import Scan
from apviso.protocol.schedules import RunOutcome, Schedule
from apviso.protocol.states import BLOCKING_FAULTS, VISIBILITIES_NEEDING_PROOF, AdminState, LicenseState, RunnerStatus
from apviso.protocol.targets import Target
from apviso.protocol.webhooks import Webhook
from apviso.server.dashboard.rendering import age, words
from apviso.server.dashboard.runner_words import REASONS
from apviso.server.dashboard.scan_words import ENDINGS

# Of one kind; the rest is one row.
MOST_ROWS = 5
FAILURES_FOR, NEW_FOR = timedelta(days=1), timedelta(days=7)
KEY_ENDS_WITHIN, LICENSE_ENDS_WITHIN = timedelta(days=14), timedelta(days=30)
DOCTOR = "Run `apviso doctor` on its host, and follow its next steps."
# What ends by itself is no news while it lasts.
_PASSING = frozenset(
    {
        CheckCode.RUNNER_IN_MAINTENANCE,
        CheckCode.RUNNER_CAPACITY,
        CheckCode.LICENSE_CAPACITY,
        CheckCode.TARGET_IDLE,
        CheckCode.SCAN_WINDOW_CLOSED,
        CheckCode.RETRY_DELAY,
    }
)


@dataclass(frozen=True)
class Row:
    """`subject` and `why` may hold what others wrote. `address` is where the fix is, `action` the words of the link."""

    key: str
    tone: str
    word: str
    subject: str
    why: str
    fix: str
    address: str
    action: str


@dataclass(frozen=True)
class Seen:
    """What was read. Totals say how many there are beyond those that were read."""

    readiness: Readiness
    runners: Sequence[Runner] = ()
    runners_total: int = 0
    queue: Sequence[Scan] = ()
    queue_total: int = 0
    failed: Sequence[Scan] = ()
    findings: Sequence[Finding] = ()
    findings_total: int = 0
    schedules: Sequence[Schedule] = ()
    targets: Sequence[Target] = ()
    webhooks: Sequence[Webhook] = ()
    keys: Sequence[ApiKey] = ()
    names: dict[str, str] = field(default_factory=dict)


def rows(seen: Seen, now: datetime) -> list[Row]:
    """Worst first: what stops everything, flaws, scans that wait, runners, failures, and what will stop later."""
    return [
        *_of_license(seen.readiness.license, now),
        *_of_findings(seen),
        *_of_queue(seen),
        *_of_runners(seen),
        *_of_failures(seen, now),
        *_of_targets(seen),
        *_of_schedules(seen),
        *_of_webhooks(seen, now),
        *_of_keys(seen, now),
    ]


def verdict(readiness: Readiness) -> tuple[str, str]:
    """Whether scans can start now, in one sentence, and what to do where they cannot."""
    if not readiness.ready:
        blocker = next((check for check in readiness.checks if check.code == readiness.primary_blocker), None)
        return readiness.reason or "", (blocker.fix if blocker else None) or ""
    counts = readiness.runner_counts
    everyone = counts.online + counts.degraded + counts.offline
    degraded = f" ({counts.degraded} degraded)" if counts.degraded else ""
    free = next((check.observed for check in readiness.checks if check.code is CheckCode.RUNNER_CAPACITY), None)
    slots = "1 free slot" if free == 1 else f"{free} free slots"
    return f"{counts.online} of {everyone} runners online{degraded}, {slots}.", ""


def _of_license(held: License, now: datetime) -> Iterator[Row]:
    ends = held.expires_at
    if held.license_state not in (LicenseState.ACTIVE, LicenseState.NONE):
        fix = "Install a valid license: `apviso admin license install FILE` on the server's host."
        why = f"The {held.plan} license is {held.license_state}."
        yield Row("license", "bad", str(held.license_state), "License", why, fix, "/settings", "License")
    elif ends is not None and ends - now <= LICENSE_ENDS_WITHIN:
        why = f"The {held.plan} license ends in {age((ends - now).total_seconds())}."
        yield Row("license", "warn", "ends soon", "License", why, "Install the next one before it ends.", "/settings", "License")


def _of_findings(seen: Seen) -> Iterator[Row]:
    for finding in seen.findings[:MOST_ROWS]:
        where = seen.names.get(finding.target_id or "", finding.url)
        address = f"/findings/{finding.id}"
        yield Row(
            f"finding-{finding.id}", "bad", finding.severity, finding.title, f"New at {where}.", "Decide on it.", address, "Open finding"
        )
    if (more := seen.findings_total - len(seen.findings[:MOST_ROWS])) > 0:
        address = "/findings?severity=high&status=open"
        yield Row("findings-more", "bad", "new", f"{more} more", "New and critical or high.", "Decide on them.", address, "Open list")


def _of_queue(seen: Seen) -> Iterator[Row]:
    blocked: dict[CheckCode, list[Scan]] = defaultdict(list)
    for scan in seen.queue:
        if scan.waiting_for is not None and (code := scan.waiting_for.primary_blocker) is not None and code not in _PASSING:
            blocked[code].append(scan)
    unread = seen.queue_total - len(seen.queue)
    for code, scans in blocked.items():
        first, count = scans[0], len(scans) + (unread if len(blocked) == 1 else 0)
        waiting = first.waiting_for
        assert waiting is not None
        fix = next((check.fix for check in waiting.checks if check.code is code), None) or ""
        subject = seen.names.get(first.target_id, "A scan") if count == 1 else f"{count} scans"
        address, action = (f"/scans/{first.id}", "Open scan") if count == 1 else ("/scans?status=pending_runner", "Open queue")
        yield Row(f"queue-{code}", "bad", "blocked", subject, f"Cannot start: {waiting.reason}", fix, address, action)


def _of_runners(seen: Seen) -> Iterator[Row]:
    ranked = sorted(seen.runners, key=lambda runner: _rank(runner)[0])
    for runner in ranked[:MOST_ROWS]:
        _, tone, word, why, fix = _rank(runner)
        yield Row(f"runner-{runner.id}", tone, word, runner.name, why, fix, f"/runners/{runner.id}", "Open runner")
    if (more := seen.runners_total - len(ranked[:MOST_ROWS])) > 0:
        yield Row("runners-more", "bad", "more", f"{more} more runners", "Offline or degraded.", DOCTOR, "/runners", "Open runners")


def _rank(runner: Runner) -> tuple[int, str, str, str, str]:
    """Rank, tone, state, reason and fix."""
    code = runner.status_reasons[0] if runner.status_reasons else ""
    if runner.admin_state is AdminState.QUARANTINED:
        why = runner.admin_note or "It was put under quarantine and gets no scans."
        return 0, "bad", "quarantined", why, "Look at its host, then resume it."
    why, fix = REASONS.get(code, (words(code) or "no contact", DOCTOR))
    if runner.status is RunnerStatus.OFFLINE:
        return 1, "bad", "offline", f"{_sentence(why)}.", fix
    if code in BLOCKING_FAULTS:
        return 2, "bad", "degraded", f"{_sentence(why)}; it gets no scans.", fix
    return 3, "warn", "degraded", f"{_sentence(why)}.", fix


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of_failures(seen: Seen, now: datetime) -> Iterator[Row]:
    lately = [scan for scan in seen.failed if scan.finished_at is not None and now - scan.finished_at <= FAILURES_FOR]
    lately.sort(key=lambda scan: scan.finished_at or now, reverse=True)
    for scan in lately[:MOST_ROWS]:
        why = scan.status_reason or (scan.end_reason and ENDINGS.get(scan.end_reason)) or "It failed."
        target = seen.names.get(scan.target_id, "A scan")
        yield Row(
            f"scan-{scan.id}", "warn", "failed", target, why, "See what went wrong, then start it again.", f"/scans/{scan.id}", "Open scan"
        )
    if (more := len(lately) - MOST_ROWS) > 0:
        why = "Failed within a day."
        yield Row(
            "scans-more", "warn", "failed", f"{more} more scans", why, "See what they have in common.", "/scans?status=failed", "Open list"
        )


def _of_targets(seen: Seen) -> Iterator[Row]:
    for target in [one for one in seen.targets if one.verification_error and one.visibility in VISIBILITIES_NEEDING_PROOF][:MOST_ROWS]:
        lasts = "The proof of control is missing now" if target.verified else "Control is not proved"
        why = f"{lasts}: {target.verification_error}"
        yield Row(
            f"target-{target.id}",
            "warn",
            "no proof",
            target.domain,
            why,
            "Put the proof back.",
            f"/targets/{target.id}/proof",
            "See the proof",
        )


def _of_schedules(seen: Seen) -> Iterator[Row]:
    missed = (RunOutcome.SKIPPED, RunOutcome.FAILED)
    for schedule in [one for one in seen.schedules if one.last_run is not None and one.last_run.outcome in missed and one.enabled][
        :MOST_ROWS
    ]:
        run = schedule.last_run
        assert run is not None
        target = seen.names.get(schedule.target_id, "A schedule")
        fix, address = "See its runs and their reasons.", f"/schedules/{schedule.id}"
        yield Row(f"schedule-{schedule.id}", "warn", run.outcome, target, run.reason, fix, address, "Open schedule")


def _of_webhooks(seen: Seen, now: datetime) -> Iterator[Row]:
    for hook in [one for one in seen.webhooks if (one.failing_since if one.enabled else one.disabled_reason)][:MOST_ROWS]:
        fix, address = "Mend the receiver, then enable the webhook.", f"/webhooks/{hook.id}"
        if hook.failing_since is not None and hook.enabled:
            why = f"No delivery has succeeded for {age((now - hook.failing_since).total_seconds())}."
            yield Row(f"webhook-{hook.id}", "warn", "failing", hook.url, why, "Mend the receiver.", address, "Open webhook")
        else:
            yield Row(f"webhook-{hook.id}", "warn", "disabled", hook.url, hook.disabled_reason or "", fix, address, "Open webhook")


def _of_keys(seen: Seen, now: datetime) -> Iterator[Row]:
    ending = [key for key in seen.keys if key.expires_at is not None and now < key.expires_at <= now + KEY_ENDS_WITHIN]
    for key in ending[:MOST_ROWS]:
        assert key.expires_at is not None
        why = f"The API key ends in {age((key.expires_at - now).total_seconds())}."
        yield Row(f"key-{key.id}", "warn", "ends soon", key.name, why, "Issue another and hand it over.", "/settings/api-keys", "Open keys")
