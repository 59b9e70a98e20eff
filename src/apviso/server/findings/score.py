"""Works out the score that a finding's CVSS vector stands for, so that every finding with a vector has one. Pure."""

from __future__ import annotations

from cvss import CVSS3, CVSS4, CVSSError

from apviso.protocol.findings import ReportedFinding


def scored(found: ReportedFinding) -> ReportedFinding:
    """The finding with its base score. One that came with a score keeps it; a vector that cannot be read gives none."""
    if found.cvss_score is not None or found.cvss_vector is None:
        return found
    kind = CVSS4 if found.cvss_vector.startswith("CVSS:4.") else CVSS3
    try:
        return found.model_copy(update={"cvss_score": float(kind(found.cvss_vector).base_score)})
    except CVSSError:
        return found
