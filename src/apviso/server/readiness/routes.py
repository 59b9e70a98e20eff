"""`GET /runners` (the list carries a readiness summary), `GET /runners/readiness`, and the last day of the runners of a list."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from apviso.protocol.readiness import Readiness
from apviso.protocol.runners import RunnerList, UptimeList
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
from apviso.server.paging import MAX_LIMIT, MAX_PAGE, Paged
from apviso.server.readiness.gather import gather, judged
from apviso.server.readiness.listing import Answer, Wanted, list_answer, readiness_answer, uptime_answer
from apviso.server.resources import Plant, Reading

router = APIRouter(prefix="/api/v1/runners", tags=["runners"])
# The runners themselves are most of an answer about thousands.
Brief = Annotated[bool, Query(description="Leave `runners` of the readiness empty; `runnerCounts` tells how many stand how.")]
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited)


@router.get("", responses=responses(*DENIED), response_model=RunnerList)
async def list_runners(
    caller: RunnersReader,
    plant: Plant,
    status: RunnerStatus | None = None,
    label: Annotated[str | None, Query(max_length=64)] = None,
    name: Annotated[str | None, Query(max_length=120)] = None,
    page: Annotated[int | None, Query(ge=1, le=MAX_PAGE)] = None,
    limit: Annotated[int | None, Query(ge=1, le=MAX_LIMIT)] = None,
    brief: Brief = False,
) -> Response:
    """All runners and whether a scan could start now. Revoked ones only with `status=revoked`; `name` matches a part of the name."""
    return _response(await list_answer(plant, caller.organization_id, Wanted(status, label, name, page, limit, brief)))


@router.get("/uptime", responses=responses(*DENIED))
async def list_uptime(
    caller: RunnersReader,
    work: Reading,
    plant: Plant,
    page: Paged,
    status: RunnerStatus | None = None,
    label: Annotated[str | None, Query(max_length=64)] = None,
    name: Annotated[str | None, Query(max_length=120)] = None,
) -> UptimeList:
    """The last day of each runner in bars of a quarter of an hour, for one page of the list of runners: filters and order are its own."""
    return await uptime_answer(work, plant, caller.organization_id, Wanted(status, label, name, page.page, page.limit))


@router.get("/readiness", responses=responses(*DENIED, RunnerNotFound, TargetNotFound), response_model=Readiness)
async def get_readiness(
    caller: RunnersReader,
    plant: Plant,
    target_id: Annotated[str | None, Query(alias="targetId", max_length=64)] = None,
    runner_id: Annotated[str | None, Query(alias="runnerId", max_length=64)] = None,
    brief: Brief = False,
) -> Response:
    """Whether a scan may start now, and exactly why not: the checks, the one that matters, and its fix."""
    if target_id is None and runner_id is None:
        return _response(await readiness_answer(plant, caller.organization_id, is_brief=brief))
    async with plant.database.reading() as work:
        readiness = await judged(await gather(work, plant, caller.organization_id, target_id, runner_id, is_brief=brief))
    return Response(readiness.model_dump_json(by_alias=True), media_type="application/json")


def _response(answer: Answer) -> Response:
    return Response(answer.body, media_type="application/json", headers={"etag": answer.tag})
