"""Tokens: their shape, what is kept of them, and that no representation shows the secret."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.daemon import Registered, RegisteredRunner, Registration
from apviso.protocol.tokens import Namespace, new_token, parse_token, without_secrets
from apviso.protocol.wire import RunnerId
from tests.unit.known import NOW


@pytest.mark.parametrize("namespace", Namespace)
def test_token_has_the_shape_of_the_contract_and_reads_back(namespace: Namespace) -> None:
    token = new_token(namespace)

    text = token.reveal()

    assert re.fullmatch(rf"{namespace}_[0-9a-f]{{12}}_[A-Za-z0-9_-]{{43}}", text)
    assert parse_token(text) == token
    assert parse_token(f" {text}\n") == token


@pytest.mark.parametrize(
    "text",
    ["", "apvr", "apvx_a1b2c3d4e5f6_" + "A" * 43, "apvr_A1B2C3D4E5F6_" + "A" * 43, "apvr_a1b2c3d4e5f6_" + "A" * 42,
     "apvr_a1b2c3d4e5f6_" + "A" * 44, "apvr_a1b2c3d4e5f6_" + "A" * 42 + "é", "Bearer apvr_a1b2c3d4e5f6_" + "A" * 43],
)  # fmt: skip
def test_text_that_is_no_token_is_none(text: str) -> None:
    assert parse_token(text) is None


@given(st.text(max_size=100))
def test_text_of_any_kind_is_parsed_without_an_error(text: str) -> None:
    token = parse_token(text)

    assert token is None or token.reveal() == text.strip()


def test_token_shows_its_secret_only_when_revealed() -> None:
    token = new_token(Namespace.RUNNER)

    assert token.secret not in repr(token) + str(token) + f"{token}"
    assert token.prefix in str(token)


def test_token_matches_its_own_digest_alone() -> None:
    token, other = new_token(Namespace.RUNNER), new_token(Namespace.RUNNER)

    assert token.matches(token.digest())
    assert not token.matches(other.digest())
    assert token.secret not in token.digest()


def test_token_derived_twice_for_one_purpose_is_the_same_and_tells_nothing_of_its_origin() -> None:
    token = new_token(Namespace.RUNNER)

    first, again, other = (token.derive(Namespace.JOB, purpose) for purpose in ("scan:1", "scan:1", "scan:2"))

    assert first == again
    assert (first.prefix, first.secret) != (other.prefix, other.secret)
    assert parse_token(first.reveal()) == first
    assert token.secret not in first.reveal()


def test_messages_that_carry_secrets_do_not_show_them() -> None:
    token = new_token(Namespace.ENROLLMENT).reveal()
    asked = Registration(enrollment_token=token, exchange_key="a-random-exchange-key", version="0.1.0")
    runner = RegisteredRunner(id=RunnerId("runner-1"), name="n")
    told = Registered(token=token, runner=runner, heartbeat_interval_ms=1, server_time=NOW)

    assert token not in repr(asked) + str(asked) + repr(told) + str(told)
    assert "a-random-exchange-key" not in repr(asked)


@pytest.mark.parametrize("around", ["{}", "Bearer {}", '{{"token": "{}"}}', "/api/v1/runners/{}/history", "{},{}", "x{}", "{}-and-more"])
@pytest.mark.parametrize("namespace", Namespace)
def test_text_with_tokens_in_it_keeps_everything_but_their_secrets(namespace: Namespace, around: str) -> None:
    token = new_token(namespace)

    told = without_secrets(around.format(token.reveal(), token.reveal()))

    assert token.secret not in told
    assert told.removesuffix("-and-more") == around.removesuffix("-and-more").format(token, token)


def test_text_without_a_token_is_told_as_it_is() -> None:
    text = "apvr is no token, nor are apvr_a1b2c3d4e5f6 and apvx_a1b2c3d4e5f6_secret"

    assert without_secrets(text) == text
