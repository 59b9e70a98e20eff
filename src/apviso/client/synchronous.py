"""The client that answers when it is done. What is said and how it is read is decided elsewhere; here it is sent and waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self, TypeVar

import httpx2

from apviso.client.answers import Collecting, read_answer, refusal
from apviso.client.calls import Answered, Call
from apviso.client.connection import CANNOT_OPEN, LOST, Connection, bad_proxy
from apviso.client.endpoints import Blocking, Steps
from apviso.client.errors import ApvisoError
from apviso.client.following import Following
from apviso.client.listing import Answer, Item, Listing
from apviso.client.repeating import patience_for
from apviso.client.resources import Resources

T = TypeVar("T")


class Client(Resources[Blocking]):
    """Use it as a context. What is not given comes from the environment; HTTPS_PROXY and NO_PROXY apply. Raises BadSettings."""

    def __init__(self, api_url: str | None = None, api_key: str | None = None, *, custom_ca: Path | str | None = None) -> None:
        self._connection = Connection.of(api_url, api_key, custom_ca)
        words = self._connection.words()
        try:
            self._http = httpx2.Client(**words)
        except CANNOT_OPEN as error:
            raise bad_proxy() from error
        super().__init__(self)

    @property
    def api_url(self) -> str:
        return self._connection.api_url

    def __repr__(self) -> str:
        return f"Client({self._connection.api_url!r}, {str(self._connection.api_key)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *how: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def perform(self, call: Call[T]) -> T:
        patience = patience_for(call)
        while True:
            try:
                return read_answer(call, self._exchange(call))
            except ApvisoError as error:
                delay = patience.delay_after(error)
                if delay is None:
                    raise
            sleep(delay)

    def take(self, steps: Steps[T]) -> T:
        """Perform each call of `steps` in its turn."""
        answer: Any = None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = self.perform(call)

    def each(self, listing: Listing[Answer, Item]) -> Iterator[Item]:
        call: Call[Answer] | None = listing.first
        while call is not None:
            answer = self.perform(call)
            yield from listing.items(answer)
            call = listing.after(answer)

    def follow(self, following: Following) -> Iterator[dict[str, Any]]:
        while not following.has_ended:
            try:
                yield from self._stream(following)
                error: ApvisoError = following.cut_off()
            except ApvisoError as failure:
                error = failure
            if not following.has_ended:
                delay = following.delay_after(error)
                if delay is None:
                    raise error
                sleep(delay)

    def _stream(self, following: Following) -> Iterator[dict[str, Any]]:
        call = following.call()
        try:
            with self._http.stream(**self._connection.request(call)) as response:
                if response.status_code != 200:
                    raise refusal(self._collect(call, response))
                for line in response.iter_lines():
                    event = following.read(line)
                    if event is not None:
                        yield event
        except LOST as error:
            raise self._connection.unreachable(error) from error

    def _exchange(self, call: Call[Any]) -> Answered:
        try:
            with self._http.stream(**self._connection.request(call)) as response:
                return self._collect(call, response)
        except LOST as error:
            raise self._connection.unreachable(error) from error

    def _collect(self, call: Call[Any], response: httpx2.Response) -> Answered:
        collecting = Collecting(call, monotonic() + call.seconds)
        for part in response.iter_bytes():
            collecting.add(part, monotonic())
        return Answered(response.status_code, dict(response.headers), collecting.whole())
