"""Brings a retest to its end: one outcome for each of its findings, the statuses that follow, and their trail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from apviso.protocol.daemon import Finish
from apviso.protocol.findings import Finding
from apviso.protocol.states import HistoryCause, RetestOutcome, ScanStatus, UserStatus
from apviso.protocol.wire import FindingId
from apviso.server.audit import store as audit
from apviso.server.db import findings, retests, triage
from apviso.server.db.engine import Work
from apviso.server.db.retests import Verdict
from apviso.server.scans.facts import ScanFacts
from apviso.server.scans.lifecycle import Outcome
from apviso.server.scans.retest import Retested, outcome_of, status_after
from apviso.server.stream import store as stream


async def list_findings(work: Work, scan: ScanFacts) -> list[Finding]:
    """The findings that a retest is about."""
    return await findings.list_to_retest(work, scan.target_id, scan.finding_ids, scan.parent_scan_id) if scan.is_retest else []


async def decide(work: Work, scan: ScanFacts, outcome: Outcome, told: dict[str, Any] | None) -> dict[FindingId, Verdict]:
    """The outcome of each finding; `told` is the runner's finish, if it sent one."""
    if not scan.is_retest:
        return {}
    finish = None if told is None else Finish.model_validate(told)
    ended = Retested(outcome.status is ScanStatus.COMPLETED, finish is not None and finish.coverage.complete)
    looks = {} if finish is None else {look.finding_id: look for look in finish.looks}
    seen, seen_before = await retests.list_seen(work, scan.id, scan.attempt)
    return {
        one.id: outcome_of(ended, looks.get(one.id), was_seen=one.id in seen, was_seen_before=one.id in seen_before)
        for one in await list_findings(work, scan)
    }


def coverage_of(coverage: dict[str, Any] | None, verdicts: Mapping[FindingId, Verdict]) -> dict[str, Any] | None:
    """A retest that could not check everything has not covered everything."""
    unchecked = sum(outcome is RetestOutcome.COULD_NOT_CHECK for outcome, _ in verdicts.values())
    if coverage is None or not unchecked:
        return coverage
    reason = f"retest_unchecked: {unchecked} of {len(verdicts)} findings could not be checked; the results of the retest say why."
    return {**coverage, "complete": False, "reasons": [reason, *coverage["reasons"]][:50]}


async def keep(work: Work, scan: ScanFacts, verdicts: Mapping[FindingId, Verdict]) -> None:
    """Write the outcomes down, move the statuses, and tell."""
    if not verdicts:
        return
    await retests.keep(work, scan.id, verdicts)
    before = {one.id: one.user_status for one in await list_findings(work, scan)}
    after = {id_: status_after(outcome, before[id_]) for id_, (outcome, _) in verdicts.items()}
    for status in (UserStatus.FIXED, UserStatus.OPEN):
        if moved := [id_ for id_ in verdicts if after[id_] is status and before[id_] is not status]:
            await triage.set_status(work, scan.organization_id, moved, status)
    await triage.write_history(
        work,
        [
            triage.Change(id_, before[id_], after[id_], HistoryCause.RETEST, audit.SYSTEM, f"{outcome}: {reason}", scan_id=scan.id)
            for id_, (outcome, reason) in verdicts.items()
        ],
    )
    await _tell(work, scan, before, after)
    counted = Counter(outcome for outcome, _ in verdicts.values())
    numbers = {"fixed": counted[RetestOutcome.FIXED], "stillOpen": counted[RetestOutcome.STILL_OPEN]}
    numbers["couldNotCheck"] = counted[RetestOutcome.COULD_NOT_CHECK]
    stream.publish(work, scan.organization_id, "scan.retested", scanId=scan.id, targetId=scan.target_id, **numbers)


async def _tell(work: Work, scan: ScanFacts, before: Mapping[FindingId, UserStatus], after: Mapping[FindingId, UserStatus]) -> None:
    changed = [id_ for id_ in after if after[id_] is not before[id_]]
    cause = {"cause": HistoryCause.RETEST, "scanId": scan.id}
    entries = [
        audit.Entry(audit.SYSTEM, ("finding", id_), None, {"from": before[id_], "to": after[id_], "note": None, **cause}) for id_ in changed
    ]
    if entries:
        await audit.record_all(work, scan.organization_id, "finding.status_changed", entries)
    for id_ in changed:
        stream.publish(work, scan.organization_id, "finding.status_changed", findingId=id_, userStatus=after[id_], **cause)
