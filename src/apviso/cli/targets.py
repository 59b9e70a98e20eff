"""`apviso targets`: the applications to be tested."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json, fail
from apviso.cli.showing import print_done, print_facts, print_json, print_table
from apviso.protocol.states import VerificationMethod, Visibility

if TYPE_CHECKING:
    from apviso.client import Client
    from apviso.protocol.verification import VerificationInstructions

group = typer.Typer(help="The applications to be tested.", no_args_is_help=True)
Which = Annotated[str, typer.Argument(metavar="TARGET", help="Id or domain of a target.")]
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="targets")


@group.command()
def add(
    domain: Annotated[str, typer.Argument(help="Its host, with a port where it is none of the usual ones.")],
    scan_url: Annotated[str | None, typer.Option("--scan-url", help="Where scans begin.")] = None,
    display_url: Annotated[str | None, typer.Option("--display-url", help="What people are shown.")] = None,
    visibility: Annotated[Visibility, typer.Option("--visibility", help="Who can reach it.")] = Visibility.PUBLIC,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Add a target."""
    from apviso.protocol.targets import NewTarget, TargetAnswer

    with connected(api_url, api_key_file) as client:
        wanted = NewTarget(domain=domain, scan_url=scan_url, display_url=display_url, visibility=visibility)
        target = client.targets.add(wanted)
    if json:
        print_json(TargetAnswer(target=target))
        return
    print_facts((("Target", target.domain), ("Id", target.id), ("Scanned at", target.scan_url), ("Visibility", target.visibility)))


@group.command("list")
def list_(
    page: Annotated[int, typer.Option("--page", min=1)] = 1,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100)] = 50,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """List targets, newest first."""
    with connected(api_url, api_key_file) as client:
        answer = client.targets.page(page, limit)
    if json:
        print_json(answer)
        return
    rows = [(one.domain, one.visibility, "yes" if one.verified else "no", one.last_scan_at, one.scan_url, one.id) for one in answer.targets]
    print_table(("domain", "visibility", "verified", "last scan", "scanned at", "id"), rows, "There is no target: apviso targets add")


@group.command()
def delete(target: Which, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Delete a target that was never scanned."""
    with connected(api_url, api_key_file) as client:
        target_id = id_of(client, target)
        client.targets.delete(target_id)
    print_done(target_id, json=json)


@group.command()
def verify(
    target: Which,
    method: Annotated[VerificationMethod | None, typer.Option("--method", help="Where the proof is. Without it: what to publish.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show how control of a target is proved, or have the proof looked for; exits with 2 where it is not there."""
    with connected(api_url, api_key_file) as client:
        target_id = id_of(client, target)
        if method is None:
            _show_instructions(client.targets.instructions(target_id), json=json)
            return
        verified = client.targets.verify(target_id, method)
    if json:
        from apviso.protocol.targets import TargetAnswer

        print_json(TargetAnswer(target=verified))
    else:
        print_facts((("Target", verified.domain), ("Verified", verified.verified_at), ("By", verified.verification_method)))


def _show_instructions(instructions: VerificationInstructions, *, json: bool) -> None:
    if json:
        from apviso.protocol.verification import VerificationInstructionsAnswer

        print_json(VerificationInstructionsAnswer(instructions=instructions))
        return
    ways = (("dns_txt", instructions.dns_txt), ("file", instructions.file), ("meta_tag", instructions.meta_tag))
    known = [(name, way.text) for name, way in ways if way is not None]
    print_facts((("Host", instructions.host), ("Needed", instructions.reason), *known))


def id_of(client: Client, target: str) -> str:
    """The id of the target with this domain, or the id that was given."""
    if _ID.fullmatch(target):
        return target
    wanted = target.casefold()
    found = next((known.id for known in client.targets.all() if known.domain.casefold() == wanted), None)
    if found is None:
        fail(Exit.USAGE, "There is no target with this domain; `apviso targets list` shows them.")
    return found
