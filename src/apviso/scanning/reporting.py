"""Makes a finding of a class of flaw and what was seen of it, in the same words whichever scanner saw it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from apviso.protocol.findings import ReportedFinding
from apviso.scanning.catalogue import CVSS_NOTE, FlawClass, entry, rate
from apviso.scanning.evidence import one_line


def reported(
    flaw: FlawClass,
    *,
    detector: str,
    origin: str,
    path: str,
    evidence: str,
    reproduction: Sequence[str] = (),
    method: str = "GET",
    parameter: str | None = None,
    title: str | None = None,
) -> ReportedFinding:
    """`path` is without a query and without a payload, or a template of the API's document: a flaw looks the same in the next scan."""
    kind = entry(flaw)
    score, severity = rate(kind.cvss_vector)
    where = f"in {parameter}" if parameter else "" if kind.site_wide else f"at {path}"
    return ReportedFinding(
        title=one_line(f"{title or kind.title} {where}".strip(), 300),
        severity=severity,
        cvss_score=score,
        cvss_vector=kind.cvss_vector,
        cwe_id=kind.cwe_id,
        description=f"{kind.description} {CVSS_NOTE}" if kind.cvss_vector else kind.description,
        evidence=evidence,
        reproduction=list(reproduction),
        remediation=kind.remediation,
        url=one_line(origin + ("/" if kind.site_wide else path), 3_900),
        method=one_line(method, 32),
        parameter=parameter,
        detectors=[detector],
    )
