"""Times as people write them: time zones, days of the week, and windows of the day that come again every week."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import AfterValidator, Field

from apviso.protocol.wire import Wire

MAX_WINDOWS = 20


@cache
def zone_names() -> frozenset[str]:
    """Those of the IANA data that comes with the product: every host takes the same ones."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _known_zone(name: str) -> str:
    if name not in zone_names():
        raise ValueError("is no time zone of the IANA database; write it as in Europe/Berlin")
    return name


TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_known_zone)]
# 0 is Sunday.
Day = Annotated[int, Field(ge=0, le=6)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)]


class Window(Wire):
    """A stretch of the day. `days` are those on which it begins; one that ends no later than it starts ends on the next day."""

    days: Annotated[list[Day], Field(min_length=1, max_length=7)] = [0, 1, 2, 3, 4, 5, 6]
    start: TimeOfDay
    end: TimeOfDay
    time_zone: TimeZone = "UTC"


Windows = Annotated[list[Window], Field(max_length=MAX_WINDOWS)]
