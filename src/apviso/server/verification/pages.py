"""Fetches the beginning of one page from addresses that were judged before. Follows nothing to another host, sends no credential."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from apviso import __version__
from apviso.server.verification.names import Address
from apviso.server.verification.words import quoted

MAX_BODY_BYTES = 64 * 1024
MAX_REDIRECTS = 3
# A host with more addresses is reached by one of these, or is not.
MAX_ADDRESSES = 4
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADERS = {
    "User-Agent": f"apviso-verification/{__version__}",
    # A short answer could be inflated to a long one.
    "Accept-Encoding": "identity",
    "Cache-Control": "no-cache",
}
_CANNOT_CONNECT = (httpx2.ConnectError, httpx2.ConnectTimeout)


class PageTrouble(Exception):
    """There is no such page; the message says what came instead."""


@dataclass(frozen=True)
class Page:
    """`is_cut`: it goes on."""

    body: bytes
    is_cut: bool

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


async def fetch(url: str, addresses: Sequence[Address], seconds: float, *, has_port: bool) -> Page:
    """The page at `url`, asked of the first of these addresses that can be connected to. Raises PageTrouble.

    `has_port`: the scan URL names a port, so that other ports of the host are another application.
    """
    trouble: Exception | None = None
    try:
        async with asyncio.timeout(seconds), _client(seconds) as client:
            for address in addresses[:MAX_ADDRESSES]:
                try:
                    return await _follow(client, httpx2.URL(url), str(address), has_port=has_port)
                except _CANNOT_CONNECT as error:
                    trouble = error
            raise PageTrouble(f"no connection to {', '.join(map(str, addresses[:MAX_ADDRESSES]))}") from trouble
    except TimeoutError as error:
        raise PageTrouble(f"no whole answer within {seconds:g} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
        # Not quoted: it may hold what a stranger sent.
        raise PageTrouble(f"no valid answer ({type(error).__name__})") from error


async def _follow(client: httpx2.AsyncClient, url: httpx2.URL, address: str, *, has_port: bool) -> Page:
    origin = url
    for _ in range(1 + MAX_REDIRECTS):
        async with _asked(client, url, address) as answer:
            if answer.has_redirect_location:
                url = _next(origin, url, answer.headers["location"], has_port=has_port)
                continue
            if answer.status_code != 200:
                raise PageTrouble(f"status {answer.status_code}")
            if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise PageTrouble("an answer that is compressed, which was not asked for")
            return await _beginning(answer)
    raise PageTrouble(f"more than {MAX_REDIRECTS} redirects")


def _asked(client: httpx2.AsyncClient, url: httpx2.URL, address: str) -> AbstractAsyncContextManager[httpx2.Response]:
    """A request for `url` that goes to `address`, whatever the name means by now."""
    named = {**_HEADERS, "Host": url.netloc.decode("ascii")}
    return client.stream("GET", url.copy_with(host=address), headers=named, extensions={"sni_hostname": url.raw_host.decode("ascii")})


def _next(origin: httpx2.URL, url: httpx2.URL, location: str, *, has_port: bool) -> httpx2.URL:
    """Where a redirect leads, if to the same host. Raises PageTrouble."""
    goal = url.join(location)
    ports = {_port(origin)} if has_port else {80, 443}
    if goal.scheme not in _DEFAULT_PORTS or goal.userinfo or goal.raw_host != origin.raw_host or _port(goal) not in ports:
        raise PageTrouble(f"a redirect to another host or port, {quoted(location)}")
    return goal


def _port(url: httpx2.URL) -> int | None:
    return url.port or _DEFAULT_PORTS.get(url.scheme)


async def _beginning(answer: httpx2.Response) -> Page:
    body = b""
    async for part in answer.aiter_raw():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return Page(body[:MAX_BODY_BYTES], is_cut=True)
    return Page(body, is_cut=False)


def _client(seconds: float) -> httpx2.AsyncClient:
    """Without the environment's proxies: they would look the name up themselves, and find another address."""
    # Whoever can answer in the place of the host can do so without encryption as well; what counts is what is published.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    timeout = httpx2.Timeout(seconds, connect=seconds / 2)
    return httpx2.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=timeout, cookies=no_cookies)
