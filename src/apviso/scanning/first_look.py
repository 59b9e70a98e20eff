"""One plain request to the target before and after the scan: is it there, and does its start page lead anywhere?"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

from apviso.protocol.findings import ReportedFinding
from apviso.scanning.catalogue import CVSS_NOTE, FlawClass, entry, rate
from apviso.scanning.evidence import curl_command, one_line
from apviso.scanning.guard_rules import InvalidTarget, allowed_host
from apviso.scanning.links import links_of

SECONDS = 15.0
ATTEMPTS = 2
PAUSE_SECONDS = 1.0
MAX_HOPS = 5
MAX_MESSAGE = 1_000
MAX_BODY_BYTES = 512 * 1024
_PASSWORD_FIELD = re.compile(rb"""<input\b[^<>]*\btype\s*=\s*["']?password\b""", re.IGNORECASE)


class Sight(StrEnum):
    USABLE = "usable"
    UNREACHABLE = "unreachable"
    LEADS_AWAY = "leads_away"
    ACCESS_REFUSED = "access_refused"
    REFUSED_BY_GUARD = "refused_by_guard"


@dataclass(frozen=True)
class Look:
    """`url` is where the start page was found in the end; `message` says what was seen, for people; `links` lead to the same target."""

    sight: Sight
    url: str
    message: str
    status: int = 0
    has_script: bool = False
    asks_password: bool = False
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Answer:
    status: int
    location: str | None
    refusal: str | None
    body: bytes


def look(start_url: str, proxy_url: str) -> Look:
    """Fetch the start page through the guard, following redirects that stay on the target."""
    url = start_url
    for _ in range(MAX_HOPS):
        try:
            answer = _fetch_patiently(url, proxy_url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return _seen(Sight.UNREACHABLE, url, f"The target does not answer at {url}: {_cause(error)}.")
        sight = _judge(answer, url, start_url)
        if sight is not None:
            return sight
        url = urljoin(url, answer.location or "")
    return _seen(Sight.UNREACHABLE, url, f"The start page redirects more than {MAX_HOPS} times.")


def _seen(sight: Sight, url: str, message: str) -> Look:
    """The message holds the target's own words: they must not reach a terminal as commands."""
    return Look(sight, url, one_line(message, MAX_MESSAGE))


def plain_http(seen: Look) -> ReportedFinding | None:
    """The finding that the target is served without encryption, where its start page is."""
    parts = urlsplit(seen.url)
    if parts.scheme != "http":
        return None
    kind = entry(FlawClass.CLEARTEXT_TRANSPORT)
    score, severity = rate(kind.cvss_vector)
    origin = f"{parts.scheme}://{parts.netloc}/"
    return ReportedFinding(
        title=kind.title,
        severity=severity,
        cvss_score=score,
        cvss_vector=kind.cvss_vector,
        cwe_id=kind.cwe_id,
        description=f"{kind.description} {CVSS_NOTE}",
        evidence=f"{seen.message} The answer came by plain HTTP, without a redirect to HTTPS.",
        reproduction=[curl_command("GET", origin, "")],
        remediation=kind.remediation,
        url=origin,
        method="GET",
        detectors=["first-look"],
    )


def _judge(answer: _Answer, url: str, start_url: str) -> Look | None:
    """What an answer means; None where it leads to another page of the target."""
    if answer.refusal:
        return _seen(Sight.REFUSED_BY_GUARD, url, f"The guard refuses the start page: {answer.refusal}.")
    if answer.status in (401, 403):
        return _seen(Sight.ACCESS_REFUSED, url, f"The target refuses access to {url} (status {answer.status}).")
    if answer.status == 429 or answer.status >= 500:
        return _seen(Sight.UNREACHABLE, url, f"The target answers {url} with status {answer.status}.")
    if answer.location is None or not 300 <= answer.status < 400:
        return _usable(answer, url)
    following = urljoin(url, answer.location)
    if not same_place(following, start_url):
        return _seen(Sight.LEADS_AWAY, url, f"The start page leads away from the target, to {bare(following)}.")
    return None


def _usable(answer: _Answer, url: str) -> Look:
    return Look(
        Sight.USABLE,
        url,
        one_line(f"The target answers {url} with status {answer.status}.", MAX_MESSAGE),
        status=answer.status,
        has_script=b"<script" in answer.body.lower(),
        asks_password=shows_password(answer.body),
        links=tuple(link for link in links_of(answer.body, url) if same_place(link, url)),
    )


def shows_password(page: bytes) -> bool:
    """Whether a page has a field for a password."""
    return _PASSWORD_FIELD.search(page) is not None


def is_other_path(url: str, start_url: str) -> bool:
    """Whether a redirect led to another page; a final slash makes none."""
    return urlsplit(url).path.rstrip("/") != urlsplit(start_url).path.rstrip("/")


def same_place(url: str, start_url: str) -> bool:
    try:
        return allowed_host(url) == allowed_host(start_url)
    except InvalidTarget:
        return False


def bare(url: str) -> str:
    """An address without its query, which may hold a session, and without a user name."""
    parts = urlsplit(url)
    return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 300)


def _cause(error: Exception) -> str:
    return str(error).strip().rstrip(".")[:200] or type(error).__name__


def _fetch_patiently(url: str, proxy_url: str) -> _Answer:
    """Once more after a pause: one lost packet is no dead target."""
    for attempt in range(ATTEMPTS):
        try:
            return _fetch(url, proxy_url)
        except (OSError, http.client.HTTPException):
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE_SECONDS)
    raise AssertionError("unreachable")


def _fetch(url: str, proxy_url: str) -> _Answer:
    parts, proxy = urlsplit(url), urlsplit(proxy_url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port, timeout=SECONDS, context=_any_certificate()
        )
        connection.set_tunnel(parts.hostname or "", parts.port or 443)
    else:
        connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port, timeout=SECONDS)
        target = f"http://{parts.netloc}{target}"
    try:
        connection.request("GET", target, headers={"Host": parts.netloc, "Accept": "text/html,*/*", "User-Agent": "Mozilla/5.0"})
        answer = connection.getresponse()
        return _Answer(answer.status, answer.getheader("Location"), answer.getheader("X-Guard-Refusal"), answer.read(MAX_BODY_BYTES))
    finally:
        connection.close()


def _any_certificate() -> ssl.SSLContext:
    """The guard signs for the target with a key of its own; who the target is was decided by its address."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
