"""A visit of the runner's own to a target, as a browser makes it: pages with their redirects and cookies, on the target alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import httpx2

from apviso.runner.target_http import TROUBLES, asked, beginning, open_target_client, words
from apviso.scanning.first_look import MAX_HOPS, bare, same_place
from apviso.scanning.links import is_excluded

VISIT_SECONDS = 30.0
# With any other redirect a browser goes on with GET.
_KEEPS_ITS_METHOD = frozenset({307, 308})


class NoAnswer(Exception):
    """The target did not answer. The message holds no secret."""


class OffTarget(Exception):
    """An address that is not the target's; nothing was sent there."""


@dataclass(frozen=True)
class Page:
    """What was answered in the end. `onward` is a redirect that was not followed, because it leads off the target or is excluded."""

    url: str
    status: int
    body: bytes = field(repr=False)
    onward: str | None = None

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


@dataclass
class Visit:
    """`headers` go with every request; `cookies` are kept from answers and sent again."""

    client: httpx2.AsyncClient
    target_url: str
    addresses: Sequence[str]
    exclude_paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: dict[str, str] = field(default_factory=dict, repr=False)

    async def get(self, reference: str) -> Page:
        """`reference` is an address, or a path on the target. Raises OffTarget or NoAnswer."""
        return await self._go("GET", self._absolute(reference), {}, None)

    async def post(self, reference: str, content: bytes, content_type: str, referer: str | None = None) -> Page:
        """Raises OffTarget or NoAnswer."""
        url = self._absolute(reference)
        parts = urlsplit(url)
        headers = {"Content-Type": content_type, "Origin": f"{parts.scheme}://{parts.netloc}", "Referer": referer or url}
        return await self._go("POST", url, headers, content)

    def _absolute(self, reference: str) -> str:
        try:
            url = urljoin(self.target_url, reference)
        except ValueError:
            raise OffTarget("an address that cannot be understood") from None
        if not same_place(url, self.target_url):
            raise OffTarget(bare(url))
        return url

    async def _go(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Page:
        for _ in range(MAX_HOPS):
            page, location = await self._ask(method, url, headers, content)
            if not location:
                return page
            try:
                following = urljoin(url, location)
            except ValueError:
                raise NoAnswer(f"{bare(url)} redirects to an address that cannot be understood") from None
            if not same_place(following, self.target_url) or is_excluded(following, self.exclude_paths):
                return Page(page.url, page.status, page.body, following)
            if page.status not in _KEEPS_ITS_METHOD:
                method, headers, content = "GET", {}, None
            url = following
        raise NoAnswer(f"{bare(url)} is behind more than {MAX_HOPS} redirects")

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> tuple[Page, str | None]:
        problem = "its name stands for no address"
        for address in self.addresses or ("",):
            try:
                return await self._ask_at(address, method, url, headers, content)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                problem = words(error)
            except TROUBLES as error:
                # Here something was perhaps sent: not again to another address.
                raise NoAnswer(f"{bare(url)} does not answer: {words(error)}") from error
        raise NoAnswer(f"{bare(url)} does not answer: {problem}")

    async def _ask_at(
        self, address: str, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[Page, str | None]:
        sent = {"Accept": "text/html,application/json,*/*", **headers, **self.headers}
        if self.cookies and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with asked(self.client, method, url, sent, address, content) as answer:
            self._keep(answer.headers.get_list("set-cookie"))
            location = answer.headers.get("location") if answer.has_redirect_location else None
            return Page(url, answer.status_code, await beginning(answer)), location

    def _keep(self, lines: Sequence[str]) -> None:
        for line in lines:
            pair, *attributes = (part.strip() for part in line.split(";"))
            name, equals, value = pair.partition("=")
            if not (name and equals):
                continue
            self.cookies.pop(name, None)
            # An empty value or an age of none is how an application takes a cookie back.
            if value and not any(attribute.lower().replace(" ", "") in ("max-age=0", "max-age=-1") for attribute in attributes):
                self.cookies[name] = value


@asynccontextmanager
async def visit(
    target_url: str, addresses: Sequence[str], exclude_paths: Sequence[str], headers: Mapping[str, str] | None = None
) -> AsyncIterator[Visit]:
    """Raises NoAnswer when it takes longer than VISIT_SECONDS. `exclude_paths` are not asked for when a redirect leads there."""
    try:
        async with asyncio.timeout(VISIT_SECONDS), open_target_client() as client:
            yield Visit(client, target_url, addresses, exclude_paths, headers or {})
    except TimeoutError:
        raise NoAnswer(f"the target did not answer within {VISIT_SECONDS:g} s") from None
