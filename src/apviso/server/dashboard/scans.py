"""Scans: the list, one scan while it waits, runs and when it has ended, its log, its report, and a retest of what it found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from apviso.client.calls import Answered, Call, segment
from apviso.client.errors import ApvisoError, Conflict, Forbidden, InvalidRequest, LicenseRefused, NotYet
from apviso.protocol.limits import PRESETS
from apviso.protocol.reports import ReportComparison, ReportCoverage
from apviso.protocol.scans import Attempt, NewScan, Scan
from apviso.protocol.states import FINAL_STATUSES, ScanStatus
from apviso.protocol.wire import Wire
from apviso.server.dashboard.forms import errors_of
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.scan_words import ENDINGS, LEVELS, LONGEST_LINE, lines_of
from apviso.server.dashboard.visitors import Posted, Visiting, Visitor, Working
from apviso.server.errors import NoSuchRoute

router = page_router("/scans")
PER_PAGE = 50
FINDINGS_PER_PAGE = 100
# As many targets as a choice of one may hold.
MOST_TARGETS = 100
LINES_PER_PAGE = 500
REPORT_SECONDS = 120.0
REPORTS = {"html": "Page", "pdf": "PDF", "md": "Markdown", "sarif": "SARIF", "csv": "CSV", "json": "JSON"}
# What the API says of a file, and the page hands on: above all what a browser may do with it.
FILE_HEADERS = ("content-type", "content-disposition", "content-security-policy")
SAID_THERE = (InvalidRequest, Conflict, Forbidden, LicenseRefused)
Number = Annotated[int, Query(ge=0, le=2**31 - 1)]
Ids = Annotated[Sequence[str], Query(max_length=FINDINGS_PER_PAGE)]


class Outcome(Wire):
    """What the page tells of a report; its findings are listed as they stand now."""

    headline: str
    summary: list[str]
    coverage: ReportCoverage
    comparison: ReportComparison | None


@router.get("")
async def list_scans(visitor: Visiting, status: str = "", target: str = "", page: int = 1) -> Response:
    wanted = ScanStatus(status) if status in set(ScanStatus) else None
    listed = await visitor.api.scans.page(max(1, page), PER_PAGE, status=wanted, target_id=target or None)
    targets = await visitor.api.targets.page(1, MOST_TARGETS)
    return visitor.page(
        "scans/list.html.j2", live="scan finding", listed=listed, targets=targets.targets, status=wanted or "", target=target
    )


@router.get("/{id}")
async def show_scan(id: str, visitor: Visiting, attempt: Number = 0, page: int = 1) -> Response:
    scan = await visitor.api.scans.get(id)
    has_ended = scan.status in FINAL_STATUSES
    attempts = await visitor.api.scans.attempts(id)
    shown = next((one for one in attempts if one.number == (attempt or scan.attempt)), attempts[-1] if attempts else None)
    findings = await visitor.api.scans.findings_page(id, max(1, page), FINDINGS_PER_PAGE)
    report, why_none = await _report(visitor, id) if has_ended else (None, "")
    is_settled = report is not None or bool(why_none)
    retested = (await visitor.api.scans.retest(id)) if scan.is_retest else None
    return visitor.page(
        "scans/one.html.j2",
        live="" if is_settled else "scan finding report",
        scan=scan,
        has_ended=has_ended,
        is_settled=is_settled,
        why_none=why_none,
        attempts=attempts,
        shown=shown,
        findings=findings,
        report=report,
        retested=retested,
        limits=PRESETS[scan.model_preset],
        seconds=_seconds(scan, visitor),
        endings=ENDINGS,
        reports={kind: word for kind, word in REPORTS.items() if kind != "pdf" or visitor.plant.typesetter.why_not is None},
        levels=LEVELS,
    )


@router.get("/{id}/log")
async def show_log(id: str, visitor: Visiting, attempt: Number = 0, after: Number = 0, level: str = "debug") -> Response:
    """The log by pages: for those without script, and for what the page that moves has let go."""
    scan = await visitor.api.scans.get(id)
    attempts = await visitor.api.scans.attempts(id)
    shown = _attempt(attempts, attempt or scan.attempt)
    log = await visitor.api.scans.log(id, after=after, of=attempt or scan.attempt or None, limit=LINES_PER_PAGE)
    heard = LEVELS[LEVELS.index(level) :] if level in LEVELS else LEVELS
    return visitor.page(
        "scans/log.html.j2",
        scan=scan,
        attempts=attempts,
        shown=shown,
        lines=[line for line in lines_of(log.events) if line.level in heard],
        after=after,
        last=log.last_seq,
        total=shown.last_seq if shown else 0,
        missing_end=next((gap for gap in log.gaps if gap.count is None), None),
        per_page=LINES_PER_PAGE,
        level=level,
        levels=LEVELS,
    )


@router.get("/{id}/log/lines")
async def read_lines(
    id: str, visitor: Visiting, attempt: Number = 1, after: Number = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 1000
) -> Response:
    """Lines for the page's script: a log of 1,000 lines a second is no page to be fetched again and again."""
    log = await visitor.api.scans.log(id, after=after, of=max(1, attempt), limit=limit)
    lines = [[line.seq, line.at, line.level, line.text] for line in lines_of(log.events, LONGEST_LINE)]
    return Response(json.dumps(lines, ensure_ascii=False, separators=(",", ":")), media_type="application/json")


