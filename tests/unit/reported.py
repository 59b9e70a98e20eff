"""Reports as their writers get them, ordinary in every respect that a test does not name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from apviso.protocol.findings import Finding
from apviso.protocol.reports import ReportDocument
from apviso.protocol.scan_events import Coverage
from apviso.protocol.scans import Scan
from apviso.protocol.states import ModelPreset, RetestOutcome, ScanStatus, Severity, Visibility
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import ScanId
from apviso.server.reports.comparison import Previous
from apviso.server.reports.document import build
from apviso.server.reports.retested import Ended
from tests.unit.known import NOW

TARGET = JobTarget.model_validate(
    {
        "id": "target-1", "domain": "shop.example.com", "display_url": "https://shop.example.com/", "scan_url": "https://shop.example.com/",
        "visibility": Visibility.PRIVATE_INTERNAL,
    }
)  # fmt: skip
_ENDS = {
    "complete": (ScanStatus.COMPLETED, "completed", Coverage(complete=True)),
    "partial": (ScanStatus.COMPLETED, "completed", Coverage(complete=False, reasons=["budget_spent: The budget was used up."])),
    "failed": (ScanStatus.FAILED, "target_unreachable", Coverage(complete=False, reasons=["target_unreachable: No answer."])),
    "cancelled": (ScanStatus.CANCELLED, "canceled_by_user", None),
    "preflight_failed": (ScanStatus.PREFLIGHT_FAILED, "preflight_failed", None),
}


def scan(verdict: str = "complete", findings: Sequence[Finding] = (), **values: Any) -> Scan:
    """A scan that ended so."""
    status, reason, coverage = _ENDS[verdict]
    counts = {severity: sum(one.severity is severity for one in findings) for severity in Severity}
    told: dict[str, Any] = {
        "id": "scan-1", "target_id": "target-1", "status": status, "status_reason": None, "end_reason": reason, "runner_id": "runner-1",
        "attempt": 1, "target_visibility": Visibility.PRIVATE_INTERNAL, "scan_image_digest": None, "model_preset": ModelPreset.LOW,
        "is_retest": False, "parent_scan_id": None, "progress": {"requests": 612}, "coverage": coverage, "finding_counts": counts,
        "waiting_for": None, "created_at": NOW, "started_at": NOW, "finished_at": NOW + timedelta(minutes=2),
    }  # fmt: skip
    return Scan.model_validate(told | values)


def finding(name: str = "a", text: str = "harmless", **values: Any) -> Finding:
    """A finding known as `name`, with `text` wherever a scanned site's words may be."""
    told: dict[str, Any] = {
        "id": name, "scan_id": "scan-1", "fingerprint": f"f-{name}", "title": text, "severity": "high", "cvss_score": 9.8,
        "cvss_vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "cwe_id": 89, "description": text, "evidence": text,
        "reproduction": [text, "second step"], "remediation": text, "url": f"https://shop.example.com/{text}", "method": "GET",
        "parameter": text, "detectors": [text], "user_status": "open", "first_seen_at": NOW, "last_seen_at": NOW,
    }  # fmt: skip
    return Finding.model_validate(told | values)


def previous(*findings: Finding, **values: Any) -> Previous:
    told: dict[str, Any] = {"finished_at": NOW - timedelta(days=1), "preset": ModelPreset.LOW, "is_complete": True}
    return Previous(ScanId("scan-0"), findings=findings, **told | values)


def document(
    verdict: str = "complete",
    *,
    text: str = "harmless",
    findings: Sequence[Finding] | None = None,
    before: Previous | None = None,
    remarks: Sequence[str] = (),
    retested: Sequence[Ended] | None = None,
) -> ReportDocument:
    """A report of one finding of each kind of text, compared with a scan before that saw another; with `retested` that of a retest."""
    found = [finding(text=text)] if findings is None else findings
    said = {"status_reason": text} if verdict not in ("complete", "partial") else {}
    ended = scan(verdict, found, is_retest=retested is not None, **said)
    earlier = before or previous(finding("gone", text))
    return build(ended, TARGET, found, earlier, NOW + timedelta(minutes=2), "APVISO Runners 0.1.0", remarks, retested)


def retest(text: str = "harmless") -> list[Ended]:
    """One finding for each way in which a retest can end it, with `text` in its reason."""
    return [(finding(outcome, text), outcome, f"{outcome}, because {text}") for outcome in RetestOutcome]
