"""The formats of a report, in one table: what each is called, what type it is served as, what writes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

from apviso.protocol.reports import ReportDocument
from apviso.protocol.wire import ScanId
from apviso.server.reports import as_csv, as_html, as_markdown, as_sarif


class Format(StrEnum):
    """As the address ends."""

    MARKDOWN = "md"
    HTML = "html"
    PDF = "pdf"
    SARIF = "sarif"
    CSV = "csv"
    JSON = "json"


MEDIA_TYPES = {
    Format.MARKDOWN: "text/markdown; charset=utf-8",
    Format.HTML: "text/html; charset=utf-8",
    Format.PDF: "application/pdf",
    Format.SARIF: "application/sarif+json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
}


def _as_json(document: ReportDocument) -> str:
    return document.model_dump_json(by_alias=True, indent=2) + "\n"


# All but PDF, which is typeset from the JSON by a process of its own, when there is time or somebody asks.
WRITERS: dict[Format, Callable[[ReportDocument], str]] = {
    Format.MARKDOWN: as_markdown.render,
    Format.HTML: as_html.render,
    Format.SARIF: as_sarif.render,
    Format.CSV: as_csv.render,
    Format.JSON: _as_json,
}


def written(document: ReportDocument) -> dict[Format, bytes]:
    return {format_: write(document).encode() for format_, write in WRITERS.items()}


def path(scan_id: ScanId, format_: Format) -> str:
    return f"/api/v1/scans/{scan_id}/report.{format_}"


def file_name(domain: str, scan_id: ScanId, format_: Format) -> str:
    """Letters, digits, dots and hyphens only, whatever the target is called."""
    word = re.sub(r"[^A-Za-z0-9]+", "-", domain)[:80].strip("-") or "target"
    return f"apviso-report-{word}-{scan_id}.{format_}"
