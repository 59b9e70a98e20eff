"""Many runners at once, put into the database as they would stand after their heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from apviso.protocol.tokens import Namespace, Token, new_token
from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.db.engine import Work
from apviso.server.db.schema import AttemptRow, RunnerRow, RunnerTokenRow, ScanRow, TargetRow
from apviso.server.runners.facts import RunnerFacts
from tests.unit.known import runner


def crowd(organization_id: str, number: int, **differences: Any) -> list[RunnerFacts]:
    """Runners that differ in name and identity alone, in the order of both."""
    return [
        runner(
            id=RunnerId(str(UUID(int=index + 1))), organization_id=OrganizationId(organization_id), name=f"runner-{index}", **differences
        )
        for index in range(number)
    ]


async def put(work: Work, runners: Sequence[RunnerFacts]) -> None:
    """Their rows, and a scan with an attempt for each lease that they have."""
    rows = [{name: value for name, value in asdict(one).items() if name != "live_leases"} for one in runners]
    await work.db.execute(insert(RunnerRow), rows)
    leases = [one.id for one in runners for _ in range(one.live_leases)]
    if leases:
        await _put_leases(work, runners[0].organization_id, leases)


async def put_tokens(work: Work, runners: Sequence[RunnerFacts]) -> list[Token]:
    """A token for each of them, in use already."""
    tokens = [new_token(Namespace.RUNNER) for _ in runners]
    rows = [
        {"prefix": token.prefix, "runner_id": one.id, "secret_sha256": token.digest(), "created_at": work.now, "first_used_at": work.now}
        for token, one in zip(tokens, runners, strict=True)
    ]
    await work.db.execute(insert(RunnerTokenRow), rows)
    return tokens


async def _put_leases(work: Work, organization_id: OrganizationId, holders: Sequence[RunnerId]) -> None:
    at, target, scan = work.now, f"target-{organization_id}"[:36], f"scan-{organization_id}"[:36]
    of = {"organization_id": organization_id}
    target_row = {"id": target, **of, "domain": "localhost", "display_url": "", "scan_url": "", "visibility": "localhost", "created_at": at}
    await work.db.execute(insert(TargetRow), [target_row])
    scan_row = {
        "id": scan, "job_id": scan, **of, "target_id": target, "target_visibility": "localhost", "status": "completed", "attempt": 1,
        "infrastructure_failures": 0, "model_preset": "low", "is_retest": False, "finding_ids": [], "percent": 0, "requests": 0,
        "created_at": at,
    }  # fmt: skip
    await work.db.execute(insert(ScanRow), [scan_row])
    rows = [
        {
            "scan_id": scan, "number": number, **of, "target_id": target, "runner_id": holder, "nonce": f"nonce-{number}",
            "job_token_prefix": f"{number:012}", "job_token_sha256": "", "assigned_at": at, "heard_at": at, "renewed_at": at,
            "lease_expires_at": at + timedelta(minutes=2), "last_seq": 0,
        }
        for number, holder in enumerate(holders)
    ]  # fmt: skip
    await work.db.execute(insert(AttemptRow), rows)


def renamed(one: RunnerFacts, identity: int, organization_id: str) -> RunnerFacts:
    """The same runner as another row."""
    return replace(one, id=RunnerId(str(UUID(int=identity))), organization_id=OrganizationId(organization_id))
