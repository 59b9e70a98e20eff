"""One plain request to the target before and after the scan: is it there, and does its start page lead anywhere?"""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

from apviso.protocol.findings import ReportedFinding
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.evidence import curl_command, one_line
from apviso.scanning.fetching import Answer, fetch_patiently
from apviso.scanning.guard_rules import InvalidTarget, allowed_host
from apviso.scanning.links import links_of
from apviso.scanning.reporting import reported

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


def look(start_url: str, proxy_url: str) -> Look:
    """Fetch the start page through the guard, following redirects that stay on the target."""
    url = start_url
    for _ in range(MAX_HOPS):
        try:
            answer = fetch_patiently(url, proxy_url, MAX_BODY_BYTES)
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
    origin = f"{parts.scheme}://{parts.netloc}"
    return reported(
        FlawClass.CLEARTEXT_TRANSPORT,
        detector="first-look",
        origin=origin,
        path="/",
        evidence=f"{seen.message} The answer came by plain HTTP, without a redirect to HTTPS.",
        reproduction=[curl_command("GET", f"{origin}/")],
    )


def _judge(answer: Answer, url: str, start_url: str) -> Look | None:
    """What an answer means; None where it leads to another page of the target."""
    if answer.refusal:
        return _seen(Sight.REFUSED_BY_GUARD, url, f"The guard refuses the start page: {answer.refusal}.")
    if answer.status in (401, 403):
        return _seen(Sight.ACCESS_REFUSED, url, f"The target refuses access to {url} (status {answer.status}).")
    if answer.status == 429 or answer.status >= 500:
        return _seen(Sight.UNREACHABLE, url, f"The target answers {url} with status {answer.status}.")
    if answer.location is None or not 300 <= answer.status < 400:
        return _usable(answer, url)
    try:
        following = urljoin(url, answer.location)
    except ValueError:
        return _seen(Sight.LEADS_AWAY, url, "The start page leads to an address that cannot be understood.")
    if not same_place(following, start_url):
        return _seen(Sight.LEADS_AWAY, url, f"The start page leads away from the target, to {bare(following)}.")
    return None


def _usable(answer: Answer, url: str) -> Look:
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
