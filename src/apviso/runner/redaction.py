"""Keeps known secrets out of everything that leaves the process: calls, events, errors, log files. It cannot know what it was not told."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from pydantic import JsonValue

# Shorter values occur by chance in honest text; replacing them would shred every report. `doctor` warns of them.
MIN_SECRET_LENGTH = 6
# No longer than the shortest secret: text that met a length limit before still meets it.
PLACEHOLDER = "******"
# Fields that are closed lists or made by the runner itself: a password that reads like a state must not break the protocol.
PROTOCOL_FIELDS = frozenset(
    {
        "type", "at", "seq", "level", "severity", "status", "endReason", "errorCode", "bootId", "nonce", "jobId",
        "version", "os", "arch", "containerEngine", "knownCancels", "attempt", "lastSeq",
    }
)  # fmt: skip
# Below any other name such a field is somebody's free text that only shares the name.
PROTOCOL_PLACES = frozenset({"events", "finding", "runningJobs"})


def forms_of(secret: str) -> set[str]:
    """How a secret may be written: plain, percent-encoded, in JSON, in HTML, and in base64 at each of the three alignments."""
    plain = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), html.escape(secret)}
    plain |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return plain | {form.lower() for form in plain if "%" in form} | _base64_forms(secret.encode())


def _base64_forms(raw: bytes) -> set[str]:
    # Within longer text the first and last characters of a base64 run mix with neighbors; only the inner ones are certain.
    forms = set()
    for shift in range(3):
        padded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        inner = padded[(0, 2, 3)[shift] : len(padded) - (1 if (shift + len(raw)) % 3 else 0)]
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= MIN_SECRET_LENGTH}


class Redactor:
    """The secrets known so far. Adding is cheap and may happen at any time, from the event loop's thread."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.learn(*secrets)

    def __repr__(self) -> str:
        return f"Redactor({len(self._forms)} forms)"

    def learn(self, *secrets: str) -> None:
        known = len(self._forms)
        for secret in secrets:
            if len(secret) >= MIN_SECRET_LENGTH:
                self._forms |= forms_of(secret)
        if len(self._forms) != known:
            # The longest first: otherwise the rest of a longer form would stay.
            self._pattern = re.compile("|".join(re.escape(form) for form in sorted(self._forms, key=len, reverse=True)))

    def text(self, value: str) -> str:
        return self._pattern.sub(PLACEHOLDER, value) if self._pattern else value

    def json(self, value: JsonValue, *, is_protocol: bool = True) -> JsonValue:
        """The same value with every secret replaced, in keys too; the protocol's own fields stay as they are.

        `is_protocol` is whether `value` is a message of the protocol or a place in one that holds its fields.
        """
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.json(item, is_protocol=is_protocol) for item in value]
            case dict():
                return {self.text(key): self._member(key, item, is_protocol) for key, item in value.items()}
            case _:
                return value

    def _member(self, key: str, item: JsonValue, is_protocol: bool) -> JsonValue:
        if is_protocol and key in PROTOCOL_FIELDS and not isinstance(item, dict | list):
            return item
        return self.json(item, is_protocol=is_protocol and key in PROTOCOL_PLACES)
