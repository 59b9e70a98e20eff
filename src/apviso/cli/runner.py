"""The runner's commands: `onboard`, `register`, `run`, `doctor`, `status`, `logs`, `unregister`, `version`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.host import ApiUrl, Json, Workspace, fail, say, set_up_host

if TYPE_CHECKING:
    from apviso.runner.identity import Identity
    from apviso.runner.joining import Wish
    from apviso.runner.setup import Setup

Concurrency = Annotated[int | None, typer.Option("--concurrency", min=1, max=64, help="Scans at the same time.")]


def add_to(app: typer.Typer) -> None:
    for command in (onboard, register, run, doctor, status, logs, unregister, version):
        app.command()(command)


def register(
    token: Annotated[
        str | None, typer.Option("--token", help="The enrollment token. Others on this host can see it: prefer --token-file.")
    ] = None,
    token_file: Annotated[str | None, typer.Option("--token-file", help="File with the enrollment token; - reads standard input.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of this runner.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label; may be given several times.")] = None,
    api_url: ApiUrl = None,
    workspace: Workspace = None,
    concurrency: Concurrency = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an identity that is there already.")] = False,
) -> None:
    """Exchange a one-time enrollment token for this host's own identity."""
    from apviso.runner.joining import Wish

    setup = set_up_host(api_url, workspace, concurrency)
    if token is not None:
        typer.echo("Warning: a token on the command line can be seen by others on this host; prefer --token-file -", err=True)
    text = token if token is not None else _read_token(token_file)
    identity = _join(setup, Wish(text, name, label or (), force), concurrency)
    if identity is not None:
        say(f"Registered as {identity.name} ({identity.runner_id}).\nStart it with: apviso run")


def _read_token(token_file: str | None) -> str:
    if token_file is None:
        fail(Exit.USAGE, "Give the enrollment token with --token-file FILE, or --token-file - to read it from standard input.")
    try:
        return sys.stdin.readline() if token_file == "-" else Path(token_file).read_text(encoding="utf-8")  # noqa: S105
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"The token file cannot be read: {error}")


def _join(setup: Setup, wish: Wish, concurrency: int | None) -> Identity | None:
    """The new identity; None where there is one already and nothing was done. Ends the command on every failure."""
    import asyncio

    from apviso.runner.config import ConfigProblem
    from apviso.runner.connection import BadProxy
    from apviso.runner.enrollment import BadEnrollmentToken, BadRunnerToken
    from apviso.runner.joining import AlreadyRegistered, BadWish, join, remember_concurrency
    from apviso.runner.private_files import ExposedFile
    from apviso.runner.refusals import CallFailed
    from apviso.runner.trust import BadAuthority

    try:
        identity = asyncio.run(join(setup, wish, lambda error, delay: say(f"{error}; trying again in {delay:.0f} s", err=True)))
        if concurrency is not None:
            remember_concurrency(setup.workspace, concurrency)
    except AlreadyRegistered as error:
        say(f"Nothing was done: {error}. The enrollment token was not used; --force registers anew.")
        return None
    except BadWish as error:
        fail(Exit.USAGE, str(error))
    except BadEnrollmentToken as error:
        fail(Exit.BAD_CREDENTIAL, str(error))
    except (ConfigProblem, BadAuthority, BadProxy, ExposedFile, ValueError, OSError) as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, str(error))
    except (CallFailed, BadRunnerToken) as error:
        code, sentence = _refused(error)
        fail(code, sentence)
    return identity


