"""Writes a report as one HTML page without script, which loads nothing; the template escapes every text. Pure."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from apviso.protocol.reports import ReportDocument
from apviso.protocol.states import Severity
from apviso.protocol.wire import format_instant
from apviso.server.reports import wording


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("apviso.server", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["instant"] = format_instant
    return pages


@cache
def _style() -> str:
    return files("apviso.server").joinpath("pages/report.css").read_text(encoding="utf-8")


@cache
def _page_policy() -> str:
    """As the page itself carries it, for whoever opens it from a disk: nothing is loaded, the one style sheet is known by its digest."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def policy() -> str:
    """The same as a header. The page is an origin of its own: whatever it held could do nothing in the server's name."""
    return f"{_page_policy()}; frame-ancestors 'none'; sandbox"


def render(document: ReportDocument) -> str:
    numbered = list(enumerate(document.findings, 1))
    groups = [(severity, [entry for entry in numbered if entry[1].severity is severity]) for severity in Severity]
    return (
        _pages()
        .get_template("report.html.j2")
        .render(document=document, groups=[group for group in groups if group[1]], style=_style(), policy=_page_policy(), wording=wording)
    )
