"""Puts runners, targets and scans into a database by the product's own tables: ten thousand over HTTP would take too long."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import uuid_utils
from sqlalchemy import insert, update

from apviso.protocol.states import AdminState, ModelPreset, RunnerStatus, ScanStatus, Visibility
from apviso.protocol.tokens import Namespace, Token, new_token
from apviso.server.db.engine import Database
from apviso.server.db.schema import RunnerIntervalRow, RunnerRow, RunnerTokenRow
from apviso.server.signals import Signals

BATCH = 1_000
# As a runner that enrolled and never spoke has been looked at already: the watch finds nothing to do before the first heartbeat.
NEVER = ["never_contacted"]


@dataclass(frozen=True)
class Enrolled:
    """A runner and the only copy of its token."""

    number: int
    id: str
    token: str = field(repr=False)


async def enroll(database_url: str, organization_id: str, count: int, *, have_spoken: bool = False) -> list[Enrolled]:
    """Runners in a database at head: those that have never called, or those whose heartbeat came just now."""
    database = Database(database_url, lambda: datetime.now(UTC), Signals())
    stretch = {"status": RunnerStatus.ONLINE, "reasons": []} if have_spoken else {"status": RunnerStatus.OFFLINE, "reasons": NEVER}
    spoken = _spoken if have_spoken else lambda number, now: {}
    made = [(number, str(uuid_utils.uuid7()), new_token(Namespace.RUNNER)) for number in range(count)]
    try:
        for first in range(0, count, BATCH):
            batch = made[first : first + BATCH]
            async with database.writing() as work:
                now = work.now
                await work.db.execute(insert(RunnerRow), [_runner(organization_id, *one, now) | spoken(one[0], now) for one in batch])
                await work.db.execute(insert(RunnerTokenRow), [_token(*one, now, is_used=have_spoken) for one in batch])
                await work.db.execute(
                    insert(RunnerIntervalRow),
                    [{"runner_id": runner_id, **stretch, "since": now} for _, runner_id, _ in batch],
                )
    finally:
        await database.close()
    return [Enrolled(number, runner_id, token.reveal()) for number, runner_id, token in made]


async def speak(database_url: str) -> None:
    """Every runner's heartbeat came just now."""
    database = Database(database_url, lambda: datetime.now(UTC), Signals())
    try:
        async with database.writing() as work:
            await work.db.execute(update(RunnerRow).values(last_heartbeat_at=work.now, last_contact_at=work.now))
    finally:
        await database.close()


def said(number: int, beat_seq: int | str, *, more_bytes: int = 0, polled_ms_ago: int = 800) -> dict[str, Any]:
    """A heartbeat of a runner that stands as it was put into the database."""
    return {
        "bootId": f"boot-{number}",
        "beatSeq": beat_seq,
        "version": "0.1.0",
        "configuredConcurrency": 2,
        "currentJobs": 0,
        "runningJobs": [],
        "providerState": {"modelProvider": "none", "embeddingProvider": "none"},
        "capabilities": {"localProviderSecrets": False, "localTargetAuthConfig": True, "isolation": "container"},
        "health": {"diskFreeBytes": 107374182400 + more_bytes, "clockSkewMs": 3, "spoolBacklogBytes": 0},
        "lastClaimPollAgeMs": polled_ms_ago,
    }


def _runner(organization_id: str, number: int, id: str, token: Token, now: datetime) -> dict[str, Any]:
    return {
        "id": id,
        "organization_id": organization_id,
        "name": f"runner-{number:05}",
        "token_prefix": token.prefix,
        "ephemeral": False,
        "labels": ["bench", f"rack-{number % 40}"],
        "created_at": now,
        "admin_state": AdminState.ENABLED,
        "version": "0.1.0",
        "protocol_version": 1,
        "os": "linux",
        "arch": "x86_64",
        "container_engine": "docker",
        "configured_concurrency": 2,
        "provider_state": {"modelProvider": "none", "embeddingProvider": "none"},
        "capabilities": {"localProviderSecrets": False, "localTargetAuthConfig": True, "isolation": "container"},
        "health": {},
        "beat_seq": 0,
        "observed_status": RunnerStatus.OFFLINE,
        "observed_reasons": NEVER,
    }


def _spoken(number: int, now: datetime) -> dict[str, Any]:
    said = {"health": {"diskFreeBytes": 107374182400, "clockSkewMs": 3, "spoolBacklogBytes": 0}, "claim_poll_age_ms": 800}
    looked = {"observed_status": RunnerStatus.ONLINE, "observed_reasons": []}
    return {**said, **looked, "boot_id": f"boot-{number}", "beat_seq": 0, "last_heartbeat_at": now, "last_contact_at": now}


def _token(number: int, id: str, token: Token, now: datetime, *, is_used: bool) -> dict[str, Any]:
    """A runner is read into memory once its token was used."""
    used_at = now if is_used else None
    return {"prefix": token.prefix, "runner_id": id, "secret_sha256": token.digest(), "created_at": now, "first_used_at": used_at}


def target_row(organization_id: str, number: int) -> dict[str, Any]:
    domain = f"localhost:{number}"
    urls = {"display_url": f"http://{domain}/", "scan_url": f"http://{domain}/"}
    return {"id": str(uuid_utils.uuid7()), "organization_id": organization_id, "domain": domain, **urls, "visibility": Visibility.LOCALHOST}


def scan_row(target: dict[str, Any]) -> dict[str, Any]:
    """A queued scan of this target."""
    return {
        "id": str(uuid_utils.uuid7()),
        "job_id": str(uuid_utils.uuid7()),
        "organization_id": target["organization_id"],
        "target_id": target["id"],
        "target_visibility": target["visibility"],
        "status": ScanStatus.PENDING_RUNNER,
        "attempt": 0,
        "infrastructure_failures": 0,
        "model_preset": ModelPreset.FREE,
        "is_retest": False,
        "finding_ids": [],
        "percent": 0,
        "requests": 0,
    }
