"""The fleet: who is there, in what state and why, and all that is known of one runner."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query
from fastapi.responses import Response

from apviso.protocol.access import AuditEvent
from apviso.protocol.runners import PresenceLimits, Runner
from apviso.protocol.states import FINAL_STATUSES, RunnerStatus
from apviso.server.dashboard import drawing, trends
from apviso.server.dashboard.enrolling import LIFETIMES
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Visiting, Visitor

router = page_router("/runners")
PER_PAGE = 100
MOST_LISTED = 50
DAYS = (1, 7, 30)


@router.get("")
async def list_runners(
    visitor: Visiting,
    status: str = "",
    name: Annotated[str, Query(max_length=120)] = "",
    label: Annotated[str, Query(max_length=64)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    wanted = RunnerStatus(status) if status in set(RunnerStatus) else None
    of_name, of_label, api = name.strip() or None, label.strip() or None, visitor.api.runners
    answer, uptime = await asyncio.gather(
        api.page(page, PER_PAGE, status=wanted, name=of_name, label=of_label, brief=True),
        api.uptime(page, PER_PAGE, status=wanted, name=of_name, label=of_label),
    )
    bars = {one.id: one.bars for one in uptime.runners}
    filters = {key: value for key, value in (("name", name), ("label", label), ("status", status)) if value}
    is_filtered = bool(filters) or page > 1
    outstanding = []
    if not (answer.runners or is_filtered):
        outstanding = (await visitor.api.enrollment_tokens.page(limit=100)).enrollment_tokens
    return visitor.page(
        "runners/list.html.j2",
        live="runner readiness",
        runners=answer.runners,
        readiness=answer.readiness,
        counts=(counts := answer.readiness.runner_counts.model_dump()),
        everyone=sum(counts.values()),
        total=answer.total or 0,
        number=page,
        pages=answer.total_pages or 0,
        strips={one.id: bars.get(one.id, "") for one in answer.runners},
        paths_of=drawing.paths_of,
        in_words=drawing.in_words,
        slots=slots_of,
        address="/runners?" + (urlencode(filters) + "&" if filters else ""),
        chip_address="/runners?" + urlencode({key: value for key, value in filters.items() if key != "status"}),
        is_filtered=is_filtered,
        status=status,
        name=name,
        label=label,
        outstanding=outstanding,
        lifetimes=LIFETIMES,
        errors={},
        given={},
    )


@router.get("/{id}")
async def show_runner(id: str, visitor: Visiting, days: int = 7) -> Response:
    days, api = days if days in DAYS else 7, visitor.api
    now = visitor.plant.database.clock()
    begin = now - timedelta(days=days)
    runner, history, health, scans, targets, events = await asyncio.gather(
        api.runners.get(id),
        api.runners.history(id, since=begin),
        api.runners.health(id),
        api.scans.page(limit=20, runner_id=id),
        api.targets.page(limit=100),
        _audit(visitor, id),
    )
    limits = history.limits
    return visitor.page(
        "runners/one.html.j2",
        live="runner scan",
        runner=runner,
        history=history,
        limits=limits,
        gauges=_gauges(runner, limits),
        trends=[] if limits is None else trends.trends_of(health, runner.health, limits),
        samples=health.samples[::-1],
        sampled_since=health.since,
        stretches=drawing.stretches_of(history.intervals, begin, now),
        intervals=history.intervals[: -MOST_LISTED - 1 : -1],
        gaps=history.heartbeat_gaps[: -MOST_LISTED - 1 : -1],
        days=days,
        begin=begin,
        running=[scan for scan in scans.scans if scan.status not in FINAL_STATUSES and scan.runner_id == runner.id],
        ended=[scan for scan in scans.scans if scan.status in FINAL_STATUSES or scan.runner_id != runner.id],
        scans_in_all=scans.total,
        domains={target.id: target.domain for target in targets.targets},
        capabilities=drawing.rows_of(runner.capabilities),
        providers=drawing.rows_of(runner.provider_state),
        events=events,
        rows_of=drawing.rows_of,
        slots=slots_of(runner),
    )


async def _audit(visitor: Visitor, runner_id: str) -> list[AuditEvent]:
    return (await visitor.api.organization.audit_page(limit=20, subject_id=runner_id)).audit_events if visitor.may_administer else []


def _gauges(runner: Runner, limits: PresenceLimits | None) -> list[drawing.Gauge]:
    return [] if limits is None else drawing.gauges_of(runner.health, limits)


def slots_of(runner: Runner) -> int:
    """How many blocks are drawn."""
    return 1 if runner.ephemeral else min(runner.configured_concurrency, runner.max_concurrency or runner.configured_concurrency)
