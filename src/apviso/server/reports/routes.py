"""Reports, for people: the report of a scan, and each of its files."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from apviso.protocol.reports import ReportDocument
from apviso.protocol.scans import Report, ReportAnswer, ReportPending
from apviso.server.access import Caller, FindingsReader
from apviso.server.errors import (
    CredentialInvalid,
    CredentialMissing,
    InsufficientScope,
    InvalidFields,
    Overloaded,
    PdfUnavailable,
    RateLimited,
    ReportNotMade,
    ScanNotFound,
    WrongCredential,
    responses,
)
from apviso.server.reports import as_html, retries, writing
from apviso.server.reports.formats import MEDIA_TYPES, Format, file_name, path
from apviso.server.reports.store import KeptReport
from apviso.server.resources import Plant, Resources
from apviso.server.scans.facts import ScanFacts
from apviso.server.scans.view import progress

REFUSALS = (
    CredentialMissing,
    CredentialInvalid,
    WrongCredential,
    InsufficientScope,
    InvalidFields,
    RateLimited,
    ScanNotFound,
    ReportNotMade,
)
PENDING: dict[int | str, dict[str, Any]] = {
    202: {"model": ReportPending, "description": "The scan has not ended yet, or what could not be made is tried again after a while."}
}
SARIF_EXAMPLE = {"version": "2.1.0", "runs": []}
router = APIRouter(prefix="/api/v1/scans/{id}", tags=["findings"])


def _file(format_: Format, **schema: Any) -> dict[int | str, dict[str, Any]]:
    """The answers of a file's address, for the document."""
    media, _, _ = MEDIA_TYPES[format_].partition(";")
    content = {"schema": {"type": "string"}} | schema
    return {200: {"description": "The file.", "content": {media: content}}, **PENDING, **responses(*REFUSALS)}


@router.get("/report", response_model=ReportAnswer, responses={**PENDING, **responses(*REFUSALS)})
async def get_scan_report(id: str, caller: FindingsReader, plant: Plant) -> ReportAnswer | JSONResponse:
    """The report of an ended scan, written once and kept; 202 with the progress until then.

    `pdfUrl` is null on a server that makes no PDF files. A format that could not be made has no address, and `notMade` says why.
    """
    asked = await writing.find_or_write(plant, caller.organization_id, id)
    if asked.report is None:
        return _pending(asked.scan, asked.seconds_left)
    report = asked.report
    markdown = await writing.get_file(plant, report, caller.organization_id, Format.MARKDOWN)
    assert markdown is not None
    urls = {format_: path(report.scan_id, format_) for format_ in Format if format_ not in report.not_made}
    return ReportAnswer(
        report=Report(
            markdown_content=markdown.content.decode(),
            pdf_url=urls.get(Format.PDF) if plant.typesetter.why_not is None else None,
            html_url=urls.get(Format.HTML),
            sarif_url=urls.get(Format.SARIF),
            markdown_url=urls.get(Format.MARKDOWN),
            csv_url=urls.get(Format.CSV),
            json_url=urls.get(Format.JSON),
            summary=report.summary,
            not_made=report.not_made,
        )
    )


@router.get("/report.md", response_class=Response, responses=_file(Format.MARKDOWN))
async def get_markdown_report(id: str, caller: FindingsReader, plant: Plant) -> Response:
    """The report as Markdown."""
    return await _served(plant, caller, id, Format.MARKDOWN)


@router.get("/report.html", response_class=Response, responses=_file(Format.HTML))
async def get_html_report(id: str, caller: FindingsReader, plant: Plant) -> Response:
    """The report as one page that loads nothing and runs no script."""
    return await _served(plant, caller, id, Format.HTML)


@router.get("/report.pdf", response_class=Response, responses={**_file(Format.PDF), **responses(PdfUnavailable, ReportNotMade, Overloaded)})
async def get_pdf_report(id: str, caller: FindingsReader, plant: Plant) -> Response:
    """The report for printing. It is made soon after the scan's end, or when it is first asked for."""
    return await _served(plant, caller, id, Format.PDF)


@router.get("/report.sarif", response_class=Response, responses=_file(Format.SARIF, schema={"type": "object"}, example=SARIF_EXAMPLE))
async def get_sarif_report(id: str, caller: FindingsReader, plant: Plant) -> Response:
    """The report for code-scanning tools, as SARIF 2.1.0. A scan that did not look at everything is a run that was not successful."""
    return await _served(plant, caller, id, Format.SARIF)


@router.get("/report.csv", response_class=Response, responses=_file(Format.CSV))
async def get_csv_report(id: str, caller: FindingsReader, plant: Plant) -> Response:
    """The report as a table. `record` says what a row is: `scan`, `coverage`, `not_looked_at`, `retest_fixed`, `retest_still_open`,
    `retest_could_not_check`, `finding`, `left_out`, `gone`, `not_seen`."""
    return await _served(plant, caller, id, Format.CSV)


@router.get("/report.json", response_model=ReportDocument, responses={**PENDING, **responses(*REFUSALS)})
async def get_json_report(id: str, caller: FindingsReader, plant: Plant) -> Response:
    """The report as data: what all other formats are made from."""
    return await _served(plant, caller, id, Format.JSON)


def _pending(scan: ScanFacts, seconds_left: float | None) -> JSONResponse:
    """`seconds_left` until what could not be made is tried again."""
    pending = ReportPending(status=scan.status, progress=progress(scan))
    headers = {} if seconds_left is None else {"retry-after": str(max(1, round(seconds_left)))}
    return JSONResponse(pending.model_dump(mode="json", by_alias=True), 202, headers)


async def _served(plant: Resources, caller: Caller, scan_id: str, format_: Format) -> Response:
    asked = await writing.find_or_write(plant, caller.organization_id, scan_id)
    report = asked.report
    if report is None:
        return _pending(asked.scan, asked.seconds_left)
    file = await writing.get_file(plant, report, caller.organization_id, format_)
    if file is None:
        return _pending(asked.scan, retries.delay_after(1).total_seconds())
    return Response(file.content, headers=_headers(report, format_, file.sha256), media_type=MEDIA_TYPES[format_])


def _headers(report: KeptReport, format_: Format, digest: str) -> dict[str, str]:
    # What a browser can show safely it may show: a page without script in an origin of its own, and a PDF.
    manner = "inline" if format_ in (Format.HTML, Format.PDF) else "attachment"
    told = {
        "etag": f'"{digest[:32]}"',
        "content-disposition": f'{manner}; filename="{file_name(report.domain, report.scan_id, format_)}"',
    }
    return told | ({"content-security-policy": as_html.policy()} if format_ is Format.HTML else {})
