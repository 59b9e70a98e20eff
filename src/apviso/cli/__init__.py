"""The command line: one file for each group; what a command needs is imported inside it, so that `apviso --help` stays quick."""

from __future__ import annotations

import sys
from typing import Protocol, cast

import typer

from apviso.cli import (
    add,
    admin,
    api_keys,
    demo,
    findings,
    mcp,
    readiness,
    report,
    runner,
    runners,
    scan,
    scan_image,
    scanners,
    schedules,
    server,
    service,
    targets,
    webhooks,
    wishes,
)
from apviso.cli.exits import Exit

app = typer.Typer(
    name="apviso",
    help="Security tests of applications that no cloud can reach: control plane, runner and command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
GROUPS = (
    demo, server, admin, runner, wishes, service, add, scanners, scan_image,
    runners, readiness, targets, scan, findings, report, schedules, webhooks, api_keys, mcp,
)  # fmt: skip
for group in GROUPS:
    group.add_to(app)


class _Shown(Protocol):
    """What every usage error of the library can do, though only its private base class says so."""

    def show(self) -> None: ...


def main() -> None:
    """Run the command line. Usage errors exit with 64, as the contract has it."""
    try:
        code = app(prog_name="apviso", standalone_mode=False)
    except typer.Abort:
        code = 130
    except typer.TyperException as error:
        cast(_Shown, error).show()
        code = Exit.USAGE
    sys.exit(code)
