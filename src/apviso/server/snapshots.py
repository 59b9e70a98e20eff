"""Which organizations' records one process keeps, and which of them have changed since they were read. Knows no rule, no table."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from apviso.protocol.wire import OrganizationId, RunnerId

Kept = TypeVar("Kept")
# Who is not asked for so long is read anew the next time.
UNREAD_FOR = timedelta(minutes=5)
# Beyond it the whole is read in one go.
MOST_CHANGED = 20_000


class Snapshot(Generic[Kept]):
    """One organization's. Whoever holds `looking` brings it up to date; the others wait, and find it so."""

    def __init__(self) -> None:
        self.looking = asyncio.Lock()
        # Empty until it has been read, and when nobody knows what has changed.
        self.kept: Kept | None = None
        self.asked_at: datetime | None = None
        self._changed: set[RunnerId] = set()

    def mark(self, runner_id: RunnerId) -> None:
        if len(self._changed) >= MOST_CHANGED:
            self.kept = None
            self._changed.clear()
        self._changed.add(runner_id)

    @property
    def has_changed(self) -> bool:
        return bool(self._changed)

    def take_changed(self) -> set[RunnerId]:
        """To be taken before the database is asked, so that nothing falls between."""
        changed, self._changed = self._changed, set()
        return changed


class Snapshots(Generic[Kept]):
    """By organization. Whatever changes a runner, here or in another process, marks it."""

    def __init__(self) -> None:
        self._of: dict[OrganizationId, Snapshot[Kept]] = {}

    def of(self, organization_id: OrganizationId, now: datetime) -> Snapshot[Kept]:
        found = self._of.get(organization_id)
        if found is None:
            self._drop_unread(now)
            found = self._of.setdefault(organization_id, Snapshot())
        found.asked_at = now
        return found

    def mark(self, organization_id: OrganizationId, runner_id: RunnerId) -> None:
        found = self._of.get(organization_id)
        if found is not None:
            found.mark(runner_id)

    def mark_all(self, touched: Collection[tuple[OrganizationId, RunnerId]]) -> None:
        """Thousands at a time; nothing to do where nobody has asked for a list."""
        if self._of:
            for organization_id, runner_id in touched:
                self.mark(organization_id, runner_id)

    def mark_wherever(self, runner_id: RunnerId | None) -> None:
        """Whose runner it is is not known; None stands for all of them."""
        for snapshot in self._of.values():
            if runner_id is None:
                snapshot.kept = None
            else:
                snapshot.mark(runner_id)

    def _drop_unread(self, now: datetime) -> None:
        for organization_id, snapshot in list(self._of.items()):
            is_unread = snapshot.asked_at is None or now - snapshot.asked_at > UNREAD_FOR
            if is_unread and not snapshot.looking.locked():
                del self._of[organization_id]
