"""The formats of a report, in one table: what each is called, what type it is served as, what writes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Written:
    """The files that could be made, and for every other format what its writer met."""

    files: dict[Format, bytes] = field(default_factory=dict)
    failures: dict[Format, Exception] = field(default_factory=dict)


def written(document: ReportDocument, writers: Mapping[Format, Callable[[ReportDocument], str]] = WRITERS) -> Written:
    """One format that cannot be made costs no other. Writers know nothing but the document: one that has failed would fail again."""
    made = Written()
    for format_, write in writers.items():
        try:
            made.files[format_] = write(document).encode()
        except Exception as error:  # noqa: BLE001 - whatever a writer met, the other files are there
            made.failures[format_] = error
    return made


def not_made(failures: Mapping[Format, Exception]) -> dict[str, str]:
    """What is said of each format that could not be made. No word of the error itself: it may quote the scanned site."""
    told = {
        str(format_): f"It could not be written ({type(error).__name__}); the server's log has it." for format_, error in failures.items()
    }
    if Format.JSON in failures:
        told[Format.PDF] = "It is made from the JSON, which could not be written."
    return told


def path(scan_id: ScanId, format_: Format) -> str:
    return f"/api/v1/scans/{scan_id}/report.{format_}"


def file_name(domain: str, scan_id: ScanId, format_: Format) -> str:
    """Letters, digits, dots and hyphens only, whatever the target is called."""
    word = re.sub(r"[^A-Za-z0-9]+", "-", domain)[:80].strip("-") or "target"
    return f"apviso-report-{word}-{scan_id}.{format_}"
