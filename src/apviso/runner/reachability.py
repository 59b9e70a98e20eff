"""Asks a target whether it is there, and whether its credentials hold. Follows redirects on the target alone and keeps nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx2

from apviso.runner.target_http import TROUBLES, asked, beginning, open_target_client, words
from apviso.scanning.first_look import MAX_HOPS, is_other_path, same_place, shows_password
from apviso.scanning.links import is_excluded

PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class Reachability:
    """`problem` says why the target did not answer, None where it did; `status` is its HTTP status."""

    status: int | None = None
    problem: str | None = None


async def probe(url: str, headers: Mapping[str, str], addresses: Sequence[str] = (), methods: Sequence[str] = ("HEAD",)) -> Reachability:
    """HEAD where `methods` permit it, and GET where HEAD is not answered well: some applications know no HEAD. The body is not read.

    With `addresses`, those that the host's name was judged by, nothing else is dialed, whatever the name stands for meanwhile.
    """
    answer = Reachability(problem="its name stands for no address")
    for address in addresses or ("",):
        answer = await _probe_at(url, headers, address, "HEAD" if "HEAD" in methods else "GET")
        if answer.problem is None:
            break
    return answer


async def _probe_at(url: str, headers: Mapping[str, str], address: str, method: str) -> Reachability:
    try:
        async with asyncio.timeout(PROBE_SECONDS), open_target_client() as client:
            status = await _ask(client, method, url, headers, address)
            return Reachability(status if status < 400 or method == "GET" else await _ask(client, "GET", url, headers, address))
    except TimeoutError:
        return Reachability(problem=f"no answer within {PROBE_SECONDS:g} s")
    except TROUBLES as error:
        return Reachability(problem=words(error))


async def leads_to_login(url: str, headers: Mapping[str, str], exclude_paths: Sequence[str], addresses: Sequence[str] = ()) -> bool:
    """Whether redirects lead to another page of the target with a password field: the credentials in `headers` no longer hold.

    False where that cannot be found out: the scan's own looks tell what is wrong then."""
    try:
        async with asyncio.timeout(PROBE_SECONDS), open_target_client() as client:
            return await _follow_to_login(client, url, headers, exclude_paths, next(iter(addresses), ""))
    except (TimeoutError, *TROUBLES):
        return False


async def _follow_to_login(
    client: httpx2.AsyncClient, start_url: str, headers: Mapping[str, str], exclude_paths: Sequence[str], address: str
) -> bool:
    url = start_url
    for _ in range(MAX_HOPS):
        # The credentials are the target's alone, and no excluded page is asked for, not even to find this out.
        if not same_place(url, start_url) or is_excluded(url, exclude_paths):
            return False
        async with asked(client, "GET", url, headers, address) as answer:
            if not answer.has_redirect_location:
                return is_other_path(url, start_url) and shows_password(await beginning(answer))
            url = urljoin(url, answer.headers["location"])
    return False


async def _ask(client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], address: str) -> int:
    async with asked(client, method, url, headers, address) as answer:
        return answer.status_code
