"""The server's settings as the command line gives them: flags win over the environment, the environment over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from apviso.cli.exits import Exit

if TYPE_CHECKING:
    from apviso.server.settings import Settings

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the embedded database and of kept files.")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="Database to use instead of SQLite in the data folder.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def fail(code: Exit, sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


def server_settings(**flags: Any) -> Settings:
    """Settings with the given flags (None: not given). Ends the command when they make no sense; values are not repeated."""
    from pydantic import ValidationError

    from apviso.server.settings import Settings

    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"Settings: {wrong}")
