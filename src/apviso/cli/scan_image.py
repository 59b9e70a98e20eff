"""`apviso scan-image`: whether an image of your own keeps the contract with a runner."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.settings import Json, fail

if TYPE_CHECKING:
    from apviso.runner.conformance.checking import ImageReport
    from apviso.runner.conformance.situations import Situation

group = typer.Typer(help="Scan images of your own.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="scan-image")


# Without it, a group of one command would be that command.
@group.callback()
def _group() -> None: ...


@group.command()
def check(image: Annotated[str, typer.Argument(help="Name, tag or id of an image in the local engine.")], json: Json = False) -> None:
    """Run an image of the local engine as a runner would, against a small target of its own; exits with 2 when a check failed."""
    report = _look_at(image)
    if json:
        typer.echo(report.model_dump_json(by_alias=True, indent=2))
    else:
        _print(report)
    if not report.conforms:
        raise typer.Exit(Exit.CHECK_FAILED)


def _look_at(image: str) -> ImageReport:
    """The report. Ends the command where there can be none."""
    from apviso.runner.conformance.checking import NoSuchImage, check_image
    from apviso.runner.conformance.interruption import Interrupted, run_until_interrupted
    from apviso.runner.engines import EngineFailed
    from apviso.scanning import environment
    from apviso.scanning.guard import GuardFailed

    scanners = environment.default_dir()
    if (problem := environment.status(scanners).problem) is not None:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"{problem}\n  next: apviso scanners install")
    try:
        return run_until_interrupted(check_image(image, scanners, _tell))
    except NoSuchImage as error:
        fail(Exit.USAGE, str(error))
    except EngineFailed as error:
        fail(Exit.UNREACHABLE, str(error))
    except GuardFailed as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, str(error))
    except Interrupted as error:
        raise typer.Exit(128 + error.signal) from error


def _tell(situation: Situation) -> None:
    """What is going on, for people who wait."""
    if sys.stderr.isatty():
        typer.echo(f"trying {situation}", err=True)


def _print(report: ImageReport) -> None:
    from apviso.runner.terminal import printable

    marks = {"passed": "ok     ", "warning": "warning", "failed": "FAILED ", "not_judged": "-      "}
    typer.echo(f"{report.image} is {report.image_id}\n")
    for found in report.checks:
        typer.echo(f"{marks[found.outcome]}  {found.code:<14}  {printable(found.message)}")
        if found.fix:
            typer.echo(f"{'':25}  next: {found.fix}")
    if report.conforms:
        typer.echo(f'\nIt keeps the contract. On a runner of this engine: scan_image = "{report.image_id}"')
    else:
        typer.echo("\nIt does not keep the contract of docs/reference/scan-image.md.")
