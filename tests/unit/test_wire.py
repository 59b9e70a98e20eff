"""The base of every message: names outside and inside, times, and what never enters."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from apviso.protocol.daemon import Finish, Heartbeat
from apviso.protocol.states import EndReason, Scope
from apviso.protocol.wire import MAX_FACTS_CHARACTERS, MAX_FACTS_DEPTH, Facts, Instant, Name, Text, format_instant

_facts: TypeAdapter[dict[str, Any]] = TypeAdapter(Facts)
_instant: TypeAdapter[datetime] = TypeAdapter(Instant)


def test_message_is_camel_case_outside_and_ignores_what_it_does_not_know() -> None:
    beat = Heartbeat.model_validate_json('{"bootId": "b", "beatSeq": 1, "version": "0.1.0", "promoCode": "SPRING"}')

    written = beat.model_dump(by_alias=True)

    assert beat.boot_id == "b"
    assert {"bootId", "lastClaimPollAgeMs"} <= set(written)
    assert "promoCode" not in written


# The strategy wants bounds without zone and adds one itself.
_MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9990, 1, 1), timezones=st.timezones())  # noqa: DTZ001


@given(_MOMENTS)
def test_time_of_any_zone_is_written_in_utc_with_whole_seconds(moment: datetime) -> None:
    written = format_instant(moment)

    assert abs(_instant.validate_python(written) - moment) < timedelta(seconds=1)
    assert written.endswith("Z")
    assert len(written) == len("2026-05-03T09:15:32Z")


@pytest.mark.parametrize("text", ["2026-05-03T09:15:32", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_time_without_zone_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        _instant.validate_python(text)


def test_time_is_kept_in_utc() -> None:
    moment = _instant.validate_python(datetime(2026, 5, 3, 11, 15, 32, tzinfo=timezone(timedelta(hours=2))))

    assert (moment.tzinfo, moment.hour) == (UTC, 9)


@pytest.mark.parametrize(
    "facts",
    [
        {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}},
        {"a": "x" * MAX_FACTS_CHARACTERS},
        {"a": "\x00"},
        {"\x00": 1},
        {"a": [{"b": "\x00"}]},
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": "\ud800"},
    ],
)
def test_facts_too_deep_too_long_or_unspeakable_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _facts.validate_python(facts)


@pytest.mark.parametrize("facts", [{}, {"a": {"b": {"c": {"d": {"e": 1}}}}}, {"a": "\\u0000"}, {"ключ": ["значение", 1.5, None, True]}])
def test_facts_of_ordinary_shape_are_kept_as_they_are(facts: dict[str, Any]) -> None:
    assert _facts.validate_python(facts) == facts


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=8)
    | st.sampled_from(["NaN", "\x00", "\\u0000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)


def _nesting(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_nesting, inner), default=0)


def _speakable(value: Any) -> bool:
    match value:
        case dict():
            return all(_speakable(key) and _speakable(item) for key, item in value.items())
        case list():
            return all(map(_speakable, value))
        case str():
            return "\x00" not in value and not any("\ud800" <= sign <= "\udfff" for sign in value)
        case float():
            return math.isfinite(value)
        case _:
            return True


@example(facts={"a": {"b": {"c": {"d": {"e": {}}}}}}, filling=0)
@example(facts={"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}, filling=0)
@given(facts=st.dictionaries(st.text(max_size=4), _values, max_size=4), filling=st.sampled_from([0, 1_900, 2_100, MAX_FACTS_CHARACTERS]))
def test_facts_are_kept_exactly_within_their_bounds(facts: dict[str, Any], filling: int) -> None:
    facts = facts | {"filling": "x" * filling} if filling else facts
    written = json.dumps(facts, ensure_ascii=False) if _speakable(facts) else ""
    is_allowed = written != "" and len(written) <= MAX_FACTS_CHARACTERS and _nesting(facts) <= MAX_FACTS_DEPTH

    try:
        kept = _facts.validate_python(facts)
    except ValidationError:
        kept = None

    assert kept == (facts if is_allowed else None)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\udfffx"])
def test_text_that_no_database_could_keep_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Text).validate_python(text)


@pytest.mark.parametrize(("text", "expected"), [(" rack 7 ", "rack 7"), ("x" * 120, "x" * 120)])
def test_name_is_stripped_and_kept(text: str, expected: str) -> None:
    assert TypeAdapter(Name).validate_python(text) == expected


@pytest.mark.parametrize("reason", EndReason)
def test_finish_takes_each_reason_with_exactly_one_status(reason: EndReason) -> None:
    taken = []
    for status in ("completed", "failed", "cancelled"):
        try:
            Finish.model_validate({"attempt": 1, "status": status, "endReason": reason, "lastSeq": 0})
        except ValidationError:
            continue
        taken.append(status)

    assert len(taken) == 1


@pytest.mark.parametrize("needed", Scope)
def test_scope_grants_itself_its_family_and_to_admin_everything(needed: Scope) -> None:
    family = Scope(needed.partition(":")[0] + ":*") if ":" in needed else Scope.ADMIN

    granting = {scope for scope in Scope if scope.grants(needed)}

    assert granting == {needed, family, Scope.ADMIN}
