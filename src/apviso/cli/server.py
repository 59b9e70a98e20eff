"""`apviso server`: the control plane."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.settings import DatabaseUrl, DataDir, fail, server_settings


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def add_to(app: typer.Typer) -> None:
    app.command()(server)


def server(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; 127.0.0.1 unless told otherwise.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on; 8700 unless told otherwise, 0 for any.")
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", envvar="APVISO_LOG_LEVEL", help="debug also logs each request.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", envvar="APVISO_LOG_FORMAT", help="auto: text on a terminal, JSON elsewhere.")
    ] = LogFormat.AUTO,
) -> None:
    """Run the control plane until it is told to stop."""
    settings = server_settings(host=host, port=port, data_dir=data_dir, database_url=database_url)
    from apviso.server import logs, serving
    from apviso.server.app import create_app

    logs.configure(log_level, log_format)
    try:
        listener = serving.listen(settings)
    except serving.CannotListen as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, str(error))

    def announce(address: str, set_up: str | None) -> None:
        typer.echo(f"APVISO control plane: {settings.public_url or address}")
        if set_up is not None:
            typer.echo(f"Nobody can sign in yet. Become the owner here (once, within a day): {set_up}")

    app = create_app(settings)
    if not serving.serve(app, settings, listener, announce, app.quick):
        fail(Exit.UNREACHABLE, "The control plane did not start; the log says why.")
