"""What a scan says, on its way out of the runner: no secret in any field, and none in the phase that `status` shows."""

from __future__ import annotations

import json

import pytest

from apviso.protocol.findings import MAX_RETESTED
from apviso.protocol.scan_events import Found, Gap, Happening, Log, Missing, MissingCause, Phase, Stats
from apviso.runner.engines import Line, Spoken, Swallowed
from apviso.runner.output import ScanOutput
from apviso.runner.ration import MOST_FINDINGS, MOST_LINES
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


def output(lines: list[Line]) -> tuple[ScanOutput, list[Happening]]:
    kept: list[Happening] = []
    made = ScanOutput(Redactor([CANARY]), kept.append, lambda name: None)
    for line in lines:
        made.take(line)
    made.end()
    return made, kept


def finding_line(title: str, **fields: object) -> Line:
    return Spoken(json.dumps({"type": "finding", "finding": {"title": title, "severity": "low", **fields}}).encode())


def test_finding_with_control_characters_shows_them_as_escapes_in_its_short_fields() -> None:
    evil = "\x1b[31mred\n"

    _, [found] = output([finding_line(evil, parameter=evil, url=evil, method=evil, evidence=evil)])

    assert isinstance(found, Found)
    shown = found.finding
    assert (shown.title, shown.parameter, shown.url, shown.method) == (("\\x1b[31mred\\n"),) * 4
    assert shown.evidence == evil


def test_findings_beyond_the_share_are_left_out_and_told_as_a_loss() -> None:
    made, kept = output([finding_line(f"Flaw {number}") for number in range(MOST_FINDINGS + 5)])

    assert len(kept) == MOST_FINDINGS
    assert made.losses == ["output_lost: 5 findings were left out; of one scan no more than the first 2000 are kept."]


def test_log_lines_beyond_the_share_are_left_out_with_a_word_and_no_loss() -> None:
    made, kept = output([Spoken(b'{"type":"log","message":"hello"}')] * (MOST_LINES + 5))

    assert len(kept) == MOST_LINES + 1
    missing = Missing(count=5, cause=MissingCause.TOO_MUCH_OUTPUT)
    assert kept[-1] == Gap(message="5 log lines are left out: the scan wrote more than is kept", missing=missing)
    assert made.losses == []


def test_log_line_of_a_scan_that_claims_to_be_a_gap_is_a_line_like_any_other() -> None:
    kept, _ = said({"type": "log", "message": "hello", "missing": {"count": 9, "cause": "spool_full"}})

    assert kept == [Log(message="hello")]


@pytest.mark.parametrize(
    ("line", "is_loss"),
    [(Swallowed(70_000), True), (Spoken(b'{"type":"finding"'), True), (Spoken(b"Starting up"), False), (Spoken(b"\xff\xfe"), False)],
)
def test_line_that_cannot_be_read_is_a_loss_where_it_was_meant_as_an_event(line: Line, is_loss: bool) -> None:
    made, kept = output([line])

    assert len(kept) == 1
    assert bool(made.losses) == is_loss


def test_standard_error_is_told_at_the_end_without_secrets_and_shows_a_full_disk() -> None:
    made, kept = output([Spoken(f"OSError: [Errno 28] No space left on device {CANARY}".encode(), error=True)])

    assert made.ran_out_of_room
    assert kept == [Log(level="warning", message=f"stderr: OSError: [Errno 28] No space left on device {PLACEHOLDER}")]


def test_looks_of_a_retest_are_kept_apart_without_secrets_and_are_no_events() -> None:
    lines = [{"type": "look", "findingId": id_, "complete": id_ == "b", "reason": f"It said {CANARY}."} for id_ in ("a", "b")]

    made, kept = output([Spoken(json.dumps(line).encode()) for line in lines])

    assert [(id_, look.complete) for id_, look in made.looks.items()] == [("a", False), ("b", True)]
    assert CANARY not in made.looks["a"].reason
    assert kept == []


def test_looks_beyond_what_a_retest_may_be_about_are_told_as_a_loss() -> None:
    lines = [json.dumps({"type": "look", "findingId": str(number), "complete": True}) for number in range(MAX_RETESTED + 1)]

    made, _ = output([Spoken(line.encode()) for line in lines])

    assert (len(made.looks), len(made.losses)) == (MAX_RETESTED, 1)
