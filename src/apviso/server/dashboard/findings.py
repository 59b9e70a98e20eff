"""What scans found, over all targets: the list with its filters, one finding with its evidence and history, and what people say of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import ValidationError

from apviso.client.errors import InvalidRequest, NotFound
from apviso.protocol.findings import FindingStatusPatch
from apviso.protocol.states import Severity, UserStatus
from apviso.server.dashboard.forms import Form, errors_of
from apviso.server.dashboard.inside import Inside
from apviso.server.dashboard.naming import list_targets, names_of
from apviso.server.dashboard.routing import page_router, safe_next
from apviso.server.dashboard.visitors import Post, Posted, Visiting, Visitor

router = page_router("/findings")
# As many as a page of 60 kB holds, with all that it loads: a row has some 1.2 kB.
PER_PAGE = 25
HISTORY_SHOWN = 50
MOST_EXPORTED = 10_000
TO_DO = (UserStatus.OPEN, UserStatus.IN_PROGRESS)
SORTS = ("-severity", "severity", "-lastSeen", "lastSeen", "-firstSeen", "firstSeen")


@dataclass(frozen=True)
class Filters:
    """What of all findings is wanted, as it is written in the page's address."""

    severities: tuple[Severity, ...]
    statuses: tuple[UserStatus, ...]
    target: str
    text: str
    sort: str

    @property
    def query(self) -> str:
        lists = {"severity": list(self.severities), "status": list(self.statuses)}
        texts = {name: value for name, value in (("target", self.target), ("q", self.text)) if value}
        # The order is always there: an address with nothing in it means the findings that are to be done.
        return urlencode({**lists, **texts, "sort": self.sort}, doseq=True)

    def sorted_by(self, name: str) -> Filters:
        """By this column; the other way round where it is by this column already."""
        return replace(self, sort=name if self.sort == f"-{name}" else f"-{name}")

    @property
    def asked(self) -> dict[str, Any]:
        """As the API wants it."""
        wanted = {"severity": self.severities or None, "user_status": self.statuses or None}
        return {**wanted, "target_id": self.target or None, "q": self.text or None}


def _filters(
    request: Request,
    severity: Annotated[Sequence[str], Query()] = (),
    status: Annotated[Sequence[str], Query()] = (),
    target: str = "",
    q: str = "",
    sort: str = "",
) -> Filters:
    """What is no value of a filter is left out: an address may be old, or written by hand."""
    statuses = tuple(one for one in UserStatus if one in status)
    return Filters(
        severities=tuple(one for one in Severity if one in severity),
        statuses=statuses if request.url.query else TO_DO,
        target=target[:64],
        text=q.strip()[:200],
        sort=sort if sort in SORTS else SORTS[0],
    )


Filtered = Annotated[Filters, Depends(_filters)]


@router.get("")
async def list_findings(visitor: Visiting, filters: Filtered, page: Annotated[int, Query(ge=1, le=1_000_000)] = 1) -> Response:
    answer, targets = await asyncio.gather(
        visitor.api.findings.page(page, PER_PAGE, **filters.asked, sort=filters.sort), list_targets(visitor)
    )
    return visitor.page(
        "findings/list.html.j2", live="finding", answer=answer, filters=filters, targets=targets, names=names_of(targets), **_lists()
    )


@router.get("/export.csv")
async def export_table(visitor: Visiting, filters: Filtered) -> Response:
    """All that match, for spreadsheets. Raises InvalidRequest for more than 10,000."""
    return _file(visitor, await visitor.api.findings.table(**filters.asked), "csv", "text/csv; charset=utf-8")


@router.get("/export.json")
async def export_json(visitor: Visiting, filters: Filtered) -> Response:
    """The same as JSON with everything that is known of each, worst first; page by page, so that none has to be kept."""
    total = (await visitor.api.findings.page(limit=1, **filters.asked)).total
    if total > MOST_EXPORTED:
        raise InvalidRequest(f"A file takes at most {MOST_EXPORTED} findings, and {total} match: narrow the filters.", status=422)
    return _file(visitor, _as_json(visitor.api, filters), "json", "application/json")


