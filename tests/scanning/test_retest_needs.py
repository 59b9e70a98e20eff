from __future__ import annotations

import pytest

from apviso.protocol.findings import Finding, ReportedFinding
from apviso.scanning.adapters.wapiti import CLASSES
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.first_look import Look, Sight
from apviso.scanning.retest_needs import Need, Reach, class_of, invented_address, known_addresses, needs_of, same_address
from apviso.scanning.retesting import Retest, distrust, problem_of
from tests.scanning.flaws import flaw_at
from tests.scanning.orders import order_for

ORIGIN = "http://127.0.0.1:8911"
ORDER = order_for(f"{ORIGIN}/")


def _xss(**changes: object) -> Finding:
    return flaw_at(ORIGIN, FlawClass.REFLECTED_XSS, "/search", "q").model_copy(update=changes)


@pytest.mark.parametrize("flaw", [flaw for flaw in FlawClass if flaw is not FlawClass.OTHER])
def test_class_of_every_finding_of_ours_is_known_again(flaw: FlawClass) -> None:
    assert class_of(flaw_at(ORIGIN, flaw, "/a/b", "q")) is flaw


def test_class_of_a_finding_in_words_of_others_is_unknown() -> None:
    assert class_of(_xss(title="XSS in q")) is None
    assert class_of(_xss(cwe_id=89)) is None


@pytest.mark.parametrize(
    ("flaw", "path", "detector", "reach"),
    [
        (FlawClass.REFLECTED_XSS, "/search", "wapiti", Reach.PLACE),
        (FlawClass.CLICKJACKING, "/", "wapiti", Reach.START),
        (FlawClass.COOKIE_NOT_SECURE, "/", "wapiti", Reach.SITE),
        (FlawClass.CSRF, "/contact", "wapiti", Reach.SITE),
        (FlawClass.SQL_INJECTION, "/book", "sqlmap", Reach.PLACE),
        (FlawClass.SQL_INJECTION, "/api/books/{bookId}", "sqlmap", Reach.OPERATION),
        (FlawClass.SERVER_ERROR, "/api/postage", "schemathesis", Reach.OPERATION),
        (FlawClass.OLD_TLS, "/", "sslyze", Reach.TLS),
        (FlawClass.CLEARTEXT_TRANSPORT, "/", "first-look", Reach.FIRST_LOOK),
    ],
)
def test_needs_of_a_finding_are_no_wider_than_its_kind_asks_for(flaw: FlawClass, path: str, detector: str, reach: Reach) -> None:
    needs = needs_of(flaw_at(ORIGIN, flaw, path, detector=detector), ORDER)

    assert isinstance(needs, list)
    assert [need.reach for need in needs] == [reach]


def test_needs_of_a_finding_of_two_scanners_are_both() -> None:
    both = flaw_at(ORIGIN, FlawClass.SQL_INJECTION, "/book", "id").model_copy(update={"detectors": ["wapiti", "sqlmap"]})

    assert needs_of(both, ORDER) == [Need("wapiti", Reach.PLACE, ("sql", "timesql")), Need("sqlmap", Reach.PLACE)]


@pytest.mark.parametrize(
    "finding",
    [
        _xss(title="Something else"),
        _xss(detectors=[]),
        _xss(detectors=["wapiti", "another"]),
        _xss(url="http://elsewhere.example/search"),
        _xss(url="http://127.0.0.1:1/search"),
        _xss(url=f"{ORIGIN}/log%6fut"),
        _xss(method="POST"),
    ],
)
def test_needs_that_nothing_here_can_meet_are_a_sentence(finding: Finding) -> None:
    assert isinstance(needs_of(finding, ORDER), str)


def test_needs_of_ignored_credentials_cannot_be_met_while_the_guard_adds_some() -> None:
    finding = flaw_at(ORIGIN, FlawClass.AUTH_IGNORED, "/api/orders/{orderId}", detector="schemathesis")

    assert isinstance(needs_of(finding, ORDER), list)
    assert isinstance(needs_of(finding, ORDER.model_copy(update={"identities": ["default"]})), str)


def test_needs_are_known_for_every_kind_that_wapiti_reports_by_default() -> None:
    by_default = {flaw for flaw in CLASSES.values() if flaw not in _NEVER_ASKED_FOR}

    sentences = {flaw for flaw in by_default if isinstance(needs_of(flaw_at(ORIGIN, flaw, "/a", "q"), ORDER), str)}

    assert sentences == set()


# By modules that no preset has.
_NEVER_ASKED_FOR = {
    FlawClass.LDAP_INJECTION, FlawClass.XPATH_INJECTION, FlawClass.XXE, FlawClass.SSRF, FlawClass.UNRESTRICTED_UPLOAD,
    FlawClass.HIDDEN_RESOURCE, FlawClass.CLEARTEXT_TRANSPORT,
}  # fmt: skip


