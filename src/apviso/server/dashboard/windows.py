"""Windows of the week in a form: a row each of days, times and a time zone, the empty ones at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apviso.protocol.times import Window
from apviso.server.dashboard.forms import Form

EMPTY_ROWS = 2
WRONG = "Each window needs at least one day, a start and an end as 09:30, and a time zone as Europe/Berlin."


def rows_of(windows: Sequence[Window]) -> list[dict[str, Any]]:
    return _with_empty([one.model_dump(by_alias=True) for one in windows])


def rows_again(form: Form) -> list[dict[str, Any]]:
    """As they were written, to show the form again."""
    return _with_empty(_written(form))


def wanted(form: Form) -> list[dict[str, Any]]:
    """As the API takes them."""
    return [one | {"timeZone": one["timeZone"] or "UTC"} for one in _written(form)]


def _with_empty(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, *({} for _ in range(EMPTY_ROWS))]


def _written(form: Form) -> list[dict[str, Any]]:
    """The rows in which a time was written."""
    rows: list[dict[str, Any]] = []
    number = 0
    while form.has(f"start{number}"):
        start, end = form.text(f"start{number}"), form.text(f"end{number}")
        if start or end:
            days = [int(day) for day in form.all(f"days{number}") if day.isdecimal()]
            rows.append({"start": start, "end": end, "days": days, "timeZone": form.text(f"zone{number}")})
        number += 1
    return rows
