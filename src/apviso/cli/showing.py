"""How commands show what the API says: tables on a terminal, aligned text in a pipe, JSON on request. Text of others stays text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from apviso.runner.terminal import printable

if TYPE_CHECKING:
    from pydantic import BaseModel

Cell = str | int | float | datetime | None
STYLES = {
    "critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim",
    "online": "green", "completed": "green", "ok": "green", "degraded": "yellow", "running": "yellow", "stale": "yellow",
    "offline": "red", "failed": "red", "preflight_failed": "red", "no": "red",
}  # fmt: skip


def print_json(*answers: BaseModel) -> None:
    """As the API writes them, several as one. Beyond ASCII everything is escaped: a terminal takes some of it for commands."""
    members = [answer.model_dump(mode="json", by_alias=True) for answer in answers]
    _print_json({name: value for one in members for name, value in one.items()})


def print_done(identity: str, *, json: bool) -> None:
    """For what has no answer of its own, such as a delete: a script that asks for JSON always gets some."""
    if json:
        _print_json({"id": identity})


def print_json_list(name: str, items: Iterable[BaseModel]) -> None:
    """Items of several pages under the name that the API gives each page."""
    _print_json({name: [item.model_dump(mode="json", by_alias=True) for item in items]})


def _print_json(answer: dict[str, Any]) -> None:
    typer.echo(json.dumps(answer, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], nothing: str) -> None:
    """`nothing` is what is said in place of an empty table, where a person reads."""
    written = [[_words(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _print_aligned(columns, written)
    elif written:
        _print_drawn(columns, written)
    else:
        typer.echo(nothing)


def print_facts(facts: Iterable[tuple[str, Cell]]) -> None:
    """One thing, a line for each fact; what is not known is left out."""
    known = [(name, _words(value)) for name, value in facts if value is not None]
    width = max(len(name) for name, _ in known)
    for name, value in known:
        typer.echo(f"{name:<{width}}  {value}")


def notice(sentence: str) -> None:
    """For a person who waits: not part of the output."""
    typer.echo(printable(sentence), err=True)


def _words(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M:%SZ}"
        case float():
            return f"{cell:g}"
        case _:
            return printable(str(cell)) or "-"


def _print_aligned(columns: Sequence[str], rows: list[list[str]]) -> None:
    lines = [[column.upper() for column in columns], *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_drawn(columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(column, overflow="fold") for column in columns), show_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)
