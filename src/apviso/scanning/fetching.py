"""Fetches one page of the target through the guard. Follows nothing and judges nothing."""

from __future__ import annotations

import http.client
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

SECONDS = 15.0
ATTEMPTS = 2
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Answer:
    """`refusal` is the guard's reason where it did not let the request through; `body` is the beginning of it."""

    status: int
    location: str | None
    refusal: str | None
    body: bytes


def fetch_patiently(url: str, proxy_url: str, most_bytes: int) -> Answer:
    """Once more after a pause: one lost packet is no dead target. Raises OSError, HTTPException or ValueError."""
    for attempt in range(ATTEMPTS):
        try:
            return fetch(url, proxy_url, most_bytes)
        except (OSError, http.client.HTTPException):
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE_SECONDS)
    raise AssertionError("unreachable")


def fetch(url: str, proxy_url: str, most_bytes: int) -> Answer:
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
        return Answer(answer.status, answer.getheader("Location"), answer.getheader("X-Guard-Refusal"), _beginning(answer, most_bytes))
    finally:
        connection.close()


def _beginning(answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
    """What comes of the body within SECONDS: a stream of events never ends, and each of its pieces comes in time."""
    page, end = b"", time.monotonic() + SECONDS
    while len(page) < most_bytes and time.monotonic() < end and (piece := answer.read1(most_bytes - len(page))):
        page += piece
    return page


def _any_certificate() -> ssl.SSLContext:
    """The guard signs for the target with a key of its own; who the target is was decided by its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
