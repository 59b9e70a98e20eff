"""`apviso report`: the report of an ended scan, as a file."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.scan import WhichScan
from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import fail
from apviso.cli.showing import notice
from apviso.runner.terminal import printable

if TYPE_CHECKING:
    from apviso.client import Client


class Format(StrEnum):
    MD = "md"
    HTML = "html"
    PDF = "pdf"
    SARIF = "sarif"
    CSV = "csv"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    app.command()(report)


def report(
    scan: WhichScan,
    format: Annotated[Format, typer.Option("--format", help="Form of the report.")] = Format.MD,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; otherwise standard output.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, like --format json.")] = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Write the report of an ended scan; exits with 75 until the scan has ended."""
    kind = Format.JSON if json else format
    if output is None and kind is Format.PDF and sys.stdout.isatty():
        fail(Exit.USAGE, "A PDF is nothing for a terminal: give --output FILE.")
    with connected(api_url, api_key_file) as client:
        content = _fetched(client, scan, kind)
    if output is not None:
        _write(output, content)
        notice(f"{len(content)} bytes written to {output}")
    elif sys.stdout.isatty():
        typer.echo(printable(content.decode("utf-8", errors="replace"), keep="\n\t"), nl=False)
    else:
        typer.echo(content, nl=False)


def _fetched(client: Client, scan: str, format: Format) -> bytes:
    from apviso.client import NotFound

    if format is Format.MD:
        return client.scans.report(scan).markdown_content.encode()
    try:
        return client.scans.report_file(scan, format)
    except NotFound as error:
        if error.code != "not_found":
            raise
        fail(Exit.USAGE, f"This control plane makes no reports in the form {format}.")


def _write(output: Path, content: bytes) -> None:
    """Whole or not at all, and for its owner alone: a report names flaws that are not mended."""
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        beside.replace(output)
    except OSError as error:
        beside.unlink(missing_ok=True)
        fail(Exit.USAGE, f"{output} cannot be written: {error.strerror}")
