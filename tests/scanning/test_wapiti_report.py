"""The reports are recordings of both dialects, made of the demo shop; long lists are cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apviso.demo.truth import compare
from apviso.protocol.states import Severity
from apviso.scanning.adapters.wapiti import MAX_FINDINGS, ReportUnreadable, parse
from tests.scanning.orders import limits_of, order_for

REPORTS = Path(__file__).parent / "reports"
DIALECTS = ("wapiti-3.2.3", "wapiti-3.3.2")
ORDER = order_for("http://127.0.0.1:8911/")


def recorded(dialect: str) -> bytes:
    return (REPORTS / f"{dialect}.json").read_bytes()


def report_of(kind: str, *entries: dict[str, Any]) -> bytes:
    plain = {"method": "GET", "path": "/page", "info": "told", "parameter": "q", "http_request": "GET /page?q=1 HTTP/1.1\nhost: x"}
    return json.dumps({"vulnerabilities": {kind: [plain | one for one in entries]}, "infos": {"crawled_pages_nbr": 3}}).encode()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parse_of_a_recorded_report_finds_all_planted_flaws_once(dialect: str) -> None:
    parsed = parse(recorded(dialect), ORDER)

    comparison = compare(parsed.findings)
    assert comparison.missed == ()
    assert comparison.false_alarms == ()
    assert parsed.pages == 21
    keys = [(finding.title, finding.url, finding.parameter) for finding in parsed.findings]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parse_of_an_injection_gives_a_whole_finding(dialect: str) -> None:
    parsed = parse(recorded(dialect), ORDER)

    found = next(finding for finding in parsed.findings if finding.url == "http://127.0.0.1:8911/book" and finding.cwe_id == 89)
    assert (found.severity, found.cvss_score, found.parameter, found.method) == (Severity.CRITICAL, 9.1, "id", "GET")
    assert found.cvss_vector == "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N"
    assert found.detectors == ["wapiti"]
    assert found.evidence.startswith("SQL Injection (DBMS: SQLite) via injection in the parameter id")
    assert "GET /book?id=" in found.evidence
    assert found.reproduction[0].startswith("curl --silent --show-error --include -- 'http://127.0.0.1:8911/book?id=")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parse_leaves_no_cookie_in_any_finding(dialect: str) -> None:
    parsed = parse(recorded(dialect), ORDER)

    told = "\n".join(finding.model_dump_json() for finding in parsed.findings)
    assert "cookie: [redacted]" in told
    assert "basket=" not in told


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parse_names_the_cookie_as_parameter(dialect: str) -> None:
    parsed = parse(recorded(dialect), ORDER)

    cookies = [finding.parameter for finding in parsed.findings if finding.cwe_id in (614, 1004)]
    assert cookies == ["basket", "basket"]


@pytest.mark.parametrize("absent", ["", None])
def test_parse_of_an_absent_parameter_is_none_in_both_dialects(absent: str | None) -> None:
    parsed = parse(report_of("Stack Trace Disclosure", {"parameter": absent}), ORDER)

    assert parsed.findings[0].parameter is None
    assert parsed.findings[0].title == "Stack trace in an answer at /page"


def test_parse_folds_payloads_of_one_parameter_and_pages_of_a_site_wide_flaw() -> None:
    payloads = parse(report_of("SQL Injection", {"info": "first"}, {"info": "second"}, {"path": "/other"}), ORDER)
    pages = parse(report_of("Clickjacking Protection", {"path": "/a", "parameter": None}, {"path": "/b", "parameter": None}), ORDER)

    assert [finding.url for finding in payloads.findings] == ["http://127.0.0.1:8911/page", "http://127.0.0.1:8911/other"]
    assert "Seen 2 times" in payloads.findings[0].evidence
    assert [finding.url for finding in pages.findings] == ["http://127.0.0.1:8911/"]


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("Clickjacking Protection", {"path": "/account/LOGOUT"}),
        ("Unencrypted Channels", {"method": "POST", "path": "/contact"}),
        ("Information Disclosure - Full Path", {"info": "path: /etc/passwd", "http_request": "GET /d?file=/etc/passwd HTTP/1.1"}),
        ("HTTP Methods", {"info": "Possible interesting methods (using heuristics) on http://x/: "}),
    ],
)
def test_parse_drops_what_is_about_the_guard_or_the_scanner_itself(kind: str, entry: dict[str, Any]) -> None:
    assert parse(report_of(kind, entry), ORDER).findings == []


def test_parse_keeps_a_form_without_token_though_it_was_never_sent() -> None:
    parsed = parse(report_of("Cross Site Request Forgery", {"method": "POST", "parameter": None}), ORDER)

    assert [(finding.method, finding.cwe_id) for finding in parsed.findings] == [("POST", 352)]


def test_parse_keeps_findings_by_post_where_the_target_permits_it() -> None:
    order = order_for("http://127.0.0.1:8911/", limits=limits_of(methods=["GET", "POST"]))
    request = "POST /page HTTP/1.1\nhost: x\nCookie: a=b\n\nq=%27&z=1"

    parsed = parse(report_of("SQL Injection", {"method": "POST", "http_request": request}), order)

    expected = "curl --silent --show-error --include --request POST --data-raw 'q=%27&z=1' -- http://127.0.0.1:8911/page"
    assert parsed.findings[0].reproduction == [expected]


def test_parse_of_a_class_it_does_not_know_is_told_as_an_observation() -> None:
    parsed = parse(report_of("Something New", {}), ORDER)

    assert (parsed.findings[0].title, parsed.findings[0].severity, parsed.findings[0].cwe_id) == ("Something New in q", Severity.INFO, None)


def test_parse_of_hostile_text_stays_within_bounds_and_free_of_control_characters() -> None:
    huge = "x" * 100_000
    hostile = {"info": "\x00\x1b[31m" + huge, "path": "/" + huge, "parameter": huge, "http_request": huge, "method": huge}

    order = order_for("http://127.0.0.1:8911/", limits=limits_of(methods=["GET", huge]))
    found = parse(report_of("SQL Injection", hostile), order).findings[0]

    assert "\x00" not in found.evidence
    assert "\x1b" not in found.evidence
    assert len(found.model_dump_json()) < 20_000


def test_parse_of_more_findings_than_a_scan_may_keep_counts_the_rest() -> None:
    entries = [{"path": f"/{n}"} for n in range(MAX_FINDINGS + 5)]

    parsed = parse(report_of("SQL Injection", *entries), ORDER)

    assert (len(parsed.findings), parsed.dropped) == (MAX_FINDINGS, 5)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"not json", b'{"infos": {"crawled_pages_nbr": "many"}}'])
def test_parse_of_something_else_is_unreadable(text: bytes) -> None:
    with pytest.raises(ReportUnreadable):
        parse(text, ORDER)


def test_parse_of_control_characters_leaves_none_in_title_parameter_and_address() -> None:
    hostile = {"parameter": "q\x00\x1b[31m\r\nnext", "path": "/a\x1b]0;x\x07"}

    found = parse(report_of("SQL Injection", hostile), ORDER).findings[0]

    assert found.parameter == "q\ufffd\ufffd[31m next"
    assert found.title.isprintable()
    assert found.url.isprintable()


def test_parse_of_an_entry_that_cannot_be_read_keeps_the_others_and_counts_it() -> None:
    bad: list[dict[str, Any]] = [{"info": 5}, {"path": ["/"]}]

    parsed = parse(report_of("SQL Injection", {"path": "/a"}, *bad, {"path": "/b"}), ORDER)

    assert [finding.url for finding in parsed.findings] == ["http://127.0.0.1:8911/a", "http://127.0.0.1:8911/b"]
    assert parsed.unread == 2


@pytest.mark.parametrize("field", ["info", "path", "method", "http_request"])
def test_parse_of_an_entry_with_a_null_keeps_its_finding(field: str) -> None:
    parsed = parse(report_of("SQL Injection", {field: None}), ORDER)

    assert (len(parsed.findings), parsed.unread) == (1, 0)


@pytest.mark.parametrize("path", ["@evil.example/x", "1/x", ".evil.example/x", ""])
def test_parse_of_a_path_without_its_slash_stays_on_the_target(path: str) -> None:
    [found] = parse(report_of("SQL Injection", {"path": path, "http_request": ""}), ORDER).findings

    assert found.url == f"http://127.0.0.1:8911/{path}"
    assert found.url in found.reproduction[0]