async def _as_json(api: Inside, filters: Filters) -> AsyncIterator[str]:
    yield '{"findings":['
    comma = ""
    async for finding in api.findings.all(**filters.asked):
        yield comma + finding.model_dump_json(by_alias=True)
        comma = ","
    yield "]}"


def _file(visitor: Visitor, content: bytes | AsyncIterator[str], ending: str, media_type: str) -> Response:
    name = f"findings-{visitor.plant.database.clock():%Y-%m-%d}.{ending}"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    if isinstance(content, bytes):
        return Response(content, media_type=media_type, headers=headers)
    return StreamingResponse(content, media_type=media_type, headers=headers)


@router.get("/{id}")
async def show_finding(id: str, visitor: Visiting) -> Response:
    return await _one(visitor, id)


async def _one(visitor: Visitor, id: str, *, status_code: int = 200, **form: Any) -> Response:
    api = visitor.api
    # Its own 404 first: what follows belongs to it.
    finding = await api.findings.get(id)
    history, looks = await asyncio.gather(api.findings.history_page(id, limit=HISTORY_SHOWN), api.findings.looks(id))
    target = await api.targets.get(finding.target_id) if finding.target_id else None
    shown: dict[str, Any] = {"finding": finding, "history": history, "looks": looks.looks, "target": target}
    filled: dict[str, Any] = {"errors": {}, "given": {}, **form}
    return visitor.page("findings/one.html.j2", status_code=status_code, live="finding scan", **shown, **filled, **_lists())


def _lists() -> dict[str, Any]:
    return {"severities": list(Severity), "statuses": list(UserStatus)}


@router.post("/status")
async def set_statuses(posted: Posted) -> Response:
    """Of all that are ticked, one by one: each is a change of its own in its history."""
    form, ticked = posted.form, list(dict.fromkeys(posted.form.all("finding")))[:PER_PAGE]
    back = form.text("back") if form.text("back").startswith("/findings") else "/findings"
    if not ticked:
        return posted.go(safe_next(back), "Nothing is ticked, so nothing was changed.")
    try:
        patch = _patch(form)
        done = [await _set(posted, one, patch) for one in ticked]
    except (ValidationError, InvalidRequest) as error:
        said = " ".join(f"{name or 'form'}: {message}" for name, message in errors_of(error).items())
        return posted.go(safe_next(back), f"Nothing was changed. {said}")
    count = sum(done)
    return posted.go(safe_next(back), f"{count} {'finding is' if count == 1 else 'findings are'} {_word(patch)} now.")


@router.post("/{id}/status")
async def set_status(id: str, posted: Posted) -> Response:
    try:
        patch = _patch(posted.form)
        await posted.visitor.api.findings.set_status(id, patch)
    except (ValidationError, InvalidRequest) as error:
        return await _one(posted.visitor, id, status_code=422, errors=errors_of(error), given=posted.form.texts())
    return posted.go(f"/findings/{id}", f"This finding is {_word(patch)} now.")


async def _set(posted: Post, id: str, patch: FindingStatusPatch) -> bool:
    """False for one that is not there."""
    try:
        await posted.visitor.api.findings.set_status(id, patch)
    except NotFound:
        return False
    return True


def _patch(form: Form) -> FindingStatusPatch:
    """Raises ValidationError. A date is its beginning, in UTC; one that cannot be read is refused as such."""
    given: Mapping[str, Any] = {"userStatus": form.text("userStatus"), "note": form.maybe("note"), "until": form.maybe("until")}
    if (until := given["until"]) is not None:
        given = {**given, "until": _beginning_of(until)}
    return FindingStatusPatch.model_validate(given)


def _beginning_of(day: str) -> datetime | str:
    try:
        return datetime.combine(date.fromisoformat(day), time(), UTC)
    except ValueError:
        return day


def _word(patch: FindingStatusPatch) -> str:
    return {UserStatus.ACCEPTED_RISK: "an accepted risk", UserStatus.FALSE_POSITIVE: "a false positive"}.get(
        patch.user_status, patch.user_status.replace("_", " ")
    )
