"""A stream of server-sent events, read line by line: what each line means, where to go on after a lost connection, when it is over."""

from __future__ import annotations

import json
from typing import Any

from apviso.client.calls import EVENTS, Answered, Call
from apviso.client.errors import ApvisoError, Unreachable, UnreadableAnswer
from apviso.client.repeating import WAITING_ATTEMPTS, Patience

# The server says something each 15 s; a stream that is silent for longer is dead.
SILENCE_SECONDS = 45.0
MAX_LINE_CHARACTERS = 1024**2
KEPT_ALIVE = ": keep-alive"


class Following:
    """One stream over as many connections as it takes. An event of the type `end` is the last."""

    def __init__(self, path: str, query: tuple[tuple[str, str], ...] = ()) -> None:
        self._path = path
        self._query = query
        self._patience = Patience(may_repeat=True)
        self._last_id: str | None = None
        self._fields: dict[str, str] = {}
        self.has_ended = False

    def call(self) -> Call[None]:
        """The call that opens the stream, after what has been read of it already."""
        self._fields = {}
        resume = () if self._last_id is None else (("last-event-id", self._last_id),)
        return Call(
            "GET", self._path, _nothing, self._query, headers=(("accept", EVENTS), *resume), may_repeat=True, seconds=SILENCE_SECONDS
        )

    def read(self, line: str) -> dict[str, Any] | None:
        """The event that this line completes."""
        if len(line) > MAX_LINE_CHARACTERS:
            raise UnreadableAnswer(f"a line of the stream {self._path} is longer than {MAX_LINE_CHARACTERS} characters")
        if line:
            name, _, value = line.partition(":")
            if line.startswith(KEPT_ALIVE):
                # It has lived for a while; what is cut off now and then is no reason to give up a scan that waits for hours.
                self._lives()
            if name in {"id", "event", "data"}:
                self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        return self._event(fields) if "data" in fields else None

    def _event(self, fields: dict[str, str]) -> dict[str, Any]:
        try:
            event = json.loads(fields["data"])
        except ValueError as error:
            raise UnreadableAnswer(f"the stream {self._path} is not the control plane's") from error
        if not isinstance(event, dict):
            raise UnreadableAnswer(f"the stream {self._path} is not the control plane's")
        self._lives()
        self._last_id = fields.get("id", self._last_id)
        self.has_ended = fields.get("event") == "end"
        return event | ({"type": "end"} if self.has_ended else {})

    def _lives(self) -> None:
        self._patience = Patience(may_repeat=True, attempts=WAITING_ATTEMPTS)

    def delay_after(self, error: ApvisoError) -> float | None:
        """Seconds until the stream is opened again; None where there is no use in it."""
        return self._patience.delay_after(error)

    def cut_off(self) -> Unreachable:
        """The stream ended before its end: the server stopped, or its key may no longer see it."""
        return Unreachable("the stream ended before its end")


def _nothing(answered: Answered) -> None:
    """A stream is read by its lines."""
