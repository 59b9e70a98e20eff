"""`apviso service install`: systemd keeps this host's runner running, from now on and after each start of the host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.host import Json, Workspace, fail, say, set_up_host

if TYPE_CHECKING:
    from apviso.runner.service_unit import Service

SYSTEMCTL_SECONDS = 60
Print = Annotated[bool, typer.Option("--print", help="Show the unit and change nothing.")]

service = typer.Typer(help="Keep this host's runner running.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    app.add_typer(service, name="service")


@service.command()
def install(show: Print = False, json: Json = False, workspace: Workspace = None) -> None:
    """Install the runner as a service of systemd: of the host as root, else of your own account."""
    from apviso.runner.service_unit import BadPath, unit_of

    setup = set_up_host(None, workspace)
    if not setup.workspace.identity_file.exists() and not show:
        fail(Exit.REVOKED_OR_MISCONFIGURED, "This host is not registered; run `apviso register` first. No token is written into a unit.")
    wanted = _wanted(setup.workspace.root.absolute())
    try:
        unit = unit_of(wanted)
    except BadPath as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, str(error))
    if show:
        typer.echo(unit, nl=False)
        return
    path = _write(wanted, unit)
    commands = _commands(wanted)
    started = _is_booted() and _run_all(commands)
    if json:
        from json import dumps

        typer.echo(dumps({"unit": str(path), "started": started, "next": [] if started else [" ".join(one) for one in commands]}))
    elif started:
        say(f"Installed as {path} and started.")
    else:
        say(f"Installed as {path}. Start it with:" + "".join(f"\n  {' '.join(one)}" for one in commands))
    if _is_booted() and not started:
        raise typer.Exit(Exit.CHECK_FAILED)


def _wanted(root: Path) -> Service:
    """The account is the one that the workspace belongs to: its files are closed to others."""
    import os

    from apviso.runner.service_unit import Service

    program = Path(sys.argv[0]).absolute()
    if program.name != "apviso":
        program = Path(sys.executable).with_name("apviso")
    if os.geteuid() != 0:
        return Service(program, root, None)
    try:
        return Service(program, root, root.owner())
    except (OSError, KeyError):
        return Service(program, root, "root")


def _write(wanted: Service, unit: str) -> Path:
    import os

    from apviso.runner.service_unit import NAME, SYSTEM_UNITS

    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
    path = (own if wanted.account is None else SYSTEM_UNITS) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit, encoding="utf-8")
    except OSError as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"The unit cannot be written: {error}")
    return path


def _commands(wanted: Service) -> list[list[str]]:
    from apviso.runner.service_unit import NAME

    systemctl = ["systemctl", "--user"] if wanted.account is None else ["systemctl"]
    return [[*systemctl, "daemon-reload"], [*systemctl, "enable", "--now", NAME]]


def _is_booted() -> bool:
    from apviso.runner.service_unit import BOOTED

    return BOOTED.is_dir()


def _run_all(commands: list[list[str]]) -> bool:
    import subprocess

    for command in commands:
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            say(f"{' '.join(command)}: {error}", err=True)
            return False
        if ran.returncode != 0:
            say(f"{' '.join(command)}: {ran.stderr.strip()}", err=True)
            return False
    return True
