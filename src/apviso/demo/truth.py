"""The bookshop's own flaws as data, and how findings of a scan compare with them. Only what is planted counts as true."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

Place = tuple[int | None, str, str | None]


@dataclass(frozen=True)
class Flaw:
    """One planted flaw; each of its detectors finds it by itself.

    Flaws of the whole site have the path "/"; a cookie's name stands as its parameter; an operation's path is the one of the document."""

    name: str
    cwe_id: int
    path: str
    parameter: str | None
    detectors: tuple[str, ...] = ("wapiti",)

    @property
    def place(self) -> Place:
        return self.cwe_id, self.path, self.parameter


_BOTH = ("wapiti", "sqlmap")
FLAWS_OF_PAGES = (
    Flaw("SQL injection that shows the database's error", 89, "/book", "id", _BOTH),
    Flaw("SQL injection without an error, told by what is listed", 89, "/author", "name", _BOTH),
    Flaw("path traversal", 22, "/download", "file"),
    Flaw("reflected cross-site scripting", 79, "/search", "q"),
    Flaw("open redirect", 601, "/go", "to"),
    Flaw("header injection", 113, "/greeting", "lang"),
    Flaw("cookie without HttpOnly", 1004, "/", "basket"),
    Flaw("cookie without Secure", 614, "/", "basket"),
    Flaw("no protection against framing", 1021, "/", None),
    Flaw("no Content Security Policy", 693, "/", None),
)
FLAWS = (*FLAWS_OF_PAGES, Flaw("plain HTTP", 319, "/", None, ("first-look",)))
# Found by the presets from `medium` on; the smaller ones do not look at forms.
FLAWS_OF_FORMS = (Flaw("form without a token against cross-site request forgery", 352, "/contact", None),)
FLAWS_OF_API = (
    Flaw("SQL injection in the path of an operation", 89, "/api/books/{bookId}", "bookId", ("sqlmap",)),
    Flaw("SQL injection in the query of an operation", 89, "/api/stock", "title", ("sqlmap",)),
    Flaw("operation that does not ask for the token it documents", 306, "/api/orders/{orderId}", None, ("schemathesis",)),
    Flaw("server error on a permitted number", 755, "/api/postage", "copies", ("schemathesis",)),
)
# Behind TLS the careless shop has these, and those of its pages.
BAD_CERTIFICATE = Flaw("certificate that nobody vouches for", 295, "/", None, ("sslyze",))
FLAWS_OF_TLS = (
    Flaw("old versions of TLS", 326, "/", None, ("sslyze",)),
    Flaw("weak cipher suites", 327, "/", None, ("sslyze",)),
    BAD_CERTIFICATE,
)
# The hardened twin behind TLS, unless it is given a certificate.
FLAWS_OF_HARDENED_TLS = (BAD_CERTIFICATE,)
# Classes in which a finding that was not planted is a false alarm, in the shop and in its hardened twin.
JUDGED_CWES = frozenset({22, 78, 79, 80, 89, 90, 113, 295, 306, 326, 327, 601, 611, 643, 918})


class Finding(Protocol):
    """What of a finding is compared: the wire models of a scan and of the API both have it."""

    @property
    def cwe_id(self) -> int | None: ...
    @property
    def url(self) -> str: ...
    @property
    def parameter(self) -> str | None: ...


class NamedFinding(Finding, Protocol):
    @property
    def detectors(self) -> list[str]: ...


@dataclass(frozen=True)
class Comparison:
    """`false_alarms`: findings of the judged classes that were not planted, as (CWE, path, parameter)."""

    found: tuple[Flaw, ...]
    missed: tuple[Flaw, ...]
    false_alarms: tuple[Place, ...]


def compare(findings: Iterable[Finding], planted: tuple[Flaw, ...] = FLAWS) -> Comparison:
    """How a scan did; give no planted flaws for the hardened twin."""
    seen = {_place(finding) for finding in findings}
    known = {flaw.place: flaw for flaw in planted}
    return Comparison(
        found=tuple(flaw for key, flaw in known.items() if key in seen),
        missed=tuple(flaw for key, flaw in known.items() if key not in seen),
        false_alarms=tuple(place for place in seen if place[0] in JUDGED_CWES and place not in known),
    )


def silent_detectors(findings: Iterable[NamedFinding], planted: Iterable[Flaw], ran: Collection[str]) -> tuple[tuple[Flaw, str], ...]:
    """Each detector, of those that `ran`, that should be named by a finding of a flaw and is not."""
    named = {(_place(finding), detector) for finding in findings for detector in finding.detectors}
    expected = ((flaw, detector) for flaw in planted for detector in flaw.detectors if detector in ran)
    return tuple((flaw, detector) for flaw, detector in expected if (flaw.place, detector) not in named)


def _place(finding: Finding) -> Place:
    # Some tools write the braces of a path from a document as they are, some do not.
    return finding.cwe_id, unquote(urlsplit(finding.url).path) or "/", finding.parameter
