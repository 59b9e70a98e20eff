"""Decides what a receiver is told of a runner that comes and goes: no equal change twice within a minute, and never a stale one last.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(seconds=60)


@dataclass(frozen=True)
class Told:
    """A change that a receiver was told, or is about to be told: `is_held` while it can still be taken back."""

    event: str
    at: datetime
    is_held: bool = False


def told_when(event: str, at: datetime, told: Iterable[Told]) -> datetime | None:
    """When a receiver that was told `told`, oldest first, is told `event`, too; None where it knows already.

    A change that was held is history now. So a runner that is back where the receiver believes it to be is no news; any other
    equal change waits until a minute after the last one, and is sent then if it still holds.
    """
    known = list(told)
    sent = [one for one in known if not one.is_held]
    if len(sent) < len(known) and sent and sent[-1].event == event:
        return None
    equal = [one.at for one in sent if one.event == event]
    return max([at, *(moment + WINDOW for moment in equal)])
