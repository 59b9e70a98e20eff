from __future__ import annotations

from apviso.protocol.findings import ReportedFinding
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.collected import Collected
from apviso.scanning.reporting import reported


def found(flaw: FlawClass, detector: str, path: str = "/book", parameter: str | None = "id", method: str = "GET") -> ReportedFinding:
    return reported(
        flaw,
        detector=detector,
        origin="http://127.0.0.1:1",
        path=path,
        evidence=f"{detector} saw it",
        reproduction=[f"curl {detector}"],
        method=method,
        parameter=parameter,
    )


def test_flaw_that_two_scanners_see_is_one_finding_with_both() -> None:
    collected = Collected()
    first = collected.add(found(FlawClass.SQL_INJECTION, "wapiti"))

    grown = collected.add(found(FlawClass.SQL_INJECTION, "sqlmap"))

    assert first is not None
    assert grown is not None
    assert grown.detectors == ["wapiti", "sqlmap"]
    assert grown.evidence == "wapiti saw it\n\nAlso seen by sqlmap:\nsqlmap saw it"
    assert grown.reproduction == ["curl wapiti", "curl sqlmap"]
    assert (grown.title, grown.url) == (first.title, first.url)


def test_flaw_that_one_scanner_repeats_is_said_once() -> None:
    collected = Collected()
    collected.add(found(FlawClass.SQL_INJECTION, "sqlmap"))

    assert collected.add(found(FlawClass.SQL_INJECTION, "sqlmap")) is None


def test_flaws_at_other_places_or_of_other_kinds_stay_apart() -> None:
    collected = Collected()
    sights = [
        found(FlawClass.SQL_INJECTION, "wapiti"),
        found(FlawClass.SQL_INJECTION, "sqlmap", parameter="name"),
        found(FlawClass.SQL_INJECTION, "sqlmap", path="/author"),
        found(FlawClass.SQL_INJECTION, "sqlmap", method="POST"),
        found(FlawClass.REFLECTED_XSS, "wapiti"),
        found(FlawClass.STORED_XSS, "wapiti"),
        found(FlawClass.WEAK_CSP, "wapiti", parameter=None),
        found(FlawClass.MIME_SNIFFING, "wapiti", parameter=None),
    ]

    assert [collected.add(sight) for sight in sights] == sights


def test_server_error_joins_the_injection_that_explains_it_whichever_came_first() -> None:
    collected = Collected()
    held = collected.add(found(FlawClass.SERVER_ERROR, "schemathesis"))
    unnamed = collected.add(found(FlawClass.SERVER_ERROR, "wapiti", parameter=None))
    collected.add(found(FlawClass.SQL_INJECTION, "sqlmap"))

    (grown,) = collected.rest()

    assert (held, unnamed) == (None, None)
    assert (grown.cwe_id, grown.detectors) == (89, ["sqlmap", "schemathesis", "wapiti"])


def test_server_error_that_nothing_explains_is_told_at_the_end() -> None:
    collected = Collected()
    errors = [found(FlawClass.SERVER_ERROR, "schemathesis", parameter="copies"), found(FlawClass.SERVER_ERROR, "wapiti", path="/search")]
    for error in errors:
        collected.add(error)
    collected.add(found(FlawClass.SQL_INJECTION, "sqlmap"))
    collected.add(found(FlawClass.REFLECTED_XSS, "wapiti", path="/search"))

    assert collected.rest() == errors
    assert collected.rest() == []