@router.get("/{id}/cancel")
async def ask_cancel(id: str, visitor: Working) -> Response:
    scan = await visitor.api.scans.get(id)
    return visitor.page("scans/cancel.html.j2", scan=scan, has_ended=scan.status in FINAL_STATUSES)


@router.post("/{id}/cancel")
async def cancel(id: str, posted: Posted) -> Response:
    scan = await posted.visitor.api.scans.cancel(id)
    said = "The scan was cancelled." if scan.status is ScanStatus.CANCELLED else "The runner is told to stop."
    return posted.go(f"/scans/{scan.id}", said)


@router.get("/{id}/retest")
async def ask_retest(id: str, visitor: Working, finding: Ids = (), page: int = 1) -> Response:
    return await _retest_page(visitor, id, list(finding), page)


@router.post("/{id}/retest")
async def retest(id: str, posted: Posted) -> Response:
    form, api = posted.form, posted.visitor.api
    chosen = form.all("finding")[:FINDINGS_PER_PAGE]
    try:
        scan = await api.scans.get(id)
        about = {"targetId": scan.target_id, "isRetest": True, "parentScanId": scan.id, "findingIds": chosen}
        given = {name: form.maybe(name) for name in ("runnerId", "modelPreset", "whenUnavailable") if form.maybe(name)}
        created = await api.scans.start(NewScan.model_validate({**about, **given}))
    except (ValidationError, *SAID_THERE) as error:
        return await _retest_page(posted.visitor, id, chosen, form.number("page") or 1, error)
    return RedirectResponse(f"/scans/{created.scan.id}", 303)


@router.get("/{id}/report.{kind}")
async def read_report(id: str, kind: str, visitor: Visiting) -> Response:
    """A file of the report as the API gives it, with the API's own rules of what it may do in a browser."""
    if kind not in REPORTS:
        raise NoSuchRoute
    try:
        answered = await visitor.api.perform(_file(id, kind))
    except NotYet:
        return RedirectResponse(f"/scans/{segment(id)}", 303)
    kept = {name: value for name, value in answered.headers.items() if name in FILE_HEADERS}
    return Response(answered.content, headers=kept)


def _file(id: str, kind: str) -> Call[Answered]:
    path = f"/scans/{segment(id)}/report.{kind}"
    return Call("GET", path, lambda answered: answered, headers=(("accept", "*/*"),), seconds=REPORT_SECONDS)


async def _report(visitor: Visitor, id: str) -> tuple[Outcome | None, str]:
    """The report, or why there will be none; neither while it is made."""
    try:
        answered = await visitor.api.perform(_file(id, "json"))
    except NotYet:
        return None, ""
    except ApvisoError as error:
        if error.code != "report_not_made":
            raise
        return None, error.detail
    return Outcome.model_validate_json(answered.content), ""


async def _retest_page(
    visitor: Visitor, id: str, chosen: list[str], page: int, error: ApvisoError | ValidationError | None = None
) -> Response:
    scan = await visitor.api.scans.get(id)
    findings = await visitor.api.scans.findings_page(id, max(1, page), FINDINGS_PER_PAGE)
    readiness = await visitor.api.runners.readiness(target_id=scan.target_id)
    return visitor.page(
        "scans/retest.html.j2",
        status_code=200 if error is None else getattr(error, "status", None) or 422,
        scan=scan,
        findings=[one for one in findings.findings if one.id in chosen],
        total=findings.total,
        page=max(1, page),
        readiness=readiness,
        presets=PRESETS,
        errors=errors_of(error) if error else {},
    )


def _attempt(attempts: list[Attempt], number: int) -> Attempt | None:
    return next((one for one in attempts if one.number == number), None)


def _seconds(scan: Scan, visitor: Visitor) -> float | None:
    """How long it has run, or ran."""
    if scan.started_at is None:
        return None
    until: Any = scan.finished_at or visitor.plant.database.clock()
    seconds: float = (until - scan.started_at).total_seconds()
    return seconds
