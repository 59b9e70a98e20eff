"""Writes the report of an ended scan, once: facts are read, all formats made beside the event loop, and kept in one transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from apviso import __version__
from apviso.protocol.findings import Finding, RetestCounts
from apviso.protocol.reports import ReportDocument
from apviso.protocol.states import UserStatus
from apviso.protocol.wire import OrganizationId
from apviso.server.db import retests
from apviso.server.db.engine import Work
from apviso.server.errors import InternalError, PdfUnavailable
from apviso.server.findings import store as findings
from apviso.server.paging import Page
from apviso.server.reports import store, wording
from apviso.server.reports.comparison import Previous
from apviso.server.reports.document import MAX_REPORTED, build, summary
from apviso.server.reports.formats import Format, written
from apviso.server.reports.store import KeptFile, KeptReport
from apviso.server.resources import Resources, Turn
from apviso.server.scans import store as scans
from apviso.server.scans.facts import ScanFacts
from apviso.server.scans.view import show
from apviso.server.stream import store as stream
from apviso.server.targets import store as targets
from apviso.server.typesetting.process import TypesettingFailed

GENERATOR = f"APVISO Runners {__version__}"
_ALL = Page(1, MAX_REPORTED)


async def find_or_write(plant: Resources, organization_id: OrganizationId, scan_id: str) -> tuple[ScanFacts, KeptReport | None]:
    """The scan and its report, written now if nobody has yet; None while the scan has not ended."""
    async with plant.database.reading() as work:
        scan = await scans.get(work, organization_id, scan_id)
        report = await store.find(work, organization_id, scan.id)
    if not scan.is_final or report is not None:
        return scan, report
    await write(plant, scan, plant.database.writing)
    async with plant.database.reading() as work:
        return scan, await store.find(work, organization_id, scan.id)


async def write(plant: Resources, scan: ScanFacts, writing: Turn) -> bool:
    """Write the report unless somebody else has; whether it was written here."""
    async with plant.database.reading() as work:
        silent, retest = await _silent_and_retested(work, scan)
        document = await _document(work, plant, scan, wording.silenced(silent) + wording.retested(retest))
    files = await asyncio.to_thread(lambda: store.packed(scan.id, written(document)))
    async with writing() as work:
        if not await store.mark_written(work, scan):
            return False
        figures = summary(document) | {"falsePositives": silent} | ({"retest": dict(retest)} if scan.is_retest else {})
        await store.add(work, scan, document.target.domain, document.as_of, figures)
        await store.add_files(work, files)
        told = {"verdict": document.verdict, "findingCounts": figures["findingCounts"]}
        stream.publish(work, scan.organization_id, "report.ready", scanId=scan.id, targetId=scan.target_id, **told)
    return True


async def _document(work: Work, plant: Resources, scan: ScanFacts, remarks: Sequence[str]) -> ReportDocument:
    shown = (await show(work, plant, [scan]))[0]
    target = targets.job_target(await targets.get(work, scan.organization_id, scan.target_id))
    found, _ = await _told(work, scan)
    return build(shown, target, found, await _previous(work, scan), work.now, GENERATOR, remarks)


async def _told(work: Work, scan: ScanFacts) -> tuple[list[Finding], bool]:
    """What a report tells of, and whether that is all: false positives are counted alone."""
    found, total = await findings.list_of_scan(work, scan, None, None, _ALL)
    return [one for one in found if one.user_status is not UserStatus.FALSE_POSITIVE], len(found) == total


async def _silent_and_retested(work: Work, scan: ScanFacts) -> tuple[int, dict[str, int]]:
    """How many false positives the scan saw, and how many of the findings that it tested again ended in which way."""
    _, silent = await findings.list_of_scan(work, scan, None, UserStatus.FALSE_POSITIVE, Page(1, 1))
    ended = Counter(outcome for outcome, _ in (await retests.list_results(work, scan.id)).values())
    counts = RetestCounts(**{str(outcome): times for outcome, times in ended.items()})
    return silent, counts.model_dump(by_alias=True) if scan.is_retest else {}


async def _previous(work: Work, scan: ScanFacts) -> Previous | None:
    before = await store.find_previous(work, scan)
    if before is None:
        return None
    found, is_whole = await _told(work, before)
    is_complete = bool(before.coverage and before.coverage.get("complete"))
    return Previous(before.id, before.finished_at, before.model_preset, is_complete, found, is_whole=is_whole)


async def get_file(plant: Resources, report: KeptReport, organization_id: OrganizationId, format_: Format) -> KeptFile:
    """A file of a report that is kept. A PDF that was not made yet is made now. Raises PdfUnavailable."""
    async with plant.database.reading() as work:
        found = await store.find_file(work, organization_id, report.scan_id, format_)
    if found is not None:
        return found
    assert format_ is Format.PDF
    if (why_not := plant.typesetter.why_not) is not None:
        raise PdfUnavailable(why_not)
    try:
        return await typeset(plant, report, organization_id)
    except TypesettingFailed as error:
        raise InternalError("The PDF of this report could not be made; its other formats are there.") from error


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
