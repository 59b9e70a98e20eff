"""How user commands reach the control plane: options that all of them have, and the exit code of each way in which a call can fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.settings import fail
from apviso.runner.terminal import printable

if TYPE_CHECKING:
    from apviso.client import ApvisoError, Client

ApiUrl = Annotated[str | None, typer.Option("--api-url", help="Address of the control plane; otherwise APVISO_API_URL.")]
# Never the key itself: others on the host can see the arguments of a process.
ApiKeyFile = Annotated[
    str | None, typer.Option("--api-key-file", help="File with the API key, - for standard input; otherwise APVISO_API_KEY.")
]


# Of checks that wait for one before them, that one alone says what to do.
NOT_JUDGED = "Cannot be judged before "


@contextmanager
def connected(api_url: str | None, api_key_file: str | None) -> Iterator[Client]:
    """The control plane. Whatever a call raises ends the command with its exit code."""
    from pydantic import ValidationError

    from apviso.client import ApvisoError, BadSettings, Client

    key = None if api_key_file is None else _read_key(api_key_file)
    try:
        with Client(api_url, key) as client:
            yield client
    except BadSettings as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, f"Settings: {error}")
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        fail(Exit.USAGE, f"Not sent: {printable(wrong)}")
    except ApvisoError as error:
        fail(exit_of(error), _sentence(error))


def _read_key(api_key_file: str) -> str:
    try:
        text = sys.stdin.readline() if api_key_file == "-" else Path(api_key_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"The file with the API key cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}")
    if not text.strip():
        fail(Exit.REVOKED_OR_MISCONFIGURED, "The file with the API key is empty.")
    return text.strip()


def exit_of(error: ApvisoError) -> Exit:
    """What a script is told."""
    from apviso.client import (
        BadCredential,
        Conflict,
        Forbidden,
        InvalidRequest,
        LicenseRefused,
        NotFound,
        Unreachable,
        UnreadableAnswer,
        WaitedTooLong,
    )

    match error:
        case Unreachable():
            return Exit.UNREACHABLE
        case UnreadableAnswer():
            # A proxy in front of a control plane that is away, or an address where there is none.
            return Exit.UNREACHABLE if error.is_away else Exit.REVOKED_OR_MISCONFIGURED
        case BadCredential():
            return Exit.BAD_CREDENTIAL
        case Forbidden(code="insufficient_scope"):
            return Exit.BAD_CREDENTIAL
        case Conflict(code="scan_already_active") | WaitedTooLong():
            return Exit.TRY_AGAIN
        case Conflict() | LicenseRefused() | Forbidden():
            return Exit.CHECK_FAILED
        case NotFound() | InvalidRequest():
            return Exit.USAGE
        case _:
            return Exit.TRY_AGAIN if error.is_temporary else Exit.REVOKED_OR_MISCONFIGURED


def _sentence(error: ApvisoError) -> str:
    """What went wrong, what blocks, and the id under which the server's log has it."""
    lines = [printable(str(error))]
    readiness = error.member("readiness")
    checks = readiness.get("checks") if isinstance(readiness, dict) else error.member("checks")
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, dict) and not check.get("ok") and not str(check.get("message")).startswith(NOT_JUDGED):
            lines.append(f"  {printable(str(check.get('message')))}\n    next: {printable(str(check.get('fix')))}")
    if error.request_id is not None:
        lines.append(f"  request id: {printable(error.request_id)}")
    return "\n".join(lines)
