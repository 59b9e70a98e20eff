"""What a form of a page sends, and what is said beside its fields."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from pydantic import ValidationError

from apviso.client.errors import ApvisoError
from apviso.server.accounts.errors import Declined

MOST_FIELDS = 200


class Form:
    """The fields of a form as a browser sends them, without a file."""

    def __init__(self, body: bytes) -> None:
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
        except ValueError:  # also for bytes that are no UTF-8
            pairs = []
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value.replace("\r\n", "\n"))

    def text(self, name: str) -> str:
        """What was written, without the white space around it; empty where nothing was."""
        return self._values.get(name, [""])[-1].strip()

    def raw(self, name: str) -> str:
        """What was written, to the letter: a password."""
        return self._values.get(name, [""])[-1]

    def new_password(self) -> str:
        """What was written twice, as `password` and `again`. Raises Declined where the two differ."""
        if not hmac.compare_digest(self.raw("password").encode(), self.raw("again").encode()):
            raise Declined("The two passwords differ.", "again")
        return self.raw("password")

    def maybe(self, name: str) -> str | None:
        return self.text(name) or None

    def all(self, name: str) -> list[str]:
        """Of boxes that may be ticked together."""
        return self._values.get(name, [])

    def has(self, name: str) -> bool:
        return name in self._values

    def number(self, name: str) -> int | None:
        """A whole number; None for anything else."""
        text = self.text(name)
        return int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 16 else None

    def texts(self) -> Mapping[str, str]:
        """The last value of each field, to show the form again."""
        return {name: values[-1] for name, values in self._values.items()}


def errors_of(error: ApvisoError | ValidationError) -> dict[str, str]:
    """What to say beside each field, by the field's name outside; under "" what is about the whole form."""
    if isinstance(error, ValidationError):
        return {str(item["loc"][0]) if item["loc"] else "": item["msg"] for item in error.errors()}
    whole = error.detail if error.problem is None else error.problem.error
    return {one.field.partition(".")[0]: one.message for one in error.fields} or {"": whole}
