"""What has to be looked at again to tell whether one finding is still there: which scanner, with what, and how much of the target. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from apviso.protocol.findings import Finding, ReportedFinding
from apviso.scanning.catalogue import FlawClass, entry
from apviso.scanning.links import is_excluded
from apviso.scanning.order import ScanOrder

# Of one place; the scanners try every parameter of each.
ADDRESSES_OF_A_PLACE = 2


class Reach(StrEnum):
    """How much of the target a check has to see."""

    FIRST_LOOK = "first_look"
    START = "start"
    PLACE = "place"
    SITE = "site"
    OPERATION = "operation"
    TLS = "tls"


@dataclass(frozen=True)
class Need:
    """One scanner's part in checking one finding; `modules` are Wapiti's."""

    detector: str
    reach: Reach
    modules: tuple[str, ...] = ()


_ERRORS = ("sql", "xss", "file", "exec", "crlf")
# What finds each kind with Wapiti, in every preset: a retest must look as deep as any scan did.
_WAPITI: dict[FlawClass, tuple[Reach, tuple[str, ...]]] = {
    FlawClass.SQL_INJECTION: (Reach.PLACE, ("sql", "timesql")),
    FlawClass.COMMAND_EXECUTION: (Reach.PLACE, ("exec",)),
    FlawClass.PATH_TRAVERSAL: (Reach.PLACE, ("file",)),
    FlawClass.REFLECTED_XSS: (Reach.PLACE, ("xss",)),
    FlawClass.HTML_INJECTION: (Reach.PLACE, ("xss",)),
    FlawClass.OPEN_REDIRECT: (Reach.PLACE, ("redirect",)),
    FlawClass.CRLF_INJECTION: (Reach.PLACE, ("crlf",)),
    FlawClass.SERVER_ERROR: (Reach.PLACE, _ERRORS),
    FlawClass.RESOURCE_CONSUMPTION: (Reach.PLACE, _ERRORS),
    FlawClass.STORED_XSS: (Reach.SITE, ("xss", "permanentxss")),
    FlawClass.CSRF: (Reach.SITE, ("csrf",)),
    FlawClass.BACKUP_FILE: (Reach.SITE, ("backup",)),
    FlawClass.HTTP_METHODS: (Reach.SITE, ("methods",)),
    FlawClass.COOKIE_NOT_HTTPONLY: (Reach.SITE, ("cookieflags",)),
    FlawClass.COOKIE_NOT_SECURE: (Reach.SITE, ("cookieflags",)),
    FlawClass.STACK_TRACE: (Reach.SITE, ("stacktrace_disclosure",)),
    FlawClass.PATH_DISCLOSURE: (Reach.SITE, ("information_disclosure",)),
    FlawClass.INCONSISTENT_REDIRECT: (Reach.SITE, ("inconsistent_redirection",)),
    FlawClass.CLEARTEXT_PASSWORD: (Reach.SITE, ("unsecure_password",)),
    FlawClass.MISSING_HSTS: (Reach.START, ("http_headers",)),
    FlawClass.CLICKJACKING: (Reach.START, ("http_headers",)),
    FlawClass.MIME_SNIFFING: (Reach.START, ("http_headers",)),
    FlawClass.WEAK_CSP: (Reach.START, ("csp",)),
}
# Told by what the page says to the value that it knows; with an invented one, silence means nothing.
BOUND_TO_VALUES = frozenset({FlawClass.SQL_INJECTION, FlawClass.COMMAND_EXECUTION, FlawClass.SERVER_ERROR, FlawClass.RESOURCE_CONSUMPTION})
# An error in place of an answer may hide one of these.
HIDDEN_BY_ERRORS = frozenset({FlawClass.SQL_INJECTION, FlawClass.COMMAND_EXECUTION, FlawClass.PATH_TRAVERSAL, FlawClass.XPATH_INJECTION})
_WHOLE_QUERY = "QUERY_STRING"


def class_of(finding: ReportedFinding | Finding) -> FlawClass | None:
    """The kind that this product's own words name; None for what others found."""
    fitting = [
        flaw
        for flaw in FlawClass
        if flaw is not FlawClass.OTHER and finding.cwe_id == entry(flaw).cwe_id and f"{finding.title} ".startswith(f"{entry(flaw).title} ")
    ]
    return max(fitting, key=lambda flaw: len(entry(flaw).title), default=None)


