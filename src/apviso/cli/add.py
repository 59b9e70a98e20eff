"""`apviso add target-auth`: credentials for a target into the file on this host, asked for or from standard input, never an argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from apviso.cli.exits import Exit
from apviso.cli.host import Workspace, fail, set_up_host
from apviso.runner.target_auth.kinds import KINDS, AuthType, Hidden, UnreadableSecret, secret_of

if TYPE_CHECKING:
    from pydantic import JsonValue

    from apviso.protocol.targets import JobTarget
    from apviso.runner.setup import Setup

group = typer.Typer(help="Add to what a runner keeps on its host alone.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="add")


@group.callback()
def _group() -> None:
    """Add to what a runner keeps on its host alone."""


@group.command("target-auth")
def target_auth(
    target_id: Annotated[str | None, typer.Option("--target-id", help="The target, by its id; give --domain or --url, too.")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="The target, by its host, with or without a port.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="The target, by an address: that one and all below it.")] = None,
    kind: Annotated[AuthType | None, typer.Option("--type", help="Kind of the credentials.")] = None,
    identity: Annotated[str | None, typer.Option("--identity", help="Name, where a target has several identities.")] = None,
    username: Annotated[str | None, typer.Option("--username", help="User name (basic, login).")] = None,
    header: Annotated[str | None, typer.Option("--header", help="Name of the header that carries the key (api_key).")] = None,
    cookie: Annotated[str | None, typer.Option("--cookie", help="Name of the cookie that carries the key (api_key).")] = None,
    login_url: Annotated[str | None, typer.Option("--login-url", help="Login page, a path or an address of the target (login).")] = None,
    state_file: Annotated[str | None, typer.Option("--state-file", help="Storage state of a browser (browser_state).")] = None,
    logged_in_url: Annotated[str | None, typer.Option("--logged-in-url", help="Page that tells whether a visitor is logged in.")] = None,
    logged_in_text: Annotated[str | None, typer.Option("--logged-in-text", help="Text there that only logged-in visitors see.")] = None,
    secret_file: Annotated[
        str | None, typer.Option("--secret-file", help="File with the token, password or key; - reads standard input. Asks for nothing.")
    ] = None,
    workspace: Workspace = None,
) -> None:
    """Add credentials for a target to the file on this host. What is missing is asked for; secrets are not shown."""
    setup = set_up_host(None, workspace)
    place: dict[str, JsonValue] = {"id": target_id, "domain": domain, "url": url}
    if not any(place.values()):
        place = _ask_for_target(setup) if secret_file is None else _missing("--target-id, --domain or --url")
    wanted = kind or (_ask_for_type() if secret_file is None else _missing("--type"))
    told = {"username": username, "header": header, "cookie": cookie, "login_url": login_url, "state_file": state_file}
    marker: dict[str, JsonValue] = {"logged_in_url": logged_in_url, "logged_in_text": logged_in_text}
    if kind is None:
        identity = identity or typer.prompt("Name of the identity", default="default")
        if not any(marker.values()):
            marker = _ask_for_marker()
    shown = _shown(wanted, told, asks=secret_file is None)
    hidden = KINDS[wanted].hidden
    secret = {hidden.field: _secret(hidden, secret_file)} if hidden is not None else {}
    entry = {**place, "type": wanted.value, "identity": identity, **shown, **marker, **secret}
    _add(setup, {name: value for name, value in entry.items() if value is not None})


def _missing(flags: str) -> NoReturn:
    fail(Exit.USAGE, f"Give {flags}; with --secret-file nothing is asked for.")


def _ask_for_target(setup: Setup) -> dict[str, JsonValue]:
    """A target that may be sent to this runner, by its number; or any host."""
    from apviso.runner.terminal import printable
    from apviso.scanning.guard_rules import InvalidTarget, allowed_host

    targets = _targets(setup)
    for number, target in enumerate(targets, 1):
        typer.echo(f"{number:>4}  {printable(target.domain)}  {printable(target.scan_url)}")
    answer = typer.prompt("Number of the target, or its host" if targets else "Host of the target, such as shop.internal")
    if not (answer.isdecimal() and 1 <= int(answer) <= len(targets)):
        return {"domain": answer.strip()}
    chosen = targets[int(answer) - 1]
    try:
        address = allowed_host(chosen.scan_url)
    except InvalidTarget as error:
        fail(Exit.CHECK_FAILED, f"This target cannot be scanned: {error}.")
    host = f"[{address.host}]" if ":" in address.host else address.host
    return {"id": chosen.id, "domain": f"{host}:{address.port}"}


def _targets(setup: Setup) -> list[JobTarget]:
    import asyncio

    from apviso.runner.connection import BadProxy
    from apviso.runner.refusals import CallFailed
    from apviso.runner.setup import list_targets
    from apviso.runner.trust import BadAuthority

    try:
        return asyncio.run(list_targets(setup))
    except (CallFailed, BadProxy, BadAuthority) as error:
        typer.echo(f"The control plane's targets cannot be listed: {error}", err=True)
        return []


def _ask_for_type() -> AuthType:
    names = ", ".join(AuthType)
    while True:
        answer = typer.prompt(f"Kind of the credentials ({names})")
        if answer in [*AuthType]:
            return AuthType(answer)
        typer.echo("There is no such kind.", err=True)


def _ask_for_marker() -> dict[str, JsonValue]:
    url = typer.prompt("Page that shows whether a visitor is logged in, such as /account (empty for none)", default="", show_default=False)
    return {"logged_in_url": url, "logged_in_text": typer.prompt("Text there that only logged-in visitors see")} if url else {}


def _shown(kind: AuthType, told: dict[str, str | None], *, asks: bool) -> dict[str, JsonValue]:
    """The fields of this kind that are no secrets; one that was given for another kind is an error."""
    wanted = dict(KINDS[kind].shown)
    if kind is AuthType.API_KEY and told["cookie"] is not None:
        wanted = {"cookie": ""}
    strange = [name for name, value in told.items() if value is not None and name not in wanted]
    if strange:
        fail(Exit.USAGE, f"--{strange[0].replace('_', '-')} does not belong to the type {kind}.")
    missing = [f"--{name.replace('_', '-')}" for name in wanted if told[name] is None]
    if missing and not asks:
        fail(Exit.USAGE, f"Give {' and '.join(missing)}; with --secret-file nothing is asked for.")
    shown: dict[str, JsonValue] = {name: told[name] or typer.prompt(words) for name, words in wanted.items()}
    if "state_file" in shown:
        # In the file it would be taken from the file's own folder.
        shown["state_file"] = str(Path(str(shown["state_file"])).expanduser().absolute())
    return shown


def _secret(hidden: Hidden, secret_file: str | None) -> JsonValue:
    try:
        if secret_file is not None:
            return _as_json(secret_of(hidden, _read(secret_file)))
        return _ask_for_table(hidden) if hidden.is_table else _as_json(secret_of(hidden, str(typer.prompt(hidden.words, hide_input=True))))
    except UnreadableSecret as error:
        fail(Exit.USAGE, str(error))


def _as_json(secret: str | dict[str, str]) -> JsonValue:
    return {**secret} if isinstance(secret, dict) else secret


def _read(secret_file: str) -> str:
    try:
        return sys.stdin.read() if secret_file == "-" else Path(secret_file).read_text(encoding="utf-8")  # noqa: S105
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"The secret cannot be read: {error.strerror if isinstance(error, OSError) else 'it is no UTF-8 text'}.")


def _ask_for_table(hidden: Hidden) -> JsonValue:
    table: dict[str, JsonValue] = {}
    while True:
        more = " (empty for no more)" if table else ""
        name = typer.prompt(f"Name of the {hidden.words}{more}", default="" if table else None, show_default=False)
        if not name:
            return table
        table[name] = typer.prompt("Its value", hide_input=True)


def _add(setup: Setup, entry: dict[str, JsonValue]) -> None:
    from apviso.runner.private_files import ExposedFile
    from apviso.runner.target_auth.browser_state import read_browser_state
    from apviso.runner.target_auth.file import BadTargetAuth, add_entry

    path = setup.config.target_auth_config_file or setup.workspace.target_auth_file
    try:
        if "state_file" in entry:
            read_browser_state(Path(str(entry["state_file"])))
        number = add_entry(path, entry)
    except (BadTargetAuth, ExposedFile, OSError) as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"Nothing was added: {error}")
    typer.echo(f"Added to {path}, which has {number} {'entry' if number == 1 else 'entries'} now. The next scan uses it.")
    if not (entry.get("domain") or entry.get("url")):
        typer.echo("It names only the target's id; add domain or url, so that the address cannot be moved under it.", err=True)
