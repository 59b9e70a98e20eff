"""The base of every wire model and the few value types that all of them share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, NewType, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import to_json

OrganizationId = NewType("OrganizationId", str)
RunnerId = NewType("RunnerId", str)
TargetId = NewType("TargetId", str)
ScanId = NewType("ScanId", str)
JobId = NewType("JobId", str)
FindingId = NewType("FindingId", str)
ScheduleId = NewType("ScheduleId", str)

# Identities are written into URLs and logs; nothing longer is ever issued.
MAX_ID_LENGTH = 64
# Room for a page of nested facts; a runner that sends more is broken or hostile.
MAX_FACTS_CHARACTERS = 16_384
MAX_FACTS_DEPTH = 6


class Wire(BaseModel):
    """Base of every wire model: snake_case here, camelCase outside, unknown input ignored, immutable.

    A null for a field that has a default and knows no null counts as left out: many clients write every field they know.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, told: object) -> object:
        if not isinstance(told, dict) or None not in told.values():
            return told
        optional = _defaulted(cls)
        return {name: value for name, value in told.items() if value is not None or name not in optional}


@cache
def _defaulted(model: type[BaseModel]) -> frozenset[str]:
    """Names, inside and outside, of the fields that have a default and do not take null."""
    fields = [(name, field) for name, field in model.model_fields.items() if not field.is_required()]
    return frozenset(key for name, field in fields if type(None) not in get_args(field.annotation) for key in (name, field.alias or name))


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this time is out of range") from error


def format_instant(value: datetime) -> str:
    """The contract's one way to write a time: UTC, whole seconds, `Z`."""
    # Not strftime: it writes early years with less than four digits.
    return value.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(format_instant, return_type=str, when_used="json")]


def _without_nul(value: str) -> str:
    # PostgreSQL cannot store U+0000 in text; refusing it here keeps both databases alike.
    if "\x00" in value:
        raise ValueError("must not contain the character U+0000")
    # JSON can escape half of a surrogate pair; no answer and no database could carry it on.
    if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise ValueError("must not contain half of a surrogate pair")
    return value


def cut_to(most: int) -> BeforeValidator:
    """Keeps the beginning of a text that is longer. For what a scan says: one long line must not hold up all that follow."""

    def cut(value: object) -> object:
        return value[: most - len(_CUT)] + _CUT if isinstance(value, str) and len(value) > most else value

    return BeforeValidator(cut)


_CUT = "\n[cut]"


def _depth(value: JsonValue) -> int:
    depth, layer = 0, [value]
    while layer and depth <= MAX_FACTS_DEPTH:
        inner: list[JsonValue] = []
        for item in layer:
            inner.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        depth, layer = depth + 1, inner
    return depth


_WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
# No value is written more than this many times longer by one encoder than by the other: 1e15 has 18 characters, or 4.
_MOST_LONGER = 8
# What is written in no more characters than these is not too long, however it is written.
NEVER_TOO_LONG = MAX_FACTS_CHARACTERS // _MOST_LONGER


def is_plain(value: dict[str, JsonValue]) -> bool:
    """Whether one look at the encoded facts shows that they keep every bound: each heartbeat has three of them."""
    try:
        written = to_json(value)
    except ValueError:
        return False
    if len(written) > NEVER_TOO_LONG or written.count(b"{") + written.count(b"[") >= MAX_FACTS_DEPTH:
        return False
    # What may be no number of JSON, and what may be U+0000.
    return b"NaN" not in written and b"Infinity" not in written and b"\\u0000" not in written


def _bounded(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if is_plain(value):
        return value
    if _depth(value) > MAX_FACTS_DEPTH:
        raise ValueError(f"is nested more than {MAX_FACTS_DEPTH} levels deep")
    try:
        written = _WRITER.encode(value)
        written.encode()
    except ValueError as error:
        raise ValueError("must not contain infinite numbers or half of a surrogate pair") from error
    if len(written) > MAX_FACTS_CHARACTERS:
        raise ValueError(f"is longer than {MAX_FACTS_CHARACTERS} characters")
    if "\\u0000" in written and _has_nul(value):
        raise ValueError("must not contain the character U+0000")
    return value


def _has_nul(value: JsonValue) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any("\x00" in key or _has_nul(item) for key, item in value.items())
        case list():
            return any(_has_nul(item) for item in value)
        case _:
            return False


Text = Annotated[str, AfterValidator(_without_nul)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), AfterValidator(_without_nul)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_without_nul)]
Note = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_without_nul)]
Url = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_without_nul)]
Facts = Annotated[dict[str, JsonValue], AfterValidator(_bounded)]
