"""Asks a target whether it is there, and whether its credentials hold. Follows redirects on the target alone and keeps nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx2

from apviso.scanning.first_look import MAX_BODY_BYTES, MAX_HOPS, is_other_path, same_place, shows_password
from apviso.scanning.links import is_excluded

PROBE_SECONDS = 10.0
CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Reachability:
    """`problem` says why the target did not answer, None where it did; `status` is its HTTP status."""

    status: int | None = None
    problem: str | None = None


def _any_certificate() -> ssl.SSLContext:
    # Internal applications have private certificates; the guard does not check them either, and says so.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def probe(url: str, headers: Mapping[str, str], addresses: Sequence[str] = ()) -> Reachability:
    """HEAD, and GET where HEAD is not answered well: some applications know no HEAD. The body is not read.

    With `addresses`, those that the host's name was judged by, nothing else is dialed, whatever the name stands for meanwhile.
    """
    answer = Reachability(problem="its name stands for no address")
    for address in addresses or ("",):
        answer = await _probe_at(url, headers, address)
        if answer.problem is None:
            break
    return answer


async def _probe_at(url: str, headers: Mapping[str, str], address: str) -> Reachability:
    try:
        async with asyncio.timeout(PROBE_SECONDS), _client() as client:
            status = await _ask(client, "HEAD", url, headers, address)
            return Reachability(status if status < 400 else await _ask(client, "GET", url, headers, address))
    except TimeoutError:
        return Reachability(problem=f"no answer within {PROBE_SECONDS:g} s")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        return Reachability(problem=_words(error))


async def leads_to_login(url: str, headers: Mapping[str, str], exclude_paths: Sequence[str], addresses: Sequence[str] = ()) -> bool:
    """Whether redirects lead to another page of the target with a password field: the credentials in `headers` no longer hold.

    False where that cannot be found out: the scan's own looks tell what is wrong then."""
    try:
        async with asyncio.timeout(PROBE_SECONDS), _client() as client:
            return await _follow_to_login(client, url, headers, exclude_paths, next(iter(addresses), ""))
    except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError):
        return False


async def _follow_to_login(
    client: httpx2.AsyncClient, start_url: str, headers: Mapping[str, str], exclude_paths: Sequence[str], address: str
) -> bool:
    url = start_url
    for _ in range(MAX_HOPS):
        # The credentials are the target's alone, and no excluded page is asked for, not even to find this out.
        if not same_place(url, start_url) or is_excluded(url, exclude_paths):
            return False
        async with _asked(client, "GET", url, headers, address) as answer:
            if not answer.has_redirect_location:
                return is_other_path(url, start_url) and shows_password(await _beginning(answer))
            url = urljoin(url, answer.headers["location"])
    return False


async def _beginning(answer: httpx2.Response) -> bytes:
    """As much of a page as a look reads, however long it is."""
    page = b""
    async for part in answer.aiter_bytes():
        page += part
        if len(page) >= MAX_BODY_BYTES:
            break
    return page


def _client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(verify=_any_certificate(), trust_env=False, follow_redirects=False, timeout=CONNECT_SECONDS)


def _asked(
    client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], address: str
) -> AbstractAsyncContextManager[httpx2.Response]:
    """A request for `url` that is sent to `address`, where one is given."""
    asked = httpx2.URL(url)
    dialed = asked.copy_with(host=address) if address else asked
    named = {"Host": asked.netloc.decode("ascii")} if address else {}
    return client.stream(method, dialed, headers={**named, **headers}, extensions={"sni_hostname": asked.raw_host.decode()})


async def _ask(client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], address: str) -> int:
    async with _asked(client, method, url, headers, address) as answer:
        return answer.status_code


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