def test_addresses_of_a_place_are_those_with_its_path_and_parameter() -> None:
    crawled = [f"{ORIGIN}/search?q=a", f"{ORIGIN}/search?x=1", f"{ORIGIN}/other?q=a", f"{ORIGIN}/search?x=1&q=", f"{ORIGIN}/search?q=c"]

    assert known_addresses(_xss(), crawled) == [f"{ORIGIN}/search?q=a", f"{ORIGIN}/search?x=1&q="]


def test_address_that_no_page_leads_to_is_that_of_the_attack_with_a_harmless_value() -> None:
    attacked = flaw_at(ORIGIN, FlawClass.REFLECTED_XSS, "/search", "q", query="lang=en&q=%3Cscript%3E")

    assert invented_address(attacked) == f"{ORIGIN}/search?lang=en&q=1"
    assert invented_address(_xss(reproduction=["'unclosed"])) == f"{ORIGIN}/search?q=1"
    assert invented_address(_xss(parameter=None, reproduction=[])) == f"{ORIGIN}/search"


def test_addresses_that_are_encoded_differently_are_the_same() -> None:
    assert same_address("http://h/go?to=/books&x=1", "http://h/go?x=1&to=%2Fbooks")
    assert not same_address("http://h/go?to=/books", "http://h/go?to=/other")


@pytest.mark.parametrize(
    ("seen", "flaw", "is_problem"),
    [
        (Look(Sight.USABLE, "http://h/a", "", status=200), FlawClass.REFLECTED_XSS, False),
        (Look(Sight.USABLE, "http://h/a", "", status=404), FlawClass.REFLECTED_XSS, True),
        (Look(Sight.USABLE, "http://h/a", "", status=200, asks_password=True), FlawClass.REFLECTED_XSS, False),
        (Look(Sight.USABLE, "http://h/login", "", status=200, asks_password=True), FlawClass.REFLECTED_XSS, True),
        (Look(Sight.UNREACHABLE, "http://h/a", "no answer"), FlawClass.REFLECTED_XSS, True),
        (Look(Sight.LEADS_AWAY, "http://h/a", "away"), FlawClass.REFLECTED_XSS, True),
        (Look(Sight.REFUSED_BY_GUARD, "http://h/a", "refused"), FlawClass.REFLECTED_XSS, True),
        (Look(Sight.ACCESS_REFUSED, "http://h/a", "401"), FlawClass.REFLECTED_XSS, True),
        (Look(Sight.ACCESS_REFUSED, "http://h/a", "401"), FlawClass.AUTH_IGNORED, False),
    ],
)
def test_place_that_does_not_show_itself_is_a_problem(seen: Look, flaw: FlawClass, is_problem: bool) -> None:
    assert (problem_of(seen, "http://h/a?b=1", flaw) is not None) is is_problem


def retest_of(*findings: Finding) -> Retest:
    order = order_for(f"{ORIGIN}/", retest=list(findings))
    return Retest(order, lambda line: None, Look(Sight.USABLE, f"{ORIGIN}/", ""), f"{ORIGIN}/", lambda: 60.0)


@pytest.mark.parametrize(
    ("flaw", "heard", "is_trusted"),
    [
        (FlawClass.CSRF, [], True),
        (FlawClass.CSRF, [flaw_at(ORIGIN, FlawClass.CSRF, "/a")], True),
        (FlawClass.CSRF, [flaw_at(ORIGIN, FlawClass.CSRF, "/a", method="POST")], False),
        (FlawClass.CSRF, [flaw_at(ORIGIN, FlawClass.CSRF, "/b", method="POST")], True),
        (FlawClass.CSRF, [flaw_at(ORIGIN, FlawClass.SERVER_ERROR, "/a")], True),
        (FlawClass.SQL_INJECTION, [flaw_at(ORIGIN, FlawClass.SERVER_ERROR, "/a", "q")], False),
        (FlawClass.SQL_INJECTION, [flaw_at(ORIGIN, FlawClass.SERVER_ERROR, "/b")], True),
        (FlawClass.SQL_INJECTION, [flaw_at(ORIGIN, FlawClass.SERVER_ERROR, "/a"), flaw_at(ORIGIN, FlawClass.SQL_INJECTION, "/a")], True),
    ],
)
def test_silence_about_a_finding_is_not_trusted_where_its_place_says_something_near(
    flaw: FlawClass, heard: list[Finding], is_trusted: bool
) -> None:
    retest = retest_of(flaw_at(ORIGIN, flaw, "/a"))

    retest.hear(ReportedFinding.model_validate(one, from_attributes=True) for one in heard)
    distrust(retest)

    assert (retest.missing == {}) is is_trusted
