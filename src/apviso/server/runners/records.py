"""The runners of one organization as they are shown, kept ready: only what has changed is judged and written anew. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any

from apviso.protocol.wire import RunnerId
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import Presence, PresencePolicy, admin_state_at, next_change, presence_of
from apviso.server.runners.view import written

# A clock that is put back by more than this makes everything be judged again.
CLOCK_STEP = timedelta(seconds=1)


@dataclass(frozen=True)
class Record:
    """A runner with how it stands, and both as the API's JSON. `until`: when time alone may change that."""

    facts: RunnerFacts
    presence: Presence
    shown: bytes
    until: datetime | None
    standing: tuple[Any, ...]


class Records:
    """Belongs to one organization and to one process."""

    def __init__(self) -> None:
        # What readers made of these records: empty as soon as one changes, or as soon as one changes that readiness depends on.
        self.made: dict[Any, Any] = {}
        self.made_of_standing: dict[Any, Any] = {}
        self._records: dict[RunnerId, Record] = {}
        self._order: list[RunnerId] = []
        self._ends: list[tuple[datetime, RunnerId]] = []
        self._judged: tuple[datetime, PresencePolicy] | None = None

    def all(self) -> list[Record]:
        """Revoked ones too, oldest first."""
        if len(self._order) < len(self._records):
            self._order = sorted(self._records, key=lambda runner_id: (self._records[runner_id].facts.created_at, runner_id))
        return [self._records[runner_id] for runner_id in self._order]

    def has(self, runner_id: str) -> bool:
        return runner_id in self._records

    def begin(self, now: datetime, policy: PresencePolicy) -> list[RunnerFacts]:
        """From now on judged as of `now`. Those for whom that alone may be a change, to be put again."""
        before, self._judged = self._judged, (now, policy)
        if before is None or before[1] != policy or now < before[0] - CLOCK_STEP:
            return [record.facts for record in self._records.values()]
        self._judged = (max(now, before[0]), policy)
        return self._due(self._judged[0])

    def stand_at(self, now: datetime, policy: PresencePolicy) -> bool:
        """Whether all are judged as of `now` already; what was put again meanwhile may make it say no."""
        if self._judged is None or self._judged[1] != policy or now < self._judged[0] - CLOCK_STEP:
            return False
        return not self._ends or self._ends[0][0] > max(now, self._judged[0])

    def put(self, read: Iterable[RunnerFacts]) -> None:
        """Rows as the database has them."""
        assert self._judged is not None
        for facts in read:
            self._put(_record(facts, *self._judged))

    def _due(self, now: datetime) -> list[RunnerFacts]:
        due = []
        while self._ends and self._ends[0][0] <= now:
            moment, runner_id = heappop(self._ends)
            known = self._records.get(runner_id)
            if known is not None and known.until == moment:
                due.append(known.facts)
        return due

    def _put(self, record: Record) -> None:
        before = self._records.get(record.facts.id)
        self._records[record.facts.id] = record
        if record.until is not None and (before is None or before.until != record.until):
            heappush(self._ends, (record.until, record.facts.id))
        if before is None or before.shown != record.shown or before.facts != record.facts:
            self._note_change(is_standing=before is None or before.standing != record.standing)

    def _note_change(self, *, is_standing: bool) -> None:
        # Others, not emptied: whoever still works on what was makes nothing for what is.
        self.made = {}
        if is_standing:
            self.made_of_standing = {}


def _record(facts: RunnerFacts, now: datetime, policy: PresencePolicy) -> Record:
    presence = presence_of(facts, now, policy)
    shown = written(facts, presence, now)
    state, reach = admin_state_at(facts, now), facts.capabilities.get("targetVisibilities")
    standing = (
        *(presence.status, presence.reasons, presence.is_accepting, state, reach),
        *(facts.slots, facts.live_leases, facts.configured_concurrency, facts.name, facts.maintenance_windows),
    )
    return Record(facts, presence, shown, next_change(facts, now, policy), standing)
