"""Decides which of the runners that wait gets which of the scans that wait. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from apviso.protocol.states import Visibility
from apviso.protocol.wire import RunnerId, ScanId


class Claimable(Protocol):
    """What decides who may have a scan, and when it is its turn."""

    @property
    def id(self) -> ScanId: ...
    @property
    def target_visibility(self) -> Visibility: ...
    @property
    def requested_runner_id(self) -> RunnerId | None: ...
    @property
    def avoid_runner_id(self) -> RunnerId | None: ...
    @property
    def not_before(self) -> datetime | None: ...
    @property
    def created_at(self) -> datetime: ...


@dataclass(frozen=True)
class WaitingScan:
    """A scan that may be claimed now, as far as it matters for by whom."""

    id: ScanId
    target_visibility: Visibility
    requested_runner_id: RunnerId | None
    avoid_runner_id: RunnerId | None
    not_before: datetime | None
    created_at: datetime


Of = TypeVar("Of")
Scan = TypeVar("Scan", bound=Claimable)


@dataclass(frozen=True)
class Taker(Generic[Of]):
    """A runner that may be given `slots` scans; `of` is whatever stands for it."""

    runner_id: RunnerId
    visibilities: frozenset[Visibility]
    of: Of
    slots: int = 1


def may_take(scan: Claimable, runner_id: RunnerId, visibilities: frozenset[Visibility], other_since: datetime) -> bool:
    """Whether this runner may have the scan. One that has just left a runner waits for another runner until `other_since`."""
    if scan.target_visibility not in visibilities:
        return False
    if scan.requested_runner_id is not None:
        return scan.requested_runner_id == runner_id
    return scan.avoid_runner_id != runner_id or (scan.not_before is not None and scan.not_before <= other_since)


def match(scans: Sequence[Scan], takers: Iterable[Taker[Of]], other_since: datetime, most: int) -> list[tuple[Scan, Of]]:
    """Who gets what, at most `most`: each scan, oldest first, goes to the first of the takers that may have it.

    Several takers may stand for one runner. `takers` is read no further than needed.
    """
    unread, passed = iter(takers), list[Taker[Of]]()
    used: Counter[RunnerId] = Counter()
    pairs: list[tuple[Scan, Of]] = []

    def first_for(scan: Claimable) -> Taker[Of] | None:
        for place, taker in enumerate(passed):
            if fits(scan, taker):
                return passed.pop(place)
        for taker in unread:
            if fits(scan, taker):
                return taker
            passed.append(taker)
        return None

    def fits(scan: Claimable, taker: Taker[Of]) -> bool:
        return used[taker.runner_id] < taker.slots and may_take(scan, taker.runner_id, taker.visibilities, other_since)

    for scan in sorted(scans, key=lambda scan: (scan.created_at, scan.id)):
        if len(pairs) >= most:
            break
        taker = first_for(scan)
        if taker is not None:
            used[taker.runner_id] += 1
            pairs.append((scan, taker.of))
    return pairs
