"""The bookshop's own flaws as data, and how findings of a scan compare with them. Only what is planted counts as true."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Flaw:
    """One planted flaw. Flaws of the whole site have the path "/"; a cookie's name stands as its parameter."""

    name: str
    cwe_id: int
    path: str
    parameter: str | None


FLAWS = (
    Flaw("SQL injection that shows the database's error", 89, "/book", "id"),
    Flaw("SQL injection without an error, told by what is listed", 89, "/author", "name"),
    Flaw("path traversal", 22, "/download", "file"),
    Flaw("reflected cross-site scripting", 79, "/search", "q"),
    Flaw("open redirect", 601, "/go", "to"),
    Flaw("header injection", 113, "/greeting", "lang"),
    Flaw("cookie without HttpOnly", 1004, "/", "basket"),
    Flaw("cookie without Secure", 614, "/", "basket"),
    Flaw("no protection against framing", 1021, "/", None),
    Flaw("no Content Security Policy", 693, "/", None),
    Flaw("plain HTTP", 319, "/", None),
)
# Found by the presets from `medium` on; the smaller ones do not look at forms.
FLAWS_OF_FORMS = (Flaw("form without a token against cross-site request forgery", 352, "/contact", None),)
# Classes in which a finding that was not planted is a false alarm, in the shop and in its hardened twin.
INJECTION_CWES = frozenset({22, 78, 79, 80, 89, 90, 113, 601, 611, 643, 918})


class Finding(Protocol):
    """What of a finding is compared: the wire models of a scan and of the API both have it."""

    @property
    def cwe_id(self) -> int | None: ...
    @property
    def url(self) -> str: ...
    @property
    def parameter(self) -> str | None: ...


@dataclass(frozen=True)
class Comparison:
    """`false_alarms`: injection findings that were not planted, as (CWE, path, parameter)."""

    found: tuple[Flaw, ...]
    missed: tuple[Flaw, ...]
    false_alarms: tuple[tuple[int, str, str | None], ...]


def compare(findings: Iterable[Finding], planted: tuple[Flaw, ...] = FLAWS) -> Comparison:
    """How a scan did; give no planted flaws for the hardened twin."""
    seen = {(finding.cwe_id, urlsplit(finding.url).path or "/", finding.parameter) for finding in findings}
    known = {(flaw.cwe_id, flaw.path, flaw.parameter): flaw for flaw in planted}
    return Comparison(
        found=tuple(flaw for key, flaw in known.items() if key in seen),
        missed=tuple(flaw for key, flaw in known.items() if key not in seen),
        false_alarms=tuple(
            (cwe, path, parameter) for cwe, path, parameter in seen if cwe in INJECTION_CWES and (cwe, path, parameter) not in known
        ),
    )
