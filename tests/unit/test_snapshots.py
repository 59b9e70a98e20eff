from __future__ import annotations

from datetime import timedelta

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.snapshots import MOST_CHANGED, UNREAD_FOR, Snapshots
from tests.unit.known import NOW

ACME, OTHER, ONE = OrganizationId("acme"), OrganizationId("other"), RunnerId("one")


def test_mark_of_an_organization_reaches_no_other() -> None:
    snapshots: Snapshots[str] = Snapshots()
    acme, other = snapshots.of(ACME, NOW), snapshots.of(OTHER, NOW)

    snapshots.mark(ACME, ONE)

    assert (acme.take_changed(), acme.take_changed(), other.take_changed()) == ({ONE}, set(), set())


def test_mark_of_nobody_in_particular_makes_everything_be_read_again() -> None:
    snapshots: Snapshots[str] = Snapshots()
    snapshot = snapshots.of(ACME, NOW)
    snapshot.kept = "read"

    snapshots.mark_wherever(ONE)
    marked = snapshot.take_changed(), snapshot.kept
    snapshots.mark_wherever(None)

    assert marked == ({ONE}, "read")
    assert snapshot.kept is None


def test_marks_beyond_the_bound_make_everything_be_read_again() -> None:
    snapshots: Snapshots[str] = Snapshots()
    snapshot = snapshots.of(ACME, NOW)
    snapshot.kept = "read"

    for number in range(MOST_CHANGED + 1):
        snapshots.mark(ACME, RunnerId(str(number)))

    assert snapshot.kept is None
    assert len(snapshot.take_changed()) <= MOST_CHANGED


def test_snapshot_that_nobody_reads_is_dropped() -> None:
    snapshots: Snapshots[str] = Snapshots()
    snapshots.of(ACME, NOW).kept = "read"
    snapshots.of(OTHER, NOW).kept = "read"
    later = NOW + UNREAD_FOR + timedelta(seconds=1)
    snapshots.of(OTHER, later)

    snapshots.of(OrganizationId("third"), later)

    assert (snapshots.of(ACME, later).kept, snapshots.of(OTHER, later).kept) == (None, "read")
