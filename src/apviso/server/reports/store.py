"""All SQL of reports: which scans lack one, which lack its PDF, and the files as they were written."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.states import FINAL_STATUSES, ScanStatus
from apviso.protocol.wire import OrganizationId, ScanId
from apviso.server.db.engine import Work
from apviso.server.db.schema import ReportFileRow, ReportRow, ScanRow
from apviso.server.reports.formats import Format
from apviso.server.reports.retries import MOST_PDF_TRIES
from apviso.server.scans.facts import ScanFacts


@dataclass(frozen=True)
class KeptReport:
    """`not_made` says of a format why there is none. At `pdf_due_at` a PDF that could not be set is tried again."""

    scan_id: ScanId
    domain: str
    written_at: datetime
    summary: dict[str, Any]
    not_made: dict[str, str]
    pdf_tries_left: int
    pdf_due_at: datetime | None


_KEPT = (
    ReportRow.scan_id,
    ReportRow.domain,
    ReportRow.written_at,
    ReportRow.summary,
    ReportRow.not_made,
    ReportRow.pdf_tries_left,
    ReportRow.pdf_due_at,
)


@dataclass(frozen=True)
class Trouble:
    """How often a report could not be written, and when it is tried again, or why it never will be."""

    failures: int
    due_at: datetime | None
    given_up: str | None


@dataclass(frozen=True)
class KeptFile:
    content: bytes
    sha256: str


async def find(work: Work, organization_id: OrganizationId, scan_id: ScanId) -> KeptReport | None:
    found = await work.db.execute(select(*_KEPT).where(ReportRow.organization_id == organization_id, ReportRow.scan_id == scan_id))
    row = found.mappings().one_or_none()
    return None if row is None else KeptReport(**{**row, "not_made": row["not_made"] or {}})


async def find_file(work: Work, organization_id: OrganizationId, scan_id: ScanId, format_: Format) -> KeptFile | None:
    row = (
        await work.db.execute(
            select(ReportFileRow.content, ReportFileRow.sha256)
            .join(ReportRow, ReportRow.scan_id == ReportFileRow.scan_id)
            .where(ReportRow.organization_id == organization_id, ReportFileRow.scan_id == scan_id, ReportFileRow.format == format_)
        )
    ).one_or_none()
    return None if row is None else KeptFile(zlib.decompress(row.content), row.sha256)


async def mark_written(work: Work, scan: ScanFacts) -> bool:
    """Whether this transaction is the one that writes the report."""
    won = await work.db.execute(
        update(ScanRow)
        .where(ScanRow.id == scan.id, ScanRow.status.in_(FINAL_STATUSES), ScanRow.reported_at.is_(None))
        .values(reported_at=work.now)
    )
    return won.rowcount == 1


async def trouble_with(work: Work, scan_id: ScanId) -> Trouble:
    row = (
        await work.db.execute(select(ScanRow.report_failures, ScanRow.report_due_at, ScanRow.report_given_up).where(ScanRow.id == scan_id))
    ).one()
    return Trouble(row.report_failures or 0, row.report_due_at, row.report_given_up)


async def note_failure(work: Work, scan_id: ScanId, after: Trouble) -> None:
    """One more than before, unless somebody else has noted it. A report that is given up counts as done: nobody looks for it again."""
    done = {"reported_at": work.now} if after.given_up is not None else {}
    told = {"report_failures": after.failures, "report_due_at": after.due_at, "report_given_up": after.given_up}
    is_next = func.coalesce(ScanRow.report_failures, 0) == after.failures - 1
    await work.db.execute(update(ScanRow).where(ScanRow.id == scan_id, ScanRow.reported_at.is_(None), is_next).values(**told, **done))


async def add(
    work: Work, scan: ScanFacts, domain: str, written_at: datetime, summary: Mapping[str, Any], not_made: Mapping[str, str]
) -> None:
    await work.db.execute(
        insert(ReportRow).values(
            scan_id=scan.id,
            organization_id=scan.organization_id,
            domain=domain,
            written_at=written_at,
            summary=dict(summary),
            pdf_tries_left=0 if Format.PDF in not_made else MOST_PDF_TRIES,
            not_made=dict(not_made),
        )
    )


def packed(scan_id: ScanId, files: Mapping[Format, bytes]) -> list[dict[str, Any]]:
    """Files as they are kept. Takes its time, so it belongs before the transaction."""
    return [
        {"scan_id": scan_id, "format": format_, "sha256": hashlib.sha256(content).hexdigest(), "content": zlib.compress(content)}
        for format_, content in files.items()
    ]


async def add_files(work: Work, rows: list[dict[str, Any]]) -> None:
    """Keep packed files; one that is there already stays as it is."""
    dialect = postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert
    await work.db.execute(dialect(ReportFileRow).on_conflict_do_nothing(), rows)


def unwritten(now: datetime) -> Select[OrganizationId, ScanId]:
    """Scans of every organization that have ended and have no report; not those that are left alone for now."""
    has_none = and_(ScanRow.finished_at.is_not(None), ScanRow.reported_at.is_(None))
    return select(ScanRow.organization_id, ScanRow.id).where(has_none, or_(ScanRow.report_due_at.is_(None), ScanRow.report_due_at <= now))


async def list_unwritten(work: Work, most: int) -> list[tuple[OrganizationId, ScanId]]:
    """The first to end first."""
    rows = await work.db.execute(unwritten(work.now).order_by(ScanRow.finished_at).limit(most))
    return [(row.organization_id, row.id) for row in rows]


async def find_unset(work: Work) -> tuple[OrganizationId, ScanId] | None:
    """The oldest report whose PDF is still to be made, and is not left alone for now."""
    is_due = or_(ReportRow.pdf_due_at.is_(None), ReportRow.pdf_due_at <= work.now)
    found = select(ReportRow.organization_id, ReportRow.scan_id).where(ReportRow.pdf_tries_left > 0, is_due)
    row = (await work.db.execute(found.order_by(ReportRow.written_at).limit(1))).one_or_none()
    return None if row is None else (row.organization_id, row.scan_id)


async def count_try(work: Work, scan_id: ScanId) -> None:
    """Before each try: one that takes the process with it counts, too."""
    await work.db.execute(
        update(ReportRow)
        .where(ReportRow.scan_id == scan_id, ReportRow.pdf_tries_left > 0)
        .values(pdf_tries_left=ReportRow.pdf_tries_left - 1)
    )


async def note_unset(work: Work, report: KeptReport, due_at: datetime, given_up: str) -> None:
    """Leave its PDF alone until then, or for ever where no try is left."""
    is_over = report.pdf_tries_left <= 0
    told = {"not_made": {**report.not_made, Format.PDF: given_up}} if is_over else {"pdf_due_at": due_at}
    await work.db.execute(update(ReportRow).where(ReportRow.scan_id == report.scan_id).values(**told))


async def mark_set(work: Work, scan_id: ScanId) -> None:
    await work.db.execute(update(ReportRow).where(ReportRow.scan_id == scan_id).values(pdf_tries_left=0))


async def find_previous(work: Work, scan: ScanFacts) -> ScanFacts | None:
    """The last scan of the same target that was started before this one, came to its end, and looked for everything: no retest."""
    found = await work.db.execute(
        select(ScanRow.__table__)
        .where(
            ScanRow.organization_id == scan.organization_id,
            ScanRow.target_id == scan.target_id,
            ScanRow.status == ScanStatus.COMPLETED,
            ScanRow.is_retest.is_(False),
            or_(ScanRow.created_at < scan.created_at, and_(ScanRow.created_at == scan.created_at, ScanRow.id < scan.id)),
        )
        .order_by(ScanRow.created_at.desc(), ScanRow.id.desc())
        .limit(1)
    )
    row = found.mappings().one_or_none()
    return None if row is None else ScanFacts.of(row)
