"""`apviso scanners`: the scanners' own environment, made and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apviso.cli.exits import Exit

group = typer.Typer(help="The scanners' own environment.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Option("--dir", help="Where it is; the default is beside the installation.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="scanners")


@group.command()
def install(folder: Folder = None) -> None:
    """Make the scanners' environment from the lock file; leaves a good one alone."""
    from apviso.scanning import environment

    place = folder or environment.default_dir()
    if environment.status(place).problem is not None:
        typer.echo(f"Installing the scanners into {place}; this takes a minute or two.")
    try:
        environment.install(place)
    except environment.InstallFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.TRY_AGAIN) from error
    _print(place)


@group.command()
def status(folder: Folder = None, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say whether scans can run; exits with 2 when they cannot."""
    from apviso.scanning import environment

    place = folder or environment.default_dir()
    found = environment.status(place)
    if json:
        typer.echo(_as_json(place))
    else:
        _print(place)
    if found.problem is not None:
        raise typer.Exit(Exit.CHECK_FAILED)


def _print(place: Path) -> None:
    from apviso.scanning import environment

    found = environment.status(place)
    if found.problem is None:
        typer.echo(f"{found.summary} in {place}")
    else:
        typer.echo(f"{found.problem} ({place})\n  next: apviso scanners install")


def _as_json(place: Path) -> str:
    import json

    from apviso.scanning import environment

    found = environment.status(place)
    facts = {
        "ready": found.problem is None,
        "dir": str(place),
        **found.versions,
        "problem": found.problem,
    }
    return json.dumps(facts)
