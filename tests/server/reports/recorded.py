"""A scan of the demo shop as it was recorded, with the one before it, and its reports as they are kept beside it.

`python -m tests.server.reports.recorded` writes those anew, to be looked at before they are kept."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pypdf import PdfReader

from apviso.protocol.findings import Finding
from apviso.protocol.reports import ReportDocument
from apviso.protocol.scans import Scan
from apviso.protocol.targets import JobTarget
from apviso.server.reports.comparison import Previous
from apviso.server.reports.document import build
from apviso.server.reports.formats import WRITERS, Format
from apviso.server.typesetting.__main__ import pdf_of

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"


def document() -> ReportDocument:
    told: dict[str, Any] = json.loads((HERE / "recorded_scan.json").read_text(encoding="utf-8"))
    before = Scan.model_validate(told["before"])
    assert before.coverage is not None
    earlier = Previous(before.id, before.finished_at, before.model_preset, before.coverage.complete, _findings(told["beforeFindings"]))
    now = datetime.fromisoformat(told["scan"]["finishedAt"])
    target = JobTarget.model_validate(told["target"])
    return build(Scan.model_validate(told["scan"]), target, _findings(told["scanFindings"]), earlier, now, "APVISO Runners 0.1.0")


def _findings(told: list[dict[str, Any]]) -> list[Finding]:
    return [Finding.model_validate(one) for one in told]


def kept(format_: Format) -> Path:
    """A PDF is kept as the text that is in it: its bytes depend on the release of the typesetter. Markdown is no page of ours."""
    return GOLDEN / (f"report.{format_}.txt" if format_ in (Format.PDF, Format.MARKDOWN) else f"report.{format_}")


def written(format_: Format) -> str:
    if format_ is Format.PDF:
        return text_of(pdf_of(WRITERS[Format.JSON](document())))
    return WRITERS[format_](document())


def text_of(pdf: bytes) -> str:
    """What is written in a PDF, without the places where words may be broken."""
    pages = PdfReader(io.BytesIO(pdf)).pages
    return "\n\f\n".join(page.extract_text() for page in pages).replace("\u200b", "") + "\n"


def write_anew() -> None:
    for format_ in Format:
        kept(format_).write_bytes(written(format_).encode())


if __name__ == "__main__":
    write_anew()
