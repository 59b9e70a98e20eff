"""`apviso runners`: the runners of the organization, and the wait for one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json, fail
from apviso.cli.showing import Cell, notice, print_done, print_facts, print_json, print_table
from apviso.protocol.states import RunnerStatus

if TYPE_CHECKING:
    from apviso.client import Client
    from apviso.protocol.runners import FastFailure, Runner

group = typer.Typer(help="The runners of the organization.", no_args_is_help=True)
Which = Annotated[str, typer.Argument(metavar="RUNNER", help="Id or name of a runner.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="runners")


@group.command("list")
def list_(
    status: Annotated[RunnerStatus | None, typer.Option("--status", help="Only these; revoked ones are listed only so.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Only those with this label.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """List runners with their status."""
    with connected(api_url, api_key_file) as client:
        answer = client.runners.list(status=status, label=label)
    if json:
        print_json(answer)
        return
    columns = ("name", "status", "why", "jobs", "accepts", "version", "last heartbeat", "id")
    print_table(columns, [_row(runner) for runner in answer.runners], "There is no runner. Have a token issued: apviso runners token")


def _row(runner: Runner) -> tuple[Cell, ...]:
    jobs = f"{runner.current_jobs}/{runner.configured_concurrency}"
    why = ", ".join(runner.status_reasons) or None
    return (
        runner.name, str(runner.status), why, jobs, _yes(runner.accepting_jobs), runner.version, runner.last_heartbeat_at, runner.id,
    )  # fmt: skip


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


@group.command()
def show(runner: Which, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Show one runner."""
    with connected(api_url, api_key_file) as client:
        found = client.runners.get(_id_of(client, runner))
    _show(found, json=json)


def _show(runner: Runner, *, json: bool) -> None:
    if json:
        from apviso.protocol.runners import RunnerAnswer

        print_json(RunnerAnswer(runner=runner))
        return
    print_facts(
        (
            ("Name", runner.name),
            ("Id", runner.id),
            ("Status", ", ".join([str(runner.status), *runner.status_reasons])),
            ("State", str(runner.admin_state)),
            ("Note", runner.admin_note),
            ("Until", runner.admin_until),
            ("Scans that failed", "; ".join(_failed(one) for one in runner.quarantine.failures) if runner.quarantine else None),
            ("Accepts scans", _yes(runner.accepting_jobs)),
            ("Scans", f"{runner.current_jobs} of {runner.configured_concurrency}"),
            ("Version", runner.version),
            ("Host", f"{runner.os} {runner.arch}"),
            ("Engine", runner.container_engine or None),
            ("Labels", ", ".join(runner.labels) or None),
            ("Last heartbeat", runner.last_heartbeat_at),
        )
    )


def _failed(failure: FastFailure) -> str:
    return f"{failure.scan_id} after {failure.seconds:g} s with {failure.end_reason}"


@group.command()
def wait(
    runner: Which,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds after which the command ends with 75.")] = 600.0,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Wait until a runner takes scans."""
    with connected(api_url, api_key_file) as client:
        found = client.runners.wait(_id_of(client, runner), seconds=timeout, is_ready=_is_ready)
    _show(found, json=json)


def _is_ready(runner: Runner) -> bool:
    if runner.status is RunnerStatus.REVOKED:
        fail(Exit.REVOKED_OR_MISCONFIGURED, "This runner is revoked; that is final.")
    return runner.accepting_jobs


@group.command()
def token(
    name: Annotated[str | None, typer.Option("--name", help="Name that the runner gets.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label; may be given several times.")] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="The runner is retired after one scan.")] = False,
    expires_in: Annotated[int, typer.Option("--expires-in", min=300, max=86_400, help="Seconds until it can no longer be used.")] = 1800,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Have a one-time enrollment token issued. Only the token is written to standard output: pipe it to `apviso register`."""
    from apviso.protocol.runners import NewEnrollmentToken

    with connected(api_url, api_key_file) as client:
        wanted = NewEnrollmentToken(name=name, labels=label or [], ephemeral=ephemeral, expires_in_seconds=expires_in)
        issued = client.enrollment_tokens.issue(wanted)
    if json:
        print_json(issued)
        return
    typer.echo(issued.token)
    notice(f"It can be used once, until {issued.expires_at:%Y-%m-%d %H:%M:%SZ}: apviso register --token-file -")


@group.command()
def revoke(runner: Which, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """End a runner's access for good; its scans go back to the queue."""
    with connected(api_url, api_key_file) as client:
        runner_id = _id_of(client, runner)
        client.runners.revoke(runner_id)
    print_done(runner_id, json=json)


@group.command()
def pause(
    runner: Which,
    note: Annotated[str | None, typer.Option("--note", help="Why, for others.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Give a runner no new scans."""
    from apviso.protocol.runners import Pause

    with connected(api_url, api_key_file) as client:
        _show(client.runners.pause(_id_of(client, runner), Pause(note=note)), json=json)


@group.command()
def resume(runner: Which, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Give a runner scans again, after pause, drain or quarantine."""
    with connected(api_url, api_key_file) as client:
        _show(client.runners.resume(_id_of(client, runner)), json=json)


@group.command()
def drain(
    runner: Which,
    deadline: Annotated[int | None, typer.Option("--deadline", min=0, help="Seconds after which it gives back what it runs.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Let a runner finish what it runs and take nothing new."""
    from apviso.protocol.runners import Drain

    with connected(api_url, api_key_file) as client:
        _show(client.runners.drain(_id_of(client, runner), Drain(deadline_seconds=deadline)), json=json)


def _id_of(client: Client, runner: str) -> str:
    """The id of the one runner that is called so. Whatever no runner is called by is taken for an id."""
    named = [known.id for known in client.runners.list(name=runner[:120]).runners if known.name == runner]
    if len(named) > 1:
        fail(Exit.USAGE, f"{len(named)} runners have this name; give the id of one: {', '.join(named)}")
    return named[0] if named else runner
