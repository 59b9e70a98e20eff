"""Notes each change of a runner's status: closes the old interval, opens the new one, tells the live stream."""

from __future__ import annotations

from datetime import datetime

from apviso.server.db.engine import Work
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import Presence, PresencePolicy, presence_of
from apviso.server.stream import store as stream


def policy_of(plant: Resources) -> PresencePolicy:
    settings = plant.settings
    return PresencePolicy(settings.timers, plant.amnesty_until, settings.minimum_runner_version, settings.deprecated_runner_version)


async def observe(work: Work, runner: RunnerFacts, policy: PresencePolicy) -> Presence:
    """Write down how `runner` stands now, if that changed since it was last looked at."""
    presence = presence_of(runner, work.now, policy)
    if _is_as_noted(runner, presence):
        return presence
    if await store.record_observation(work, runner, presence):
        since = _began(runner, presence, work.now)
        await store.close_interval(work, runner.id, since)
        await store.open_interval(work, runner.id, presence, since)
        # The first look is no change: that the runner enrolled has been told.
        if runner.observed_status not in (None, presence.status):
            _tell(work, runner, presence)
    return presence


async def observe_everyone(work: Work, policy: PresencePolicy) -> None:
    for seen in await store.list_watched(work):
        if _is_as_noted(seen, presence_of(seen, work.now, policy)):
            continue
        # A heartbeat may have come since this was read: judged again once nobody else can change it.
        await store.lock(work, seen.id)
        await observe(work, await store.get(work, seen.organization_id, seen.id), policy)


def _is_as_noted(runner: RunnerFacts, presence: Presence) -> bool:
    return (runner.observed_status, tuple(runner.observed_reasons or ())) == (presence.status, presence.reasons)


def _began(runner: RunnerFacts, presence: Presence, now: datetime) -> datetime:
    if presence.since is None or runner.observed_status is presence.status:
        return now
    return min(presence.since, now)


def _tell(work: Work, runner: RunnerFacts, presence: Presence) -> None:
    stream.publish(
        work,
        runner.organization_id,
        f"runner.{presence.status}",
        runnerId=runner.id,
        name=runner.name,
        status=presence.status,
        statusReasons=list(presence.reasons),
        previousStatus=runner.observed_status,
    )
