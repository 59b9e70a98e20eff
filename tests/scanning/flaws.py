"""Findings as a scan of this product makes them, and as the control plane hands them back for a retest."""

from __future__ import annotations

from datetime import UTC, datetime

from apviso.protocol.findings import Finding, ReportedFinding
from apviso.protocol.states import UserStatus
from apviso.protocol.wire import FindingId, ScanId
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.evidence import curl_command
from apviso.scanning.reporting import reported
from apviso.server.findings.fingerprint import fingerprint

NOW = datetime(2026, 5, 3, tzinfo=UTC)


def kept(id_: str, found: ReportedFinding) -> Finding:
    return Finding(
        **found.model_dump(),
        id=FindingId(id_),
        scan_id=ScanId("scan-0"),
        fingerprint=fingerprint(found),
        user_status=UserStatus.OPEN,
        first_seen_at=NOW,
        last_seen_at=NOW,
    )


def flaw_at(
    origin: str, flaw: FlawClass, path: str, parameter: str | None = None, *, detector: str = "wapiti", query: str = "", method: str = "GET"
) -> Finding:
    """One that a scan found; its id is its class. `query` is the one of the attack."""
    command = curl_command(method, f"{origin}{path}{f'?{query}' if query else ''}")
    return kept(
        flaw.value,
        reported(
            flaw, detector=detector, origin=origin, path=path, evidence="seen", reproduction=[command], parameter=parameter, method=method
        ),
    )