def _refused(error: Exception) -> tuple[Exit, str]:
    """Exit code and sentence for a registration that did not come about."""
    from apviso.runner.refusals import IdentityRejected, Refused, TryAgain, Unreachable

    again = "The token is not lost: run the same command again within ten minutes."
    match error:
        case Unreachable():
            return Exit.UNREACHABLE, f"{error}\n{again}"
        case TryAgain():
            return Exit.TRY_AGAIN, f"{error}\n{again}"
        case IdentityRejected():
            return Exit.BAD_CREDENTIAL, f"{error}\nMake a new enrollment token and use that."
        case Refused(code=code) if code.startswith("enrollment_token"):
            return Exit.BAD_CREDENTIAL, f"{error}\nMake a new enrollment token and use that."
        case Refused(status=402):
            return Exit.CHECK_FAILED, f"{error}\nThe enrollment token was not used: revoke a runner or extend the license, then try again."
        case _:
            return Exit.REVOKED_OR_MISCONFIGURED, str(error)


def onboard(api_url: ApiUrl = None, workspace: Workspace = None) -> None:
    """Set this host up as a runner, step by step."""
    from apviso.runner.facts import host_name
    from apviso.runner.joining import Wish

    setup = set_up_host(api_url, workspace)
    if setup.identity is None:
        url = api_url or setup.config.api_url or typer.prompt("Address of the control plane (https://...)")
        setup = set_up_host(url, workspace)
        token = typer.prompt("Enrollment token (apve_..., it is not shown)", hide_input=True)
        name = typer.prompt("Name of this runner", default=host_name())
        identity = _join(setup, Wish(token, name), None)
        if identity is not None:
            say(f"\nRegistered as {identity.name} ({identity.runner_id}).")
    else:
        say(f"This host is registered already as {setup.identity.name or setup.identity.token.prefix}.")
    typer.echo("\nLooking at what a scan needs:")
    healthy = _print_diagnosis(set_up_host(api_url, workspace), as_json=False)
    where = f" --workspace {setup.workspace.root}" if setup.resolved.sources["workspace"] == "flag" else ""
    typer.echo(f"\nStart the runner with: apviso run{where}")
    if not healthy:
        raise typer.Exit(Exit.CHECK_FAILED)


def doctor(json: Json = False, api_url: ApiUrl = None, workspace: Workspace = None) -> None:
    """Check everything a runner needs; exits with 2 when a check fails."""
    if json:
        _tell_bad_settings_as_json(api_url, workspace)
    if not _print_diagnosis(set_up_host(api_url, workspace), as_json=json):
        raise typer.Exit(Exit.CHECK_FAILED)


def _tell_bad_settings_as_json(api_url: str | None, workspace: Path | None) -> None:
    """What cannot be diagnosed is a diagnosis too: whoever reads JSON gets JSON. Ends the command where the settings are bad."""
    from apviso.runner.config import ConfigProblem
    from apviso.runner.doctor import bad_settings
    from apviso.runner.setup import set_up

    try:
        set_up({"api_url": api_url, "workspace": workspace})
    except ConfigProblem as error:
        typer.echo(bad_settings(str(error)).model_dump_json(by_alias=True, indent=2))
        raise typer.Exit(Exit.REVOKED_OR_MISCONFIGURED) from error


def _print_diagnosis(setup: Setup, *, as_json: bool) -> bool:
    import asyncio

    from apviso.runner.doctor import diagnose

    found = asyncio.run(diagnose(setup))
    if as_json:
        typer.echo(found.model_dump_json(by_alias=True, indent=2))
        return found.healthy
    marks = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}
    for check in found.checks:
        say(f"{marks[check.state]}  {check.name}: {check.message}")
        if check.next_step:
            say(f"         next: {check.next_step}")
    if found.engine_limits:
        typer.echo("\nLimits of the engine:")
    for limit in found.engine_limits:
        typer.echo(f"  - {limit}")
    typer.echo("\nSettings:")
    for setting in found.settings:
        say(f"  {setting.name} = {setting.value}  ({setting.source})")
    return found.healthy


