"""Whether an ended scan is a pass for a build: a scan that could not look is none, whatever it found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apviso.protocol.findings import Finding, RetestResult
from apviso.protocol.scans import Scan
from apviso.protocol.states import RetestOutcome, ScanStatus, Severity, UserStatus

# A person has looked at these and decided that the build need not wait for them.
SETTLED = frozenset({UserStatus.ACCEPTED_RISK, UserStatus.FALSE_POSITIVE})
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True)
class Verdict:
    """Why it is no pass, one sentence each; what is only to be known goes into `notes`."""

    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        return not self.problems


def judge(
    scan: Scan, findings: Iterable[Finding], fail_on: Severity | None, retested: Iterable[RetestResult] = (), *, allow_partial: bool
) -> Verdict:
    """`findings` are those of the scan; without `fail_on` none of them matters. Of what a retest says, each has to be fixed."""
    problems: list[str] = []
    notes: list[str] = []
    if scan.status is not ScanStatus.COMPLETED:
        problems.append(f"the scan did not complete: it ended as {scan.status} ({scan.end_reason or 'no reason'})")
        if scan.status_reason:
            problems.append(scan.status_reason)
    elif (gaps := _gaps(scan)) is not None:
        (notes if allow_partial else problems).append(f"the scan is partial, it did not look at everything: {gaps}")
    if fail_on is not None:
        grave = [finding for finding in findings if _RANK[finding.severity] <= _RANK[fail_on]]
        open_ = [finding for finding in grave if finding.user_status not in SETTLED]
        problems += [f"{finding.severity}: {finding.title} ({finding.method} {finding.url})" for finding in open_]
        if len(open_) < len(grave):
            notes.append(f"{len(grave) - len(open_)} findings do not count: accepted risks and false positives")
    unfixed = [one for one in retested if one.outcome is not RetestOutcome.FIXED and one.user_status not in SETTLED]
    problems += [f"{one.outcome or 'not decided'}: {one.title}: {one.reason}" for one in unfixed]
    return Verdict(tuple(problems), tuple(notes))


def _gaps(scan: Scan) -> str | None:
    """What the scan did not look at; None where it looked at everything."""
    if scan.coverage is None:
        return "it reported no coverage"
    return None if scan.coverage.complete else "; ".join(scan.coverage.reasons) or "it does not say why"
