"""The first page: whether scans can start now, what needs somebody's attention first, and how busy the fleet was."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fastapi.responses import Response

from apviso.protocol.states import RunnerStatus, ScanStatus, Severity, UserStatus
from apviso.server.dashboard import attention, charts
from apviso.server.dashboard.attention import Seen
from apviso.server.dashboard.naming import first, list_targets, names_of
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Visiting, Visitor

router = page_router()
# Of each kind that is read; what is beyond is counted.
MOST_READ = 100
T = TypeVar("T")


@router.get("/")
async def overview(visitor: Visiting) -> Response:
    seen = await _look(visitor)
    load, trend = await asyncio.gather(visitor.api.scans.load(), visitor.api.findings.trend())
    now = visitor.plant.database.clock()
    said, fix = attention.verdict(seen.readiness)
    return visitor.page(
        "overview.html.j2",
        live="runner scan readiness finding schedule target webhook token",
        readiness=seen.readiness,
        said_of_readiness=said,
        fix=fix,
        rows=attention.rows(seen, now),
        load=load.moments,
        load_chart=charts.load_chart(load.moments),
        trend=trend.days,
        severities=list(Severity),
        trend_chart=charts.trend_chart(trend.days),
    )


async def _look(visitor: Visitor) -> Seen:
    """Everything that may need attention, as the API tells it: a few questions at a time, so that others are answered in between."""
    api, since = visitor.api, visitor.plant.database.clock() - attention.NEW_FOR
    few = attention.MOST_ROWS
    offline, degraded = await asyncio.gather(
        api.runners.list(status=RunnerStatus.OFFLINE, page=1, limit=few, brief=True),
        api.runners.list(status=RunnerStatus.DEGRADED, page=1, limit=MOST_READ, brief=True),
    )
    queue, failed, refused = await asyncio.gather(
        api.scans.page(limit=few * 4, status=ScanStatus.PENDING_RUNNER),
        api.scans.page(limit=few * 4, status=ScanStatus.FAILED),
        api.scans.page(limit=few * 4, status=ScanStatus.PREFLIGHT_FAILED),
    )
    findings, schedules = await asyncio.gather(
        api.findings.page(limit=few, severity=(Severity.CRITICAL, Severity.HIGH), user_status=UserStatus.OPEN, first_seen_since=since),
        api.schedules.page(limit=MOST_READ),
    )
    targets, webhooks, keys = await asyncio.gather(
        list_targets(visitor),
        first(api.webhooks.all(), MOST_READ) if visitor.may_administer else _none(),
        first(api.api_keys.all(), MOST_READ) if visitor.may_administer else _none(),
    )
    return Seen(
        readiness=offline.readiness,
        runners=[*offline.runners, *degraded.runners],
        runners_total=(offline.total or 0) + (degraded.total or 0),
        queue=queue.scans,
        queue_total=queue.total,
        failed=[*failed.scans, *refused.scans],
        findings=findings.findings,
        findings_total=findings.total,
        schedules=schedules.schedules,
        targets=targets,
        webhooks=webhooks,
        keys=keys,
        names=names_of(targets),
    )


async def _none() -> list[T]:
    """Of what only admins may see."""
    return []
