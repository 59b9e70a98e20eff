"""Cutting untrusted output into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.runner.engines import Line, Spoken, Swallowed
from apviso.runner.engines.lines import LineCutter, OutputFlood


def cut(cutter: LineCutter, chunks: list[bytes]) -> list[Line]:
    return [line for chunk in chunks for line in cutter.feed(chunk)] + cutter.end()


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")), max_size=20), st.integers(1, 40))
def test_lines_cut_anywhere_come_out_as_they_went_in(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)

    found = cut(LineCutter(), [stream[start : start + size] for start in range(0, len(stream), size)])

    assert found == [Spoken(line) for line in lines]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_line_above_the_bound_is_swallowed_whole_and_the_next_one_survives(size: int) -> None:
    stream = b"a" * 50 + b"\nshort\n" + b"b" * 11 + b"\n0123456789\n"

    found = cut(LineCutter(max_line=10), [stream[start : start + size] for start in range(0, len(stream), size)])

    assert found == [Swallowed(50), Spoken(b"short"), Swallowed(11), Spoken(b"0123456789")]


def test_line_without_an_end_is_given_at_the_end() -> None:
    assert cut(LineCutter(error=True), [b"one\r\ntw", b"o"]) == [Spoken(b"one", error=True), Spoken(b"two", error=True)]


def test_output_above_the_total_bound_is_a_flood() -> None:
    cutter = LineCutter(max_total=100)
    cutter.feed(b"x" * 100)

    with pytest.raises(OutputFlood):
        cutter.feed(b"y")


def test_more_lines_than_the_bound_are_a_flood_however_short() -> None:
    cutter = LineCutter(most_lines=100)
    cutter.feed(b"\n" * 100)

    with pytest.raises(OutputFlood):
        cutter.feed(b"\n")
