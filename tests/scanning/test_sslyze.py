from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from apviso.protocol.states import ModelPreset
from apviso.scanning.adapters.sslyze import command, parse
from apviso.scanning.adapters.tool import ToolFailed
from tests.scanning.assignments import assignment_for, values_of
from tests.scanning.orders import order_for

REPORTS = Path(__file__).parent / "reports"
ORIGIN = "https://127.0.0.1:8911"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def report(kind: str) -> bytes:
    return (REPORTS / f"sslyze-6.3.1-{kind}.json").read_bytes()


def changed(**leaf: Any) -> bytes:
    """The hardened report with another certificate."""
    told = json.loads(report("hardened"))
    deployment = told["server_scan_results"][0]["scan_result"]["certificate_info"]["result"]["certificate_deployments"][0]
    deployment["received_certificate_chain"][0].update(leaf)
    return json.dumps(told).encode()


def test_report_of_a_careless_server_gives_versions_suites_and_certificate() -> None:
    result = parse(report("careless"), ORIGIN, NOW)

    found = {finding.cwe_id: finding for finding in result.findings}
    assert set(found) == {326, 327, 295}
    assert "TLS 1.0, TLS 1.1" in found[326].evidence
    assert "TLS_RSA_WITH_NULL_SHA" in found[327].evidence
    assert "has expired" in found[295].evidence
    assert "1024 bits" in found[295].evidence
    assert {(finding.url, finding.parameter, tuple(finding.detectors)) for finding in result.findings} == {
        (f"{ORIGIN}/", None, ("sslyze",))
    }
    assert result.gaps == []


def test_report_of_a_hardened_server_gives_its_own_signature_alone() -> None:
    result = parse(report("hardened"), ORIGIN, NOW)

    assert [finding.cwe_id for finding in result.findings] == [295]
    assert "signed by itself" in result.findings[0].evidence
    assert "expired" not in result.findings[0].evidence


ISSUED = {"issuer": {"rfc4514_string": "CN=Company CA"}}


@pytest.mark.parametrize(
    ("leaf", "cwe", "told"),
    [
        (ISSUED, None, "CN=Company CA"),
        (ISSUED | {"subject_alternative_name": {"dns_names": ["other.example"], "ip_addresses": []}}, 295, "another name"),
        (ISSUED | {"not_valid_before": "2027-01-01T00:00:00Z"}, 295, "not valid yet"),
        (ISSUED | {"signature_hash_algorithm": {"name": "sha1"}}, 295, "signed with sha1"),
    ],
)
def test_certificate_is_judged_by_what_it_says(leaf: dict[str, Any], cwe: int | None, told: str) -> None:
    (finding,) = parse(changed(**leaf), ORIGIN, NOW).findings

    assert finding.cwe_id == cwe
    assert told in finding.evidence


@pytest.mark.parametrize(
    ("names", "matches"), [(["app.example"], True), (["*.example"], True), (["*.app.example"], False), (["example"], False)]
)
def test_name_of_a_certificate_matches_by_whole_labels(names: list[str], matches: bool) -> None:
    text = changed(**ISSUED, subject_alternative_name={"dns_names": names, "ip_addresses": []})

    (finding,) = parse(text, "https://app.example", NOW).findings

    assert ("another name" not in finding.evidence) == matches


def test_check_that_failed_is_a_gap() -> None:
    told = json.loads(report("hardened"))
    told["server_scan_results"][0]["scan_result"]["robot"] = {"status": "ERROR", "error_reason": "CONNECTIVITY_ISSUE", "result": None}

    assert parse(json.dumps(told).encode(), ORIGIN, NOW).gaps == ["tls_unchecked: SSLyze could not check robot."]


CONNECTED = [
    json.dumps({"server_scan_results": [{"connectivity_status": "COMPLETED", "scan_result": checks}]}).encode()
    for checks in (None, {}, {"robot": 7}, {"robot": {"status": "COMPLETED", "result": 7}}, {"robot": {"status": "NOT_SCHEDULED"}})
]


@pytest.mark.parametrize(
    "text", [report("no-tls"), b"", b"{}", b"[]", b'{"server_scan_results": []}', b'{"server_scan_results": [7]}', *CONNECTED]
)
def test_report_without_a_connection_or_a_form_is_a_failure(text: bytes) -> None:
    with pytest.raises(ToolFailed):
        parse(text, ORIGIN, NOW)


def test_command_connects_by_the_guard_alone_and_fetches_nothing() -> None:
    order = order_for("https://app.internal:8443/x", preset=ModelPreset.LOW, proxy_url="http://127.0.0.1:4711")

    line = command(assignment_for(order), "sslyze.json")

    assert values_of("--https_tunnel", line) == ["http://handshake:only@127.0.0.1:4711"]
    assert line[-1] == "app.internal:8443"
    assert "--update_trust_stores" not in line
    assert {"--robot", "--tlsv1_3"} <= set(line)


def test_command_of_the_smallest_preset_tries_no_suite_of_today() -> None:
    line = command(assignment_for(order_for("https://[::1]/", preset=ModelPreset.FREE)), "sslyze.json")

    assert not {"--tlsv1_2", "--tlsv1_3", "--robot"} & set(line)
    assert line[-1] == "[::1]:443"
