"""Decides how many messages may be on their way to whom, so that receivers that hang leave room for the others. Pure."""

from __future__ import annotations

from collections import Counter

# Messages under way in one process; of them to one receiver that answers soon; and to all that do not.
MOST_AT_ONCE, MOST_TO_ONE, MOST_TO_SLOW = 64, 4, 32
# Who takes longer is slow until it has answered sooner.
SLOW_SECONDS = 2.0
# Receivers that are remembered.
MOST_KNOWN = 2_000


class Places:
    """Remembers how long the last attempt at each receiver took. One that is not known, or is slow, gets one message at a time."""

    def __init__(self) -> None:
        self._is_slow: dict[str, bool] = {}

    def note(self, webhook_id: str, seconds: float) -> None:
        self._is_slow.pop(webhook_id, None)
        self._is_slow[webhook_id] = seconds >= SLOW_SECONDS
        if len(self._is_slow) > MOST_KNOWN:
            del self._is_slow[next(iter(self._is_slow))]

    def full(self, load: Counter[str]) -> set[str]:
        """Webhooks that get nothing more while `load`, messages under way by webhook, is as it is."""
        full = {webhook_id for webhook_id, number in load.items() if number >= self._most(webhook_id)}
        if self._is_crowded(load):
            full |= {webhook_id for webhook_id, is_slow in self._is_slow.items() if is_slow}
        return full

    def has_room(self, webhook_id: str, load: Counter[str]) -> bool:
        if self._is_slow.get(webhook_id) and self._is_crowded(load):
            return False
        return load.total() < MOST_AT_ONCE and load[webhook_id] < self._most(webhook_id)

    def _most(self, webhook_id: str) -> int:
        return 1 if self._is_slow.get(webhook_id, True) else MOST_TO_ONE

    def _is_crowded(self, load: Counter[str]) -> bool:
        return sum(number for webhook_id, number in load.items() if self._is_slow.get(webhook_id)) >= MOST_TO_SLOW
