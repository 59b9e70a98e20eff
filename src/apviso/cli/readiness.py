"""`apviso readiness`: whether a scan may start now, and exactly why not."""

from __future__ import annotations

from typing import Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json
from apviso.cli.showing import print_json, print_table
from apviso.cli.targets import id_of


def add_to(app: typer.Typer) -> None:
    app.command()(readiness)


def readiness(
    target: Annotated[str | None, typer.Option("--target", help="Id or domain of a target.")] = None,
    runner: Annotated[str | None, typer.Option("--runner", help="Id of the runner that is to scan it.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show each check for the start of a scan and what to do about those that fail; exits with 2 when one does."""
    with connected(api_url, api_key_file) as client:
        target_id = None if target is None else id_of(client, target)
        found = client.runners.readiness(target_id=target_id, runner_id=runner)
    if json:
        print_json(found)
    else:
        rows = [("ok" if check.ok else "no", check.code, check.message, check.fix) for check in found.checks]
        print_table(("", "check", "what is seen", "what to do"), rows, "")
    if not found.ready:
        raise typer.Exit(Exit.CHECK_FAILED)