def needs_of(finding: Finding, order: ScanOrder) -> list[Need] | str:
    """One need for each scanner that found it, or one sentence on why it cannot be checked."""
    flaw = class_of(finding)
    if flaw is None or not finding.detectors:
        return "This scan knows no check for this kind of finding."
    try:
        place, target = urlsplit(finding.url), urlsplit(order.target.scan_url)
    except ValueError:
        return "Its address cannot be understood."
    if flaw is not FlawClass.CLEARTEXT_TRANSPORT and (place.scheme, place.netloc) != (target.scheme, target.netloc):
        return "It is at another address than the target has now."
    if is_excluded(unquote(finding.url), order.limits.exclude_paths):
        return "The rules exclude its path."
    if finding.method not in order.limits.methods and flaw is not FlawClass.CSRF:
        return f"The rules do not permit its method, {finding.method[:20]}."
    needs = [_need(finding, flaw, detector, order) for detector in finding.detectors]
    return next((need for need in needs if isinstance(need, str)), None) or [need for need in needs if isinstance(need, Need)]


def _need(finding: Finding, flaw: FlawClass, detector: str, order: ScanOrder) -> Need | str:
    in_document = "{" in path_of(finding)
    match detector:
        case "first-look":
            return Need(detector, Reach.FIRST_LOOK)
        case "sslyze":
            return Need(detector, Reach.TLS)
        case "schemathesis" if flaw is FlawClass.AUTH_IGNORED and order.identities:
            return "Whether it asks for credentials cannot be told while the guard adds some."
        case "schemathesis":
            return Need(detector, Reach.OPERATION)
        case "sqlmap":
            return Need(detector, Reach.OPERATION if in_document else Reach.PLACE)
        case "wapiti" if flaw in _WAPITI and not in_document:
            reach, modules = _WAPITI[flaw]
            # A form is found by the crawl alone.
            return Need(detector, Reach.SITE if finding.method != "GET" and reach is Reach.PLACE else reach, modules)
        case _:
            return f"This scan does not have what found it: {detector[:60]}."


def path_of(finding: ReportedFinding | Finding) -> str:
    """Some tools write the braces of a path from a document as they are, some do not."""
    return unquote(urlsplit(finding.url).path) or "/"


def parameter_of(finding: Finding) -> str | None:
    return None if finding.parameter == _WHOLE_QUERY else finding.parameter


def known_addresses(finding: Finding, crawled: Iterable[str]) -> list[str]:
    """Those of the crawl that lead to the finding's place with its parameter."""
    name, path = parameter_of(finding), path_of(finding)
    fitting = (url for url in crawled if unquote(urlsplit(url).path or "/") == path and name in dict(parse_qsl(urlsplit(url).query, True)))
    return list(dict.fromkeys(fitting))[:ADDRESSES_OF_A_PLACE]


def invented_address(finding: Finding) -> str:
    """The place as it was asked when the flaw was found, with a harmless value for its parameter."""
    bare, name = finding.url.partition("?")[0], parameter_of(finding)
    asked = dict(parse_qsl(urlsplit(_repeated(finding)).query, True))
    query = {key: value for key, value in asked.items() if key != name} | ({name: "1"} if name else {})
    return f"{bare}?{urlencode(query)}" if query else bare


def _repeated(finding: Finding) -> str:
    """The address of the first step that repeats the finding."""
    try:
        return shlex.split(finding.reproduction[0])[-1] if finding.reproduction else ""
    except (ValueError, IndexError):
        return ""


def same_address(one: str, other: str) -> bool:
    """However each is encoded."""
    left, right = urlsplit(one), urlsplit(other)
    return unquote(left.path or "/") == unquote(right.path or "/") and sorted(parse_qsl(left.query, True)) == sorted(
        parse_qsl(right.query, True)
    )
