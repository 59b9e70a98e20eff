"""What is wanted of a runner: pause, drain, resume. Whoever says it, the trail, the event and the wake-up are the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

from apviso.protocol.runners import Drain, Pause
from apviso.protocol.states import AdminState
from apviso.protocol.wire import OrganizationId
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import RunnerIsRevoked, field_refused
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.watch import observe, policy_of
from apviso.server.signals import jobs_topic, runner_topic
from apviso.server.stream import store as stream


class Wisher(Protocol):
    """An API key, somebody at the dashboard, or the runner itself."""

    @property
    def organization_id(self) -> OrganizationId: ...
    @property
    def actor(self) -> str: ...
    @property
    def request_id(self) -> str: ...


def paused(asked: Pause, now: datetime) -> dict[str, Any]:
    if asked.until is not None and asked.until <= now:
        raise field_refused("until", "is in the past; name a later time, or leave it out to pause until resumed")
    return {"admin_state": AdminState.PAUSED, "admin_note": asked.note, "admin_until": asked.until, "drain_deadline": None}


def draining(asked: Drain, now: datetime) -> dict[str, Any]:
    deadline = None if asked.deadline_seconds is None else now + timedelta(seconds=asked.deadline_seconds)
    return {"admin_state": AdminState.DRAINING, "admin_note": asked.note, "admin_until": None, "drain_deadline": deadline}


def resumed(now: datetime) -> dict[str, Any]:
    values = {"admin_state": AdminState.ENABLED, "admin_note": None, "admin_until": None, "drain_deadline": None, "quarantine": None}
    # Somebody has looked: what failed before counts no more.
    return {**values, "trusted_at": now}


async def change(work: Work, plant: Resources, who: Wisher, runner: RunnerFacts, action: str, values: dict[str, Any]) -> RunnerFacts:
    """The runner as it is then. Raises RunnerIsRevoked."""
    if not await store.edit(work, who.organization_id, runner.id, **values):
        raise RunnerIsRevoked
    # How it stands may follow from what is wanted of it.
    await observe(work, await store.get(work, who.organization_id, runner.id), policy_of(plant))
    changed = {name: str(value) for name, value in values.items() if value is not None and name != "trusted_at"}
    await audit.record(work, who.organization_id, who.actor, action, ("runner", runner.id), who.request_id, **changed)
    stream.publish(work, who.organization_id, action, runnerId=runner.id, name=runner.name)
    work.hints.update((jobs_topic(who.organization_id), runner_topic(runner.id)))
    return await store.get(work, who.organization_id, runner.id)
