"""Notes each change of a runner's status: closes the old interval, opens the new one, tells the live stream."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import SelectBase

from apviso.protocol.states import Fault
from apviso.protocol.wire import format_instant
from apviso.server.db.engine import Work
from apviso.server.resources import Resources, Turn
from apviso.server.runners import store
from apviso.server.runners.boots import duplicate_of
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import Presence, PresencePolicy, presence_of
from apviso.server.stream import store as stream

RUNNERS_AT_ONCE = 200


def policy_of(plant: Resources) -> PresencePolicy:
    settings = plant.settings
    return PresencePolicy(
        plant.pace.timers,
        plant.amnesty_until,
        settings.minimum_runner_version,
        settings.deprecated_runner_version,
        settings.minimum_runner_version_from,
    )


async def observe(work: Work, runner: RunnerFacts, policy: PresencePolicy) -> Presence:
    """Write down how `runner` stands now, if that changed since it was last looked at. This transaction holds its row."""
    presence = presence_of(runner, work.now, policy)
    if not _is_as_noted(runner, presence):
        await _note(work, [(runner, presence)])
    return presence


def everyone_to_observe(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.unsettled(now, policy_of(plant)),)


async def observe_everyone(turn: Turn, plant: Resources) -> None:
    """Write down every change, some runners at a time, so that thousands that go silent together hold up nobody."""
    policy = policy_of(plant)
    async with plant.database.reading() as work:
        unsettled = await store.list_unsettled(work, policy)
    for start in range(0, len(unsettled), RUNNERS_AT_ONCE):
        async with turn() as work:
            # A heartbeat may have come since: judged once nobody else can change it. Who is changed now is looked at next time.
            judged = [
                (runner, presence_of(runner, work.now, policy))
                for runner in await store.list_locked(work, unsettled[start : start + RUNNERS_AT_ONCE])
            ]
            await _note(work, [(runner, presence) for runner, presence in judged if not _is_as_noted(runner, presence)])


async def _note(work: Work, changes: Sequence[tuple[RunnerFacts, Presence]]) -> None:
    if not changes:
        return
    since = {runner.id: _began(runner, presence, work.now) for runner, presence in changes}
    await store.record_observations(work, changes)
    await store.close_intervals(work, since)
    await store.open_intervals(work, [(runner.id, presence, since[runner.id]) for runner, presence in changes])
    for runner, presence in changes:
        _tell_of_version(work, runner, presence)
        # The first look is no change: that the runner enrolled has been told.
        if runner.observed_status not in (None, presence.status):
            _tell(work, runner, presence)


def _is_as_noted(runner: RunnerFacts, presence: Presence) -> bool:
    return (runner.observed_status, tuple(runner.observed_reasons or ())) == (presence.status, presence.reasons)


def _began(runner: RunnerFacts, presence: Presence, now: datetime) -> datetime:
    if presence.since is None or runner.observed_status is presence.status:
        return now
    return min(presence.since, now)


def _tell_of_version(work: Work, runner: RunnerFacts, presence: Presence) -> None:
    """That its version is too old is told once, whatever else is wrong with the runner."""
    new = {Fault.VERSION_DEPRECATED, Fault.VERSION_UNSUPPORTED}.intersection(presence.reasons).difference(runner.observed_reasons or ())
    if new:
        reason = Fault.VERSION_UNSUPPORTED if Fault.VERSION_UNSUPPORTED in new else Fault.VERSION_DEPRECATED
        ends = None if presence.unsupported_from is None else format_instant(presence.unsupported_from)
        about = {"runnerId": runner.id, "name": runner.name, "version": runner.version, "reason": reason, "unsupportedFrom": ends}
        stream.publish(work, runner.organization_id, "runner.version_deprecated", **about)


def _tell(work: Work, runner: RunnerFacts, presence: Presence) -> None:
    twins = duplicate_of(runner) if Fault.DUPLICATE_IDENTITY in presence.reasons else None
    stream.publish(
        work,
        runner.organization_id,
        f"runner.{presence.status}",
        runnerId=runner.id,
        name=runner.name,
        status=presence.status,
        statusReasons=list(presence.reasons),
        previousStatus=runner.observed_status,
        previousReasons=list(runner.observed_reasons or ()),
        **({"duplicateIdentity": twins.model_dump(mode="json", by_alias=True)} if twins else {}),
    )
