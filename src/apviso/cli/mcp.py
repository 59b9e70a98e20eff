"""`apviso mcp`: the public API as tools of an assistant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.settings import fail

if TYPE_CHECKING:
    from apviso.mcp.place import Place

MISSING = 'This command needs more than is installed. Install it with: pip install "apviso[mcp]"'


def add_to(app: typer.Typer) -> None:
    app.command()(mcp)


def mcp(
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Also offer tools that change something; otherwise there are none.")
    ] = False,
    http: Annotated[
        str | None,
        typer.Option("--http", metavar="HOST:PORT", help="Serve streamable HTTP there; a port alone is on 127.0.0.1, port 0 is any."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="HOST", help="With --http: a further name (HOST or HOST:PORT) under which it may be called."),
    ] = None,
) -> None:
    """Offer the control plane to an assistant as an MCP server, over standard input and output unless told otherwise.

    Address and key come from APVISO_API_URL and APVISO_API_KEY. Over HTTP a bearer token is needed: APVISO_MCP_TOKEN, or a new one
    that is written to standard error.
    """
    try:
        import mcp.server  # noqa: F401
    except ModuleNotFoundError:
        fail(Exit.REVOKED_OR_MISCONFIGURED, MISSING)
    from apviso.client import BadSettings

    try:
        if http is not None:
            _over_http(http, allow_host or [], allow_writes=allow_writes)
        elif allow_host:
            fail(Exit.USAGE, "--allow-host is for --http alone.")
        else:
            _over_stdio(allow_writes=allow_writes)
    except BadSettings as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"Settings: {error}")


def _over_stdio(*, allow_writes: bool) -> None:
    from apviso.mcp import running

    running.configure_log()
    running.over_stdio(allow_writes=allow_writes)


def _over_http(http: str, names: list[str], *, allow_writes: bool) -> None:
    from apviso.mcp import running

    running.configure_log()
    where, token, is_new = _settled(http, names)
    try:
        listener = running.listen(where)
    except OSError as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"Cannot listen on {http}: {error.strerror or error}")

    def announce(address: str) -> None:
        if not where.is_loopback:
            typer.echo("Other hosts can reach this, and nothing encrypts the token on its way: put a proxy with TLS before it.", err=True)
        if is_new:
            typer.echo(f"Bearer token, shown only now: {token}", err=True)
        typer.echo(f"MCP server: {address}", err=True)

    running.over_http(where, listener, token, names, announce, allow_writes=allow_writes)


def _settled(http: str, names: list[str]) -> tuple[Place, str, bool]:
    """Where to listen, the token, and whether it is a new one. Ends the command where that makes no sense."""
    from apviso.mcp import place

    try:
        where = place.parse_place(http)
        place.names_of(where, where.port, names)
    except ValueError as error:
        fail(Exit.USAGE, str(error))
    try:
        return where, *place.token_of(os.environ.get("APVISO_MCP_TOKEN", "").strip())
    except ValueError as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"Settings: {error}")
