"""Puts runners into a database by the product's own tables: enrolling ten thousand over HTTP would take longer than what is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import uuid_utils
from sqlalchemy import insert

from apviso.protocol.states import AdminState, RunnerStatus
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


async def enroll(database_url: str, organization_id: str, count: int) -> list[Enrolled]:
    """Runners that have never called, in a database at head."""
    database = Database(database_url, lambda: datetime.now(UTC), Signals())
    made = [(number, str(uuid_utils.uuid7()), new_token(Namespace.RUNNER)) for number in range(count)]
    try:
        for first in range(0, count, BATCH):
            batch = made[first : first + BATCH]
            async with database.writing() as work:
                now = work.now
                await work.db.execute(insert(RunnerRow), [_runner(organization_id, *one, now) for one in batch])
                await work.db.execute(insert(RunnerTokenRow), [_token(*one, now) for one in batch])
                await work.db.execute(
                    insert(RunnerIntervalRow),
                    [{"runner_id": runner_id, "status": RunnerStatus.OFFLINE, "reasons": NEVER, "since": now} for _, runner_id, _ in batch],
                )
    finally:
        await database.close()
    return [Enrolled(number, runner_id, token.reveal()) for number, runner_id, token in made]


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


def _token(number: int, id: str, token: Token, now: datetime) -> dict[str, Any]:
    return {"prefix": token.prefix, "runner_id": id, "secret_sha256": token.digest(), "created_at": now}
