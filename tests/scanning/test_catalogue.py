from __future__ import annotations

import pytest

from apviso.protocol.states import Severity
from apviso.scanning.adapters.wapiti import CLASSES
from apviso.scanning.catalogue import FlawClass, entry, rate


@pytest.mark.parametrize("flaw", list(FlawClass))
def test_entry_of_each_class_has_its_own_words_and_a_valid_vector(flaw: FlawClass) -> None:
    kind = entry(flaw)

    score, severity = rate(kind.cvss_vector)

    assert len(kind.title) > 5
    assert len(kind.description) > 30
    assert len(kind.remediation) > 20
    assert (score is None) == (severity is Severity.INFO)
    assert (kind.cwe_id is None) == (flaw in (FlawClass.OTHER, FlawClass.PRIVATE_AUTHORITY))


@pytest.mark.parametrize(
    ("flaw", "cwe_id", "score", "severity"),
    [
        (FlawClass.SQL_INJECTION, 89, 9.1, Severity.CRITICAL),
        (FlawClass.COMMAND_EXECUTION, 78, 9.8, Severity.CRITICAL),
        (FlawClass.PATH_TRAVERSAL, 22, 7.5, Severity.HIGH),
        (FlawClass.REFLECTED_XSS, 79, 6.1, Severity.MEDIUM),
        (FlawClass.STORED_XSS, 79, 5.4, Severity.MEDIUM),
        (FlawClass.OPEN_REDIRECT, 601, 4.3, Severity.MEDIUM),
        (FlawClass.WEAK_CSP, 693, 3.1, Severity.LOW),
        (FlawClass.SERVER_ERROR, 755, None, Severity.INFO),
    ],
)
def test_rate_follows_from_the_vector(flaw: FlawClass, cwe_id: int, score: float | None, severity: Severity) -> None:
    kind = entry(flaw)

    assert kind.cwe_id == cwe_id
    assert rate(kind.cvss_vector) == (score, severity)


def test_classes_of_the_scanner_all_lead_into_the_catalogue() -> None:
    assert {entry(flaw).title for flaw in CLASSES.values()}
    assert FlawClass.OTHER not in CLASSES.values()
