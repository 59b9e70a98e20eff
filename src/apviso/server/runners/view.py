"""Shows a runner's facts and presence as the API's `Runner`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic_core import to_json

from apviso.protocol.runners import Runner
from apviso.protocol.states import Fault, RunnerStatus
from apviso.protocol.wire import format_instant
from apviso.server.localtime import keep_windows
from apviso.server.runners.boots import duplicate_of
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import Presence, admin_state_at


def wire(runner: RunnerFacts, presence: Presence, now: datetime) -> Runner:
    return Runner(**_values(runner, presence, now))


def written(runner: RunnerFacts, presence: Presence, now: datetime) -> bytes:
    """The same as JSON, without the checks of the model: what is known of a runner was checked when it was said."""
    values = _values(runner, presence, now)
    told = {name: format_instant(value) if isinstance(value, datetime) else value for name, value in values.items()}
    return to_json({alias: told[name] for name, alias in _ALIASES})


_ALIASES = [(name, field.alias or name) for name, field in Runner.model_fields.items()]


def _values(runner: RunnerFacts, presence: Presence, now: datetime) -> dict[str, Any]:
    state = admin_state_at(runner, now)
    has_state = state is runner.admin_state
    return {
        "id": runner.id,
        "name": runner.name,
        "token_prefix": runner.token_prefix,
        "status": presence.status,
        "status_reasons": list(presence.reasons),
        "admin_state": state,
        "admin_note": runner.admin_note if has_state else None,
        "admin_until": runner.admin_until if has_state else None,
        "drain_deadline": runner.drain_deadline,
        "quarantine": runner.quarantine.model_dump(mode="json", by_alias=True) if runner.quarantine else None,
        "duplicate_identity": _duplicate(runner, presence),
        "maintenance_windows": keep_windows(runner.maintenance_windows),
        "accepting_jobs": presence.is_accepting,
        "version": runner.version,
        "unsupported_from": presence.unsupported_from,
        "protocol_version": runner.protocol_version,
        "os": runner.os,
        "arch": runner.arch,
        "labels": runner.labels,
        "ephemeral": runner.ephemeral,
        "container_engine": runner.container_engine,
        "configured_concurrency": runner.configured_concurrency,
        "max_concurrency": runner.max_concurrency,
        "current_jobs": runner.live_leases,
        "provider_state": runner.provider_state,
        "capabilities": runner.capabilities,
        "health": runner.health,
        "last_heartbeat_at": runner.last_heartbeat_at,
        "created_at": runner.created_at,
    }


def _duplicate(runner: RunnerFacts, presence: Presence) -> dict[str, Any] | None:
    seen = duplicate_of(runner) if Fault.DUPLICATE_IDENTITY in presence.reasons else None
    return None if seen is None else seen.model_dump(mode="json", by_alias=True)


def is_listed(presence: Presence, wanted: RunnerStatus | None) -> bool:
    """Revoked runners are shown only to who asks for them."""
    return presence.status is wanted if wanted is not None else presence.status is not RunnerStatus.REVOKED
