"""Every format of the report of a recorded scan, as it was looked at and kept; SARIF also against the standard's own schema."""

from __future__ import annotations

import json
import re

import jsonschema_rs
import pytest

from apviso.server.reports import as_sarif
from apviso.server.reports.formats import Format
from tests.server.reports.recorded import HERE, kept, written
from tests.unit.reported import document, finding, retest
from tests.unit.test_report_texts import HOSTILE


def _schema() -> jsonschema_rs.Validator:
    schema = json.loads((HERE / "schema/sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
    # The pattern of a language is no regular expression in the schema's own dialect, so the validator refuses it; reports name no language.
    for part in ("run", "toolComponent"):
        del schema["definitions"][part]["properties"]["language"]["pattern"]
    return jsonschema_rs.validator_for(schema, validate_formats=True)


SCHEMA = _schema()


@pytest.mark.parametrize("format_", Format, ids=str)
def test_report_of_the_recorded_scan_is_as_it_was_kept(format_: Format) -> None:
    assert written(format_) == kept(format_).read_bytes().decode(), "look at it, then run `python -m tests.server.reports.recorded`"


def test_sarif_of_the_recorded_scan_is_valid_by_the_schema_of_the_standard() -> None:
    report = json.loads(kept(Format.SARIF).read_text(encoding="utf-8"))

    SCHEMA.validate(report)

    assert len(report["runs"][0]["results"]) > 5


@pytest.mark.parametrize("verdict", ["complete", "partial", "failed", "cancelled", "preflight_failed"])
@pytest.mark.parametrize("text", ["harmless", HOSTILE, ""])
def test_sarif_of_any_scan_is_valid_by_the_schema_of_the_standard(verdict: str, text: str) -> None:
    found = [finding("a", text), finding("b", text, cwe_id=None, cvss_score=None, cvss_vector=None, parameter=None, url="")]
    found += [finding("c", text, user_status="accepted_risk"), finding("d", text, evidence="", description="", remediation="")]

    for retested in (None, retest(text)):
        SCHEMA.validate(json.loads(as_sarif.render(document(verdict, text=text, findings=found, retested=retested))))


def test_schema_of_the_standard_refuses_what_is_no_sarif() -> None:
    report = json.loads(as_sarif.render(document()))
    report["runs"][0]["results"][0]["level"] = "grave"

    assert not SCHEMA.is_valid(report)


def test_sarif_names_each_finding_of_the_recorded_scan_once() -> None:
    results = json.loads(kept(Format.SARIF).read_text(encoding="utf-8"))["runs"][0]["results"]

    prints = [result["partialFingerprints"]["apvisoFinding/v1"] for result in results]
    assert len(prints) == len(set(prints))
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in prints)
