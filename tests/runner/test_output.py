"""What a scan says, on its way out of the runner: no secret in any field, and none in the phase that `status` shows."""

from __future__ import annotations

import json

import pytest

from apviso.protocol.scan_events import Found, Happening, Phase, Stats
from apviso.runner.engines import Spoken
from apviso.runner.output import ScanOutput
from apviso.runner.redaction import PLACEHOLDER, Redactor

CANARY = "canary-secret-value"


def said(line: dict[str, object]) -> tuple[list[Happening], list[str]]:
    """What is kept of a line, and the phases that were told."""
    kept: list[Happening] = []
    phases: list[str] = []
    ScanOutput(Redactor([CANARY]), kept.append, phases.append).take(Spoken(json.dumps(line).encode()))
    return kept, phases


def test_phase_with_a_secret_in_its_name_is_told_without_it() -> None:
    kept, phases = said({"type": "phase", "name": f"login {CANARY}"})

    assert kept == [Phase(name=f"login {PLACEHOLDER}")]
    assert phases == [f"login {PLACEHOLDER}"]


def test_refusals_with_a_secret_under_the_name_of_a_protocol_field_are_kept_without_it() -> None:
    kept, _ = said({"type": "stats", "refusals": {"status": CANARY, "level": CANARY}})

    assert kept == [Stats(refusals={"status": PLACEHOLDER, "level": PLACEHOLDER})]


VECTORS = (
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N",
    "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:N/SC:N/SI:N/SA:N/U:Amber",
    "AV:N/AC:L/Au:N/C:P/I:P/A:P/E:POC",
)


@pytest.mark.parametrize(
    ("vector", "kept_as"),
    [(CANARY, None), (f"CVSS:3.1/AV:N/{CANARY}", None), ("x" * 600, None), *zip(VECTORS, VECTORS, strict=True)],
)
def test_finding_keeps_only_a_vector_that_is_one(vector: str, kept_as: str | None) -> None:
    kept, _ = said({"type": "finding", "finding": {"title": "A flaw", "severity": "high", "cvssVector": vector}})

    [found] = kept
    assert isinstance(found, Found)
    assert found.finding.cvss_vector == kept_as
