"""`GET /runners` (the list carries a readiness summary) and `GET /runners/readiness`."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query

from apviso.protocol.readiness import Readiness
from apviso.protocol.runners import RunnerList
from apviso.protocol.states import RunnerStatus
from apviso.server.access import RunnersReader
from apviso.server.errors import (
    CredentialInvalid,
    CredentialMissing,
    InsufficientScope,
    InvalidFields,
    RateLimited,
    RunnerNotFound,
    TargetNotFound,
    WrongCredential,
    responses,
)
from apviso.server.paging import MAX_LIMIT, MAX_PAGE
from apviso.server.readiness.assessment import assess
from apviso.server.readiness.gather import gather
from apviso.server.resources import Plant, Reading
from apviso.server.runners.view import is_listed, wire

router = APIRouter(prefix="/api/v1/runners", tags=["runners"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited)


@router.get("", responses=responses(*DENIED))
async def list_runners(
    caller: RunnersReader,
    work: Reading,
    plant: Plant,
    status: RunnerStatus | None = None,
    label: Annotated[str | None, Query(max_length=64)] = None,
    name: Annotated[str | None, Query(max_length=120)] = None,
    page: Annotated[int | None, Query(ge=1, le=MAX_PAGE)] = None,
    limit: Annotated[int | None, Query(ge=1, le=MAX_LIMIT)] = None,
) -> RunnerList:
    """All runners and whether a scan could start now. Revoked ones only with `status=revoked`; `name` matches a part of the name."""
    question = await gather(work, plant, caller.organization_id)
    found = [
        wire(candidate.facts, candidate.presence, work.now)
        for candidate in question.candidates
        if is_listed(candidate.presence, status)
        and (label is None or label in candidate.facts.labels)
        and (name is None or name.casefold() in candidate.facts.name.casefold())
    ]
    readiness = assess(question)
    if page is None and limit is None:
        return RunnerList(runners=found, readiness=readiness, total=len(found))
    size, number = limit or 50, page or 1
    shown = found[(number - 1) * size : number * size]
    return RunnerList(
        runners=shown, readiness=readiness, total=len(found), page=number, limit=size, total_pages=math.ceil(len(found) / size)
    )


@router.get("/readiness", responses=responses(*DENIED, RunnerNotFound, TargetNotFound))
async def get_readiness(
    caller: RunnersReader,
    work: Reading,
    plant: Plant,
    target_id: Annotated[str | None, Query(alias="targetId", max_length=64)] = None,
    runner_id: Annotated[str | None, Query(alias="runnerId", max_length=64)] = None,
) -> Readiness:
    """Whether a scan may start now, and exactly why not: the checks, the one that matters, and its fix."""
    return assess(await gather(work, plant, caller.organization_id, target_id, runner_id))
