"""Asks a target whether it is there: one request, nothing followed, nothing kept. It judges no answer beyond that."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx2

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
        async with (
            asyncio.timeout(PROBE_SECONDS),
            httpx2.AsyncClient(verify=_any_certificate(), trust_env=False, follow_redirects=False, timeout=CONNECT_SECONDS) as client,
        ):
            status = await _ask(client, "HEAD", url, headers, address)
            return Reachability(status if status < 400 else await _ask(client, "GET", url, headers, address))
    except TimeoutError:
        return Reachability(problem=f"no answer within {PROBE_SECONDS:g} s")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        return Reachability(problem=_words(error))


async def _ask(client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], address: str) -> int:
    asked = httpx2.URL(url)
    dialed = asked.copy_with(host=address) if address else asked
    named = {"Host": asked.netloc.decode("ascii")} if address else {}
    async with client.stream(method, dialed, headers={**named, **headers}, extensions={"sni_hostname": asked.raw_host.decode()}) as answer:
        return answer.status_code


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
