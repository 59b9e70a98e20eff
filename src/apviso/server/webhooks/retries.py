"""Decides what becomes of a delivery after an attempt: taken, tried again, given up, or the end of the webhook. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from apviso.protocol.webhooks import TEST_EVENT
from apviso.server.webhooks.facts import Claimed, Kind, Outcome

# A bit more than a day in all, so that a receiver may be away for a night and its morning.
PAUSES = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 21_600, 28_800)
)  # fmt: skip
# Receivers that fail together are not all asked again at the same moment. Only ever longer: the sum stays more than a day.
MOST_SPREAD = 0.2
DISABLED_AFTER = timedelta(hours=24)
# What a receiver may ask for with Retry-After.
LONGEST_WISH = timedelta(hours=6)
GONE = 410


class Verdict(StrEnum):
    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class Next:
    """`at` is the next attempt; `disabled_for` says why the whole webhook ends, where it does."""

    verdict: Verdict
    at: datetime | None = None
    disabled_for: str | None = None


def after(delivery: Claimed, outcome: Outcome, now: datetime, spread: float) -> Next:
    """What becomes of `delivery`; `spread` is a random number from 0 to 1."""
    if outcome.error is None:
        return Next(Verdict.SUCCEEDED)
    if outcome.status == GONE and delivery.kind is Kind.WEBHOOK:
        return Next(Verdict.GIVEN_UP, disabled_for="The receiver answered 410: it is gone for good.")
    if delivery.event == TEST_EVENT:
        # Somebody is looking at how it goes.
        return Next(Verdict.GIVEN_UP)
    if delivery.attempt <= len(PAUSES):
        return Next(Verdict.RETRIED, now + _pause(delivery.attempt, outcome, spread))
    return Next(Verdict.GIVEN_UP, disabled_for=_has_failed_for_a_day(delivery, now))


def _pause(attempt: int, outcome: Outcome, spread: float) -> timedelta:
    pause = PAUSES[attempt - 1] * (1 + MOST_SPREAD * spread)
    wish = timedelta(seconds=min(outcome.retry_after_seconds or 0.0, LONGEST_WISH.total_seconds()))
    return max(pause, wish)


def _has_failed_for_a_day(delivery: Claimed, now: datetime) -> str | None:
    # Nobody could switch a service of the operator's on again.
    since = delivery.failing_since
    if delivery.kind is Kind.NOTIFY or since is None or now - since < DISABLED_AFTER:
        return None
    return "Every delivery has failed for more than a day."
