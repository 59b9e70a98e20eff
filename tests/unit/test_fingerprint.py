"""Which findings are the same flaw."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.states import Severity
from apviso.server.findings.fingerprint import fingerprint, path_template


def flaw(**differences: Any) -> ReportedFinding:
    ordinary = {
        "title": "SQL injection",
        "severity": "high",
        "cwe_id": 89,
        "url": "http://h/items/7?q=1",
        "method": "GET",
        "parameter": "q",
    }
    return ReportedFinding.model_validate({**ordinary, **differences})


@pytest.mark.parametrize(
    "differences",
    [
        {"title": "Injection, SQL"},
        {"severity": "low"},
        {"url": "http://h/items/8?q=%27"},
        {"url": "https://other-name/items/7"},
        {"url": "http://h/items/01890a5d-ac96-774b-bcce-b302099a8057"},
        {"url": "http://h/items/7/"},
        {"method": "get"},
        {"evidence": "more", "detectors": ["x"], "cvss_score": 9.0},
    ],
)
def test_flaw_seen_in_another_way_is_the_same(differences: dict[str, Any]) -> None:
    assert fingerprint(flaw(**differences)) == fingerprint(flaw())


@pytest.mark.parametrize(
    "differences",
    [
        {"cwe_id": 79},
        {"cwe_id": None},
        {"parameter": "page"},
        {"parameter": None},
        {"method": "POST"},
        {"url": "http://h/search?q=1"},
        {"url": "http://h/items/seven"},
    ],
)
def test_flaw_of_another_class_or_place_is_another(differences: dict[str, Any]) -> None:
    assert fingerprint(flaw(**differences)) != fingerprint(flaw())


def test_flaws_without_parameter_differ_by_title_but_not_by_the_path_that_it_names() -> None:
    missing = [flaw(parameter=None, cwe_id=693, url=f"http://h/{path}", title=f"{header} missing at /{path}") for header, path in
               (("CSP", "a/1"), ("HSTS", "a/1"), ("CSP", "a/2"))]  # fmt: skip

    first, other_header, other_path = map(fingerprint, missing)

    assert first != other_header
    assert first == other_path


@pytest.mark.parametrize(
    ("url", "template"),
    [
        ("http://h/users/17/orders/4", "/users/{id}/orders/{id}"),
        ("http://h/files/0123456789abcdef0123", "/files/{id}"),
        ("http://h/v2/items", "/v2/items"),
        ("http://h", "/"),
        ("http://h/a/?x=/7", "/a"),
        ("", "/"),
        ("http://[broken/7?x=1", "http://[broken/{id}"),
    ],
)
def test_path_template_replaces_what_names_one_thing_among_many(url: str, template: str) -> None:
    assert path_template(url) == template


@given(
    title=st.text(min_size=1, max_size=50),
    url=st.text(max_size=80),
    parameter=st.none() | st.text(max_size=20),
    severity=st.sampled_from(Severity),
)
def test_fingerprint_of_anything_is_stable_and_64_hexadecimal_characters(
    title: str, url: str, parameter: str | None, severity: Severity
) -> None:
    finding = ReportedFinding.model_construct(title=title, severity=severity, url=url, parameter=parameter, cwe_id=None, method="GET")

    once, again = fingerprint(finding), fingerprint(finding)

    assert once == again
    assert set(once) <= set("0123456789abcdef")
    assert len(once) == 64
