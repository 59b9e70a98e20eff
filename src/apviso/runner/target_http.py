"""One request of the runner's own to a target, at the addresses that were judged. Follows nothing and keeps nothing."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from apviso.scanning.first_look import MAX_BODY_BYTES

CONNECT_SECONDS = 5.0
# What can go wrong on the way to a target, beside running out of time.
TROUBLES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError)


def _any_certificate() -> ssl.SSLContext:
    # Internal applications have private certificates; the guard does not check them either, and says so.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def open_target_client() -> httpx2.AsyncClient:
    """Without the environment's proxies, redirects and cookies: each of them could carry a secret elsewhere."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx2.AsyncClient(
        verify=_any_certificate(), trust_env=False, follow_redirects=False, timeout=CONNECT_SECONDS, cookies=no_cookies
    )


def asked(
    client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], address: str, content: bytes | None = None
) -> AbstractAsyncContextManager[httpx2.Response]:
    """A request for `url` that is sent to `address`, where one is given."""
    wanted = httpx2.URL(url)
    dialed = wanted.copy_with(host=address) if address else wanted
    named = {"Host": wanted.netloc.decode("ascii")} if address else {}
    extensions = {"sni_hostname": wanted.raw_host.decode()}
    return client.stream(method, dialed, headers={**named, **headers}, content=content, extensions=extensions)


async def beginning(answer: httpx2.Response) -> bytes:
    """As much of a page as a look reads, however long it is."""
    page = b""
    async for part in answer.aiter_bytes():
        page += part
        if len(page) >= MAX_BODY_BYTES:
            break
    return page


def words(error: Exception) -> str:
    """For people. What breaks the protocol is not quoted: it may be the very line with a new session's cookie."""
    if isinstance(error, httpx2.ProtocolError) and not str(error).startswith("Server disconnected"):
        return f"{type(error).__name__}: its answer is no valid HTTP"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
