"""Whether an enrollment token may be exchanged, and whether a request repeats an earlier one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.enrollment.exchange import Exchange, KnownEnrollment, digest_of, judge
from apviso.server.errors import EnrollmentTokenExpired, EnrollmentTokenRevoked, EnrollmentTokenUsed, Refusal
from tests.unit.known import NOW, TIMERS, seconds

KEY, OTHER = digest_of("a-random-exchange-key"), digest_of("another-exchange-key")
FRESH = KnownEnrollment(
    prefix="a1b2c3d4e5f6",
    organization_id=OrganizationId("acme"),
    digest="digest",
    name=None,
    labels=[],
    ephemeral=False,
    expires_at=NOW + seconds(1),
    revoked_at=None,
    used_at=None,
    exchange_key_sha256=None,
    runner_id=None,
)
USED = replace(FRESH, used_at=NOW - seconds(600), exchange_key_sha256=KEY, runner_id=RunnerId("runner-1"))


@pytest.mark.parametrize("key", [None, KEY])
def test_fresh_token_is_exchanged(key: str | None) -> None:
    assert judge(FRESH, key, NOW, TIMERS.exchange_retry_window) is Exchange.NEW


def test_used_token_with_its_exchange_key_is_a_repeat_for_ten_minutes() -> None:
    assert judge(USED, KEY, NOW, TIMERS.exchange_retry_window) is Exchange.REPEAT


def test_used_token_is_a_repeat_even_when_it_has_expired_meanwhile() -> None:
    assert judge(replace(USED, expires_at=NOW - seconds(1)), KEY, NOW, TIMERS.exchange_retry_window) is Exchange.REPEAT


@pytest.mark.parametrize(
    ("differences", "key", "refusal"),
    [
        ({"used_at": NOW - seconds(601)}, KEY, EnrollmentTokenUsed),
        ({}, OTHER, EnrollmentTokenUsed),
        ({}, None, EnrollmentTokenUsed),
        ({"exchange_key_sha256": None}, None, EnrollmentTokenUsed),
        ({"exchange_key_sha256": None}, KEY, EnrollmentTokenUsed),
        ({"used_at": None, "revoked_at": NOW}, KEY, EnrollmentTokenRevoked),
        ({"used_at": None, "expires_at": NOW}, KEY, EnrollmentTokenExpired),
        ({"used_at": None, "expires_at": NOW, "revoked_at": NOW}, KEY, EnrollmentTokenRevoked),
    ],
)
def test_token_that_cannot_be_exchanged_says_why(differences: dict[str, Any], key: str | None, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        judge(replace(USED, **differences), key, NOW, TIMERS.exchange_retry_window)


def test_known_token_shows_neither_digest_nor_exchange_key() -> None:
    assert "digest'" not in repr(USED)
    assert str(KEY) not in repr(USED)
