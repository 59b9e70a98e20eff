"""Writes the report of an ended scan, once: facts are read, all formats made beside the event loop, and kept in one transaction.

What cannot be made is tried again after a while, and given up in the end with a reason that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from apviso import __version__
from apviso.protocol.findings import Finding
from apviso.protocol.reports import ReportDocument
from apviso.protocol.states import RetestOutcome, UserStatus
from apviso.protocol.wire import OrganizationId, ScanId
from apviso.server.db import retests
from apviso.server.db.engine import Work
from apviso.server.errors import PdfUnavailable, Refusal, ReportNotMade
from apviso.server.findings import store as findings
from apviso.server.paging import Page
from apviso.server.reports import retries, store, wording
from apviso.server.reports.comparison import Previous
from apviso.server.reports.document import MAX_REPORTED, build, summary
from apviso.server.reports.formats import Format, Written, not_made, written
from apviso.server.reports.retested import Ended
from apviso.server.reports.store import KeptFile, KeptReport, Trouble
from apviso.server.resources import Resources, Turn
from apviso.server.scans import retesting
from apviso.server.scans import store as scans
from apviso.server.scans.facts import ScanFacts
from apviso.server.scans.view import show
from apviso.server.stream import store as stream
from apviso.server.targets import store as targets
from apviso.server.typesetting.process import TypesettingFailed

log = structlog.get_logger("apviso.reports")
GENERATOR = f"APVISO Runners {__version__}"
_ALL = Page(1, MAX_REPORTED)
# Of retests that ended before their results were kept.
_UNDECIDED = (RetestOutcome.COULD_NOT_CHECK, "The retest has said nothing about it.")
# Longer than the longest report takes; other duties are waiting.
SECONDS = 15.0


@dataclass(frozen=True)
class Asked:
    """A scan and its report. There is none while the scan has not ended; with `seconds_left` one that failed is left alone so long."""

    scan: ScanFacts
    report: KeptReport | None = None
    seconds_left: float | None = None


async def find_or_write(plant: Resources, organization_id: OrganizationId, scan_id: str) -> Asked:
    """The report, written now if nobody has yet. Raises ReportNotMade where it was given up."""
    async with plant.database.reading() as work:
        asked = await _find(work, organization_id, scan_id)
    if not asked.scan.is_final or asked.report is not None or asked.seconds_left is not None:
        return asked
    await try_to_write(plant, organization_id, asked.scan.id, plant.database.writing)
    async with plant.database.reading() as work:
        return await _find(work, organization_id, scan_id)


async def _find(work: Work, organization_id: OrganizationId, scan_id: str) -> Asked:
    scan = await scans.get(work, organization_id, scan_id)
    report = await store.find(work, organization_id, scan.id)
    if report is not None or not scan.is_final:
        return Asked(scan, report)
    trouble = await store.trouble_with(work, scan.id)
    if trouble.given_up is not None:
        raise ReportNotMade(f"The report of this scan could not be made. {trouble.given_up}")
    left = 0.0 if trouble.due_at is None else (trouble.due_at - work.now).total_seconds()
    return Asked(scan, None, left if left > 0 else None)


async def try_to_write(plant: Resources, organization_id: OrganizationId, scan_id: ScanId, writing: Turn) -> None:
    """Write the report; where that fails, note when it is tried again, or that it was given up."""
    try:
        async with asyncio.timeout(SECONDS):
            async with plant.database.reading() as work:
                scan = await scans.get(work, organization_id, scan_id)
            await write(plant, scan, writing)
    except Refusal:  # nothing is wrong with the report: the database is away, or the server has too much to do
        raise
    except Exception as error:
        log.exception("report not written", scan_id=scan_id)
        async with writing() as work:
            await _note(work, scan_id, type(error).__name__)


async def _note(work: Work, scan_id: ScanId, what: str) -> None:
    before = await store.trouble_with(work, scan_id)
    if before.due_at is not None and before.due_at > work.now:
        return  # several have tried at once
    failures = before.failures + 1
    given_up = retries.given_up(failures, what) if failures >= retries.MOST_TRIES else None
    await store.note_failure(work, scan_id, Trouble(failures, work.now + retries.delay_after(failures), given_up))


async def write(plant: Resources, scan: ScanFacts, writing: Turn) -> bool:
    """Write the report unless somebody else has; whether it was written here."""
    async with plant.database.reading() as work:
        silent = await _count_silent(work, scan)
        document = await _document(work, plant, scan, wording.silenced(silent))
    made, files = await asyncio.to_thread(_made, scan, document)
    for format_, error in made.failures.items():
        log.error("format of a report not written", scan_id=scan.id, format=format_, exc_info=error)
    async with writing() as work:
        if not await store.mark_written(work, scan):
            return False
        figures = summary(document) | {"falsePositives": silent}
        await store.add(work, scan, document.target.domain, document.as_of, figures, not_made(made.failures))
        await store.add_files(work, files)
        told = {"verdict": document.verdict, "findingCounts": figures["findingCounts"]}
        stream.publish(work, scan.organization_id, "report.ready", scanId=scan.id, targetId=scan.target_id, **told)
    return True


def _made(scan: ScanFacts, document: ReportDocument) -> tuple[Written, list[dict[str, Any]]]:
    made = written(document)
    return made, store.packed(scan.id, made.files)


async def _document(work: Work, plant: Resources, scan: ScanFacts, remarks: Sequence[str]) -> ReportDocument:
    shown = (await show(work, plant, [scan]))[0]
    target = targets.job_target(await targets.get(work, scan.organization_id, scan.target_id))
    found, _ = await _told(work, scan)
    return build(shown, target, found, await _previous(work, scan), work.now, GENERATOR, remarks, await _retested(work, scan))


async def _told(work: Work, scan: ScanFacts) -> tuple[list[Finding], bool]:
    """What a report tells of, and whether that is all: false positives are counted alone."""
    found, total = await findings.list_of_scan(work, scan, None, None, _ALL)
    return [one for one in found if one.user_status is not UserStatus.FALSE_POSITIVE], len(found) == total


async def _count_silent(work: Work, scan: ScanFacts) -> int:
    """The false positives that the scan saw."""
    _, silent = await findings.list_of_scan(work, scan, None, UserStatus.FALSE_POSITIVE, Page(1, 1))
    return silent


async def _retested(work: Work, scan: ScanFacts) -> list[Ended] | None:
    """How each finding of a retest ended; None for a scan that is none."""
    if not scan.is_retest:
        return None
    ended = await retests.list_results(work, scan.id)
    return [(one, *ended.get(one.id, _UNDECIDED)) for one in await retesting.list_findings(work, scan)]


async def _previous(work: Work, scan: ScanFacts) -> Previous | None:
    before = await store.find_previous(work, scan)
    if before is None:
        return None
    found, is_whole = await _told(work, before)
    is_complete = bool(before.coverage and before.coverage.get("complete"))
    return Previous(before.id, before.finished_at, before.model_preset, is_complete, found, is_whole=is_whole)


async def get_file(plant: Resources, report: KeptReport, organization_id: OrganizationId, format_: Format) -> KeptFile | None:
    """A file of a report that is kept; None for a PDF that is left alone until `report.pdf_due_at`. One that was not made yet is made now.

    Raises PdfUnavailable and ReportNotMade."""
    async with plant.database.reading() as work:
        found = await store.find_file(work, organization_id, report.scan_id, format_)
        is_left_alone = report.pdf_due_at is not None and report.pdf_due_at > work.now
    if found is not None:
        return found
    if format_ in report.not_made:
        raise ReportNotMade(f"The report of this scan could not be made as {format_}. {report.not_made[format_]}")
    assert format_ is Format.PDF
    if (why_not := plant.typesetter.why_not) is not None:
        raise PdfUnavailable(why_not)
    return None if is_left_alone else await try_to_typeset(plant, report, organization_id)


async def try_to_typeset(plant: Resources, report: KeptReport, organization_id: OrganizationId) -> KeptFile | None:
    """The PDF; None where it cannot be made now, which is noted."""
    try:
        return await typeset(plant, report, organization_id)
    except TypesettingFailed as error:
        log.warning("report not typeset", scan_id=report.scan_id, reason=str(error))
    failures = retries.MOST_PDF_TRIES - report.pdf_tries_left
    async with plant.database.writing() as work:
        due_at = work.now + retries.delay_after(failures)
        await store.note_unset(work, report, due_at, retries.given_up(retries.MOST_PDF_TRIES, "no file of the typesetter"))
    return None


async def typeset(plant: Resources, report: KeptReport, organization_id: OrganizationId) -> KeptFile:
    """Make and keep the PDF from the JSON that is kept, so that both say the same. No transaction is open meanwhile."""
    async with plant.database.reading() as work:
        source = await store.find_file(work, organization_id, report.scan_id, Format.JSON)
    assert source is not None
    made = store.packed(report.scan_id, {Format.PDF: await plant.typesetter.typeset(source.content)})
    async with plant.database.writing() as work:
        await store.add_files(work, made)
        await store.mark_set(work, report.scan_id)
        kept = await store.find_file(work, organization_id, report.scan_id, Format.PDF)
    assert kept is not None
    return kept
