"""`pause`, `resume` and `drain`: whether this host's runner takes scans, said with the runner's own token and no API key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from apviso.cli.exits import Exit
from apviso.cli.host import ApiUrl, Json, Workspace, fail, say, set_up_host

if TYPE_CHECKING:
    from pathlib import Path

    from apviso.protocol.runners import Drain, Pause

Note = Annotated[str | None, typer.Option("--note", help="Why; people of the control plane read it.")]
Until = Annotated[datetime | None, typer.Option("--until", formats=["%Y-%m-%dT%H:%M:%SZ"], help="When it ends, in UTC.")]
Deadline = Annotated[int | None, typer.Option("--deadline", min=0, max=604800, help="Seconds after which unfinished scans are given back.")]


def add_to(app: typer.Typer) -> None:
    for command in (pause, resume, drain):
        app.command()(command)


def pause(note: Note = None, until: Until = None, json: Json = False, api_url: ApiUrl = None, workspace: Workspace = None) -> None:
    """Give this host's runner no new scans; those that run go on."""
    from apviso.protocol.runners import Pause

    _wish(Pause(note=_short(note), until=until.replace(tzinfo=UTC) if until else None), json, api_url, workspace)


def resume(json: Json = False, api_url: ApiUrl = None, workspace: Workspace = None) -> None:
    """Give this host's runner scans again, after pause or drain on this host."""
    _wish(None, json, api_url, workspace)


def drain(note: Note = None, deadline: Deadline = None, json: Json = False, api_url: ApiUrl = None, workspace: Workspace = None) -> None:
    """Let this host's runner finish what it runs and take nothing new."""
    from apviso.protocol.runners import Drain

    _wish(Drain(note=_short(note), deadline_seconds=deadline), json, api_url, workspace)


def _short(note: str | None) -> str | None:
    if note is not None and len(note) > 1000:
        fail(Exit.USAGE, "A note has at most 1000 characters.")
    return note


def _wish(wanted: Pause | Drain | None, json: bool, api_url: str | None, workspace: Path | None) -> None:
    import asyncio

    from apviso.runner.config import ConfigProblem
    from apviso.runner.connection import BadProxy
    from apviso.runner.refusals import CallFailed
    from apviso.runner.trust import BadAuthority
    from apviso.runner.wishing import wish

    setup = set_up_host(api_url, workspace)
    try:
        answer = asyncio.run(wish(setup, wanted))
    except (ConfigProblem, BadProxy, BadAuthority) as error:
        fail(Exit.BAD_CREDENTIAL if setup.has_bad_token else Exit.REVOKED_OR_MISCONFIGURED, str(error))
    except CallFailed as error:
        _refused(error)
    if json:
        typer.echo(answer.model_dump_json(by_alias=True))
        return
    ends = answer.admin_until or answer.drain_deadline
    say(f"This host's runner is {answer.admin_state}" + (f" until {ends:%Y-%m-%dT%H:%M:%SZ}." if ends else "."))


def _refused(error: Exception) -> NoReturn:
    from apviso.runner.refusals import IdentityRejected, TryAgain, Unreachable

    match error:
        case Unreachable():
            fail(Exit.UNREACHABLE, str(error))
        case TryAgain():
            fail(Exit.TRY_AGAIN, str(error))
        case IdentityRejected(is_revoked=False):
            fail(Exit.BAD_CREDENTIAL, str(error))
        case IdentityRejected():
            fail(Exit.REVOKED_OR_MISCONFIGURED, str(error))
        case _:
            fail(Exit.CHECK_FAILED, str(error))
