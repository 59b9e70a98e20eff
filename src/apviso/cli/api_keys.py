"""`apviso api-keys`: the keys of the organization, for administrators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json
from apviso.cli.showing import notice, print_done, print_json, print_json_list, print_table
from apviso.protocol.states import Scope

group = typer.Typer(help="API keys of the organization; needs a key with the scope admin.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="api-keys")


@group.command("list")
def list_(json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """List keys that are not revoked, without their secrets."""
    with connected(api_url, api_key_file) as client:
        keys = list(client.api_keys.all())
    if json:
        print_json_list("apiKeys", keys)
        return
    rows = [(one.name, one.key_prefix, ", ".join(one.scopes), one.expires_at, one.last_used_at, one.id) for one in keys]
    print_table(("name", "prefix", "scopes", "expires", "last used", "id"), rows, "There is no key.")


@group.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may do; may be given several times.")],
    expires: Annotated[datetime | None, typer.Option("--expires", help="When it runs out (UTC).")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Issue a key. Only the key is written to standard output, and only here: keep it."""
    from apviso.protocol.access import NewApiKey

    with connected(api_url, api_key_file) as client:
        expires_at = None if expires is None else expires.replace(tzinfo=UTC)
        issued = client.api_keys.issue(NewApiKey(name=name, scopes=scope, expires_at=expires_at))
    if json:
        print_json(issued)
        return
    typer.echo(issued.key)
    notice(f"Key {issued.api_key.id} is shown once; its prefix is {issued.api_key.key_prefix}.")


@group.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of a key.")],
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """End a key at once."""
    with connected(api_url, api_key_file) as client:
        client.api_keys.revoke(key)
    print_done(key, json=json)