def run(api_url: ApiUrl = None, workspace: Workspace = None, concurrency: Concurrency = None) -> None:
    """Run the daemon in the foreground until it is told to stop."""
    from apviso.runner.config import ConfigProblem
    from apviso.runner.connection import BadProxy
    from apviso.runner.starting import run_daemon
    from apviso.runner.trust import BadAuthority
    from apviso.runner.workspace import WorkspaceTaken

    setup = set_up_host(api_url, workspace, concurrency)
    if setup.identity is None:
        reason = setup.identity_problem or "this host is not registered; run `apviso onboard`, or set APVISO_RUNNER_TOKEN"
        fail(Exit.BAD_CREDENTIAL if setup.has_bad_token else Exit.REVOKED_OR_MISCONFIGURED, reason)
    try:
        code = run_daemon(setup, setup.identity, stalled_exit=Exit.TRY_AGAIN)
    except (ConfigProblem, BadAuthority, BadProxy, WorkspaceTaken, OSError) as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, str(error))
    raise typer.Exit(_exit_of(code))


def _exit_of(outcome: str) -> int:
    from apviso.runner.shutdown import Outcome

    match Outcome(outcome):
        case Outcome.STOPPED | Outcome.RETIRED:
            return Exit.OK
        case Outcome.ABORTED:
            return 130
        case Outcome.REVOKED:
            return Exit.REVOKED_OR_MISCONFIGURED
        case Outcome.REJECTED:
            return Exit.BAD_CREDENTIAL


def status(json: Json = False, workspace: Workspace = None) -> None:
    """Say what the daemon on this host does; exits with 2 when none runs."""
    from apviso.runner.status_file import find_status
    from apviso.runner.workspace import is_held

    place = set_up_host(None, workspace).workspace
    running, found = is_held(place), find_status(place.status_file)
    if json:
        from json import dumps, loads

        typer.echo(dumps({"running": running, "daemon": loads(found.model_dump_json(by_alias=True)) if found else None}))
    elif found is None:
        typer.echo("The runner has not run in this workspace yet.\n  next: apviso run")
    else:
        from apviso.runner.status_text import status_lines

        typer.echo("\n".join(status_lines(found, running=running)))
    if not running:
        raise typer.Exit(Exit.CHECK_FAILED)


def logs(
    job: Annotated[str | None, typer.Argument(help="A job's id, or its beginning; without it, the daemon's own log.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Show the daemon's log, or what a scan said."""
    from apviso.runner.job_log import find_log
    from apviso.runner.reading_logs import follow_lines, readable, tail

    place = set_up_host(None, workspace).workspace
    path = place.log_file if job is None else find_log(place.job_logs, job)
    if path is None or not path.exists():
        fail(Exit.CHECK_FAILED, "There is no log yet." if job is None else f"There is no log of job {job} on this host.")
    for line in follow_lines(path) if follow else tail(path):
        typer.echo(line if json else readable(line))


def unregister(
    workspace: Workspace = None,
    force: Annotated[bool, typer.Option("--force", help="Also while the daemon runs.")] = False,
) -> None:
    """Forget this host's identity and tell the control plane that the runner is gone."""
    import asyncio

    from apviso.runner.joining import leave
    from apviso.runner.workspace import is_held

    setup = set_up_host(None, workspace)
    if is_held(setup.workspace) and not force:
        fail(Exit.TRY_AGAIN, "The daemon is running; stop it first, or use --force.")
    if setup.identity is None and not setup.workspace.identity_file.exists():
        typer.echo("This host is not registered.")
        return
    problem = asyncio.run(leave(setup))
    typer.echo("The identity on this host is deleted.")
    if problem is not None:
        say(f"The control plane was not told: {problem}", err=True)
    typer.echo("To free its place in the license, revoke the runner in the control plane as well.")


def version(json: Json = False) -> None:
    """Show the version."""
    from apviso import __version__
    from apviso.protocol.daemon import PROTOCOL_VERSION

    if json:
        from json import dumps

        typer.echo(dumps({"version": __version__, "protocolVersion": PROTOCOL_VERSION}))
    else:
        typer.echo(f"apviso {__version__} (runner protocol {PROTOCOL_VERSION})")
