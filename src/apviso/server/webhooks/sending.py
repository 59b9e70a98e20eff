"""Sends one message to one receiver: to an address that was judged before, over verified TLS, without redirects, within its time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import httpx2

from apviso.server.targets.address import HttpUrl, parse_url
from apviso.server.webhooks.destination import Address, Policy, are_permitted, may_use_scheme
from apviso.server.webhooks.facts import Outcome

CONNECT_SECONDS, NAME_SECONDS = 5.0, 5.0
# Read so that the receiver can end in order; it is not kept, so that nobody reads the answer of an internal service here.
MOST_BYTES, REST_SECONDS = 4096, 1.0
# A receiver whose first address does not answer may do so at another.
MOST_ADDRESSES = 3
# A name server that does not answer holds a thread, for longer than anybody waits for it; one name holds one, however often it is asked.
NAMES_AT_ONCE = 64


class Sender:
    def __init__(self, policy: Policy, custom_ca: Path | None, timeout_seconds: float) -> None:
        self._policy = policy
        self._seconds = timeout_seconds
        self._trust = _trust(custom_ca)
        self._names = ThreadPoolExecutor(NAMES_AT_ONCE, thread_name_prefix="webhook-names")
        self._asked: dict[str, asyncio.Future[Sequence[Address]]] = {}

    def close(self) -> None:
        self._names.shutdown(wait=False, cancel_futures=True)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> Outcome:
        """How it went, in words that hold nothing of what the receiver said."""
        goal = parse_url(url)
        if not may_use_scheme(goal, self._policy):
            return Outcome("The address is not encrypted, which the operator of the server does not allow.")
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(goal, headers, body, now)
        except TimeoutError:
            return Outcome(f"The receiver did not answer within {self._seconds:g} s.")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return Outcome(_said(error))

    async def _send(self, goal: HttpUrl, headers: Mapping[str, str], body: bytes, now: datetime) -> Outcome:
        addresses = await self._addresses(goal)
        if not addresses:
            return Outcome("The name of the receiver is not known to the name server.")
        if not are_permitted(addresses, self._policy):
            return Outcome("The receiver is at an internal address, which the operator of the server does not allow.")
        return await self._send_to(goal, addresses[:MOST_ADDRESSES], headers, body, now)

    async def _send_to(self, goal: HttpUrl, addresses: list[Address], headers: Mapping[str, str], body: bytes, now: datetime) -> Outcome:
        first, *others = addresses
        try:
            return await self._post(goal, first, headers, body, now)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            # Nothing was sent. A certificate that is not accepted here is no better elsewhere.
            if not others or _tls_error(error) is not None:
                raise
        return await self._send_to(goal, others, headers, body, now)

    async def _addresses(self, goal: HttpUrl) -> list[Address]:
        if goal.place.address is not None:
            return [goal.place.address]
        try:
            async with asyncio.timeout(NAME_SECONDS):
                found = await asyncio.shield(self._look_up(goal.place.host))
        except (TimeoutError, OSError):
            return []
        return list(dict.fromkeys(found))

    def _look_up(self, host: str) -> asyncio.Future[Sequence[Address]]:
        """The look that is under way already, or a new one."""
        if host not in self._asked:
            looking = asyncio.get_running_loop().run_in_executor(self._names, _look_up, host)
            self._asked[host] = looking
            looking.add_done_callback(lambda done: self._over(host, done))
        return self._asked[host]

    def _over(self, host: str, done: asyncio.Future[Sequence[Address]]) -> None:
        del self._asked[host]
        if not done.cancelled():
            done.exception()  # nobody may be waiting for it any more

    async def _post(self, goal: HttpUrl, address: Address, headers: Mapping[str, str], body: bytes, now: datetime) -> Outcome:
        url = httpx2.URL(goal.text)
        # The judged address itself is called: asked again, a name server could give another one. A client of its own for each call:
        # a connection that is kept is known by its address alone, and may have been verified for another name.
        async with (
            httpx2.AsyncClient(
                verify=self._trust, timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS), follow_redirects=False, trust_env=False
            ) as client,
            client.stream(
                "POST",
                url.copy_with(host=str(address)),
                content=body,
                headers={**headers, "host": url.netloc.decode("ascii"), "accept-encoding": "identity"},
                extensions={"sni_hostname": goal.place.host},
            ) as answer,
        ):
            # The status says it all; whatever happens to the rest changes nothing.
            with contextlib.suppress(httpx2.HTTPError, TimeoutError):
                async with asyncio.timeout(REST_SECONDS):
                    await _read_some(answer)
            return _judged(answer, now)


def _look_up(host: str) -> Sequence[Address]:
    return [ip_address(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


async def _read_some(answer: httpx2.Response) -> None:
    length = 0
    async with contextlib.aclosing(answer.aiter_raw()) as parts:
        async for part in parts:
            length += len(part)
            if length >= MOST_BYTES:
                return


def _judged(answer: httpx2.Response, now: datetime) -> Outcome:
    status = answer.status_code
    if answer.is_success:
        return Outcome(None, status)
    if answer.is_redirect:
        return Outcome(f"The receiver answered {status}, a redirect; redirects are not followed.", status)
    return Outcome(f"The receiver answered {status}.", status, _retry_after(answer.headers.get("retry-after", ""), now))


def _retry_after(wish: str, now: datetime) -> float | None:
    """Seconds, or a date (RFC 9110)."""
    if wish.isascii() and wish.isdecimal():
        return float(wish[:10])
    try:
        moment = parsedate_to_datetime(wish)
    except ValueError:
        return None
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    return next((one for one in _causes(error) if isinstance(one, ssl.SSLError)), None)


def _said(error: Exception) -> str:
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return f"The receiver's certificate is not accepted: {tls.verify_message}"[:300]
    if tls is not None:
        return "No encrypted connection could be made to the receiver."
    match error:
        case httpx2.ConnectTimeout():
            return f"The receiver could not be connected to within {CONNECT_SECONDS:g} s."
        case httpx2.ConnectError():
            return "The receiver could not be connected to."
        case _:
            return "The receiver closed the connection before it had answered."


@cache
def _trust(custom_ca: Path | None) -> ssl.SSLContext:
    """The host's authorities and one's own. Read once: that takes longer than a start of all else."""
    context = ssl.create_default_context()
    if custom_ca is not None:
        context.load_verify_locations(cafile=custom_ca)
    return context
