"""The unit with which systemd keeps a runner running. Pure text: no credential gets into it, units are read by everybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NAME = "apviso-runner.service"
SYSTEM_UNITS = Path("/etc/systemd/system")
# There with systemd as the first process, and only then can it be told anything.
BOOTED = Path("/run/systemd/system")

_UNIT = """\
[Unit]
Description=APVISO runner
After=network-online.target
Wants=network-online.target

[Service]
{account}UMask=0077
Environment={workspace}
ExecStart={program} run
Restart=always
RestartSec=5
# A token that is not accepted, a runner that was revoked, a wrong setting: starting again mends none of them.
RestartPreventExitStatus=77 78
# Running scans get time to finish before they are given back.
TimeoutStopSec=60
NoNewPrivileges=yes
{closed}
[Install]
WantedBy={target}
"""


@dataclass(frozen=True)
class Service:
    """`account` runs it and is None for a unit of one's own, which systemd starts with one's session."""

    program: Path
    workspace: Path
    account: str | None


class BadPath(ValueError):
    """Nothing that a unit can hold."""


def unit_of(service: Service) -> str:
    """Raises BadPath."""
    workspace, is_own = str(service.workspace), service.account is None
    # The manager of an account may not close the file system off.
    closed = "" if is_own else f"ProtectSystem=strict\nReadWritePaths={_quoted(workspace)}\nPrivateTmp=yes\n"
    return _UNIT.format(
        account="" if is_own else f"User={service.account}\n",
        workspace=_quoted(f"APVISO_RUNNER_WORKSPACE={workspace}"),
        program=_quoted(str(service.program)).replace("$", "$$"),
        closed=closed,
        target="default.target" if is_own else "multi-user.target",
    )


def _quoted(text: str) -> str:
    if not text.isprintable():
        raise BadPath(f"{text!r} has characters that a unit cannot hold")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if set(escaped) & set(' "\\;#') else escaped
