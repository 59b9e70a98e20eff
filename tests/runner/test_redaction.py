"""No known secret gets out, however it is written; the protocol stays intact."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import JsonValue

from apviso.runner.redaction import MIN_SECRET_LENGTH, PLACEHOLDER, Redactor

CANARY = 'c&n=ry+"42/ümläut secret'
secrets = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=MIN_SECRET_LENGTH, max_size=40)


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        quote(CANARY),
        quote(CANARY, safe=""),
        quote(CANARY, safe="").lower(),
        quote_plus(CANARY),
        html.escape(CANARY),
        json.dumps(CANARY)[1:-1],
        json.dumps(CANARY, ensure_ascii=False)[1:-1],
    ],
)
def test_secret_in_any_written_form_is_replaced(written: str) -> None:
    clean = Redactor([CANARY]).text(f"before {written} after")

    assert clean == f"before {PLACEHOLDER} after"


@pytest.mark.parametrize("prefix", ["", "u", "us", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_secret_inside_base64_is_replaced_at_every_alignment(prefix: str, encode: object) -> None:
    assert callable(encode)
    written = encode(f"{prefix}{CANARY}, and more".encode()).decode()

    clean = Redactor([CANARY]).text(written)

    # Only the characters at the two seams, which also carry bits of the neighbors, may stay.
    assert PLACEHOLDER in clean
    assert len(written) - len(clean.replace(PLACEHOLDER, "")) >= len(CANARY.encode()) * 4 // 3 - 3


@given(secret=secrets, before=st.text(max_size=20), after=st.text(max_size=20))
def test_secret_between_any_text_does_not_remain(secret: str, before: str, after: str) -> None:
    assume(secret not in PLACEHOLDER and not set(secret) <= set(PLACEHOLDER))

    clean = Redactor([secret]).text(before + secret + after)

    assert secret not in clean.replace(PLACEHOLDER, "\0")
    assert len(clean) <= len(before + secret + after)


def test_secret_in_nested_values_and_keys_is_replaced() -> None:
    clean = Redactor([CANARY]).json({"a": [{"b": f"x{CANARY}"}], CANARY: 1, "n": 5, "none": None, "flag": True})

    assert clean == {"a": [{"b": f"x{PLACEHOLDER}"}], PLACEHOLDER: 1, "n": 5, "none": None, "flag": True}


def test_secret_that_reads_like_a_state_leaves_the_protocol_fields_alone() -> None:
    clean = Redactor(["completed"]).json({"status": "completed", "errorMessage": "not completed"})

    assert clean == {"status": "completed", "errorMessage": f"not {PLACEHOLDER}"}


def test_longer_secret_that_contains_a_shorter_one_leaves_no_rest() -> None:
    redactor = Redactor(["hunter2", "hunter2-and-more"])

    assert redactor.text("hunter2-and-more") == PLACEHOLDER


def test_secret_that_is_too_short_is_left_because_it_would_shred_the_text() -> None:
    assert Redactor(["abc"]).text("abc abcde") == "abc abcde"


def test_redactor_shows_no_secret_in_its_repr() -> None:
    assert "hunter" not in repr(Redactor(["hunter2222"]))


def test_secret_in_free_text_that_shares_a_name_with_a_protocol_field_is_replaced() -> None:
    body: JsonValue = {
        "status": "failed",
        "runtimeMetadata": {"status": CANARY},
        "events": [{"type": "stats", "refusals": {"status": CANARY}}, {"type": "finding", "finding": {"cvssVector": CANARY}}],
    }

    clean = Redactor([CANARY, "failed"]).json(body)

    assert clean == {
        "status": "failed",
        "runtimeMetadata": {"status": PLACEHOLDER},
        "events": [
            {"type": "stats", "refusals": {"status": PLACEHOLDER}},
            {"type": "finding", "finding": {"cvssVector": PLACEHOLDER}},
        ],
    }
