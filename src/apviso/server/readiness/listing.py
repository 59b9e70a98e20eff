"""The list of runners as it is sent: put together from what each record has ready, and kept while nothing in it changes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from apviso.protocol.readiness import Readiness
from apviso.protocol.runners import RunnerUptime, UptimeList
from apviso.protocol.states import RunnerStatus
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.readiness.gather import expected_ends, judged, question_of, readiness_of
from apviso.server.resources import Resources
from apviso.server.runners import store as runners
from apviso.server.runners.fleet import current
from apviso.server.runners.history import BAR, bars_of, first_bar
from apviso.server.runners.records import Record, Records
from apviso.server.runners.view import is_listed

# Different questions whose answers are kept at once; ten thousand runners make one of several megabytes.
MOST_KEPT = 8
DEFAULT_LIMIT = 50


@dataclass(frozen=True)
class Wanted:
    """Without page and limit all runners are listed."""

    status: RunnerStatus | None = None
    label: str | None = None
    name: str | None = None
    page: int | None = None
    limit: int | None = None
    is_brief: bool = False

    def fits(self, record: Record) -> bool:
        facts = record.facts
        return (
            is_listed(record.presence, self.status)
            and (self.label is None or self.label in facts.labels)
            and (self.name is None or self.name.casefold() in facts.name.casefold())
        )


@dataclass(frozen=True)
class WantedReadiness:
    """Of any scan, with each runner or without."""

    is_brief: bool


@dataclass(frozen=True)
class Answer:
    body: bytes
    tag: str


async def list_answer(plant: Resources, organization_id: OrganizationId, wanted: Wanted) -> Answer:
    """The JSON of a RunnerList, and its entity tag."""
    records = await current(plant, organization_id)
    readiness = await _with_estimate(plant, organization_id, records, is_brief=wanted.is_brief)
    # Nothing is waited for from here on, or the records could be others in the end.
    return _kept_or_made(records, readiness, wanted, lambda: _list_of(records, readiness, wanted))


async def readiness_answer(plant: Resources, organization_id: OrganizationId, *, is_brief: bool) -> Answer:
    """The JSON of a Readiness for any scan, and its entity tag."""
    records = await current(plant, organization_id)
    readiness = await _with_estimate(plant, organization_id, records, is_brief=is_brief)
    return _kept_or_made(records, readiness, WantedReadiness(is_brief), lambda: readiness.model_dump_json(by_alias=True).encode())


async def _with_estimate(plant: Resources, organization_id: OrganizationId, records: Records, *, is_brief: bool) -> Readiness:
    readiness = await readiness_of(plant, organization_id, records, is_brief=is_brief)
    if readiness.ready:
        return readiness
    async with plant.database.reading() as work:
        ends = await expected_ends(work, organization_id)
    return await judged(replace(question_of(records, readiness.license, plant.database.clock(), ends), is_brief=is_brief))


def _kept_or_made(records: Records, readiness: Readiness, wanted: Wanted | WantedReadiness, make: Callable[[], bytes]) -> Answer:
    known: tuple[Readiness, Answer] | None = records.made.get(wanted)
    if known is not None and (known[0] is readiness or known[0] == readiness):
        return known[1]
    body = make()
    answer = Answer(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    if len(records.made) >= MOST_KEPT:
        records.made.clear()
    records.made[wanted] = readiness, answer
    return answer


async def uptime_answer(work: Work, plant: Resources, organization_id: OrganizationId, wanted: Wanted) -> UptimeList:
    """The last day of the runners on one page of the list, by one statement for all of them."""
    found = [record.facts.id for record in (await current(plant, organization_id)).all() if wanted.fits(record)]
    size, number = wanted.limit or DEFAULT_LIMIT, wanted.page or 1
    shown, begin = found[(number - 1) * size : number * size], first_bar(work.now)
    known = await runners.list_stretches(work, organization_id, shown, begin)
    return UptimeList(
        since=begin,
        bar_seconds=int(BAR.total_seconds()),
        runners=[RunnerUptime(id=one, bars=bars_of(known.get(one, ()), begin, work.now)) for one in shown],
        total=len(found),
        page=number,
        limit=size,
        total_pages=math.ceil(len(found) / size),
    )


def _list_of(records: Records, readiness: Readiness, wanted: Wanted) -> bytes:
    found = [record.shown for record in records.all() if wanted.fits(record)]
    counted: dict[str, int | None] = {"total": len(found), "page": None, "limit": None, "totalPages": None}
    if wanted.page is not None or wanted.limit is not None:
        size, number = wanted.limit or DEFAULT_LIMIT, wanted.page or 1
        counted |= {"page": number, "limit": size, "totalPages": math.ceil(len(found) / size)}
        found = found[(number - 1) * size : number * size]
    written = readiness.model_dump_json(by_alias=True).encode()
    tail = json.dumps(counted, separators=(",", ":")).encode()[1:]
    return b"".join((b'{"runners":[', b",".join(found), b'],"readiness":', written, b",", tail))
