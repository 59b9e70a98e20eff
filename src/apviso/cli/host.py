"""What the commands on a runner's host share: their options, the settings of that host, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from apviso.cli.exits import Exit
from apviso.runner.terminal import printable

if TYPE_CHECKING:
    from apviso.runner.setup import Setup

ApiUrl = Annotated[str | None, typer.Option("--api-url", help="Address of the control plane.")]
Workspace = Annotated[Path | None, typer.Option("--workspace", help="Folder of this runner.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def fail(code: Exit, sentence: str) -> NoReturn:
    say(sentence, err=True)
    raise typer.Exit(code)


def say(text: str, *, err: bool = False) -> None:
    """What the control plane, a proxy or a certificate may have put words into."""
    typer.echo(printable(text, keep="\n"), err=err)


def set_up_host(api_url: str | None, workspace: Path | None, concurrency: int | None = None) -> Setup:
    """The host's settings with the given flags (None: not given). Ends the command when they make no sense."""
    from apviso.runner.config import ConfigProblem
    from apviso.runner.setup import set_up

    try:
        return set_up({"api_url": api_url, "workspace": workspace, "concurrency": concurrency})
    except ConfigProblem as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"Settings: {error}")
