"""Puts the tools together: which there are, what an assistant is told of each, and what happens when a call comes to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import cleandoc
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import ValidationError

from apviso import __version__
from apviso.client import ApvisoError, AsyncClient
from apviso.mcp.quoting import WARNING
from apviso.mcp.reading import Reading, new_marks
from apviso.mcp.refusals import UNKNOWN_EFFECT, explained, explained_arguments
from apviso.mcp.writing import Writing

P = ParamSpec("P")
T = TypeVar("T")
# Many clients give up after a minute; an answer that says why is better than none.
TOOL_SECONDS = 55.0
MAX_CALLS_AT_A_TIME = 8
INSTRUCTIONS = (
    "APVISO runs security tests of web applications from runners inside the user's own network. Runners take scans of targets; scans report"
    " findings. Ask get_readiness when something does not start. A scan that failed or whose coverage is not complete is never clean. "
)
READ_ONLY = " This server is read-only: it has no tool that changes anything."
LOOKS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def _changes(*, destructive: bool, idempotent: bool, open_world: bool = False) -> ToolAnnotations:
    return ToolAnnotations(read_only_hint=False, destructive_hint=destructive, idempotent_hint=idempotent, open_world_hint=open_world)


# Whatever replaces a state is told as destructive, and so is what sends attacks to an application.
CHANGES: dict[str, ToolAnnotations] = {
    "add_target": _changes(destructive=False, idempotent=False),
    "verify_target": _changes(destructive=False, idempotent=True, open_world=True),
    "start_scan": _changes(destructive=True, idempotent=False, open_world=True),
    "start_retest": _changes(destructive=True, idempotent=False, open_world=True),
    "cancel_scan": _changes(destructive=True, idempotent=True),
    "set_finding_status": _changes(destructive=True, idempotent=True),
    "pause_runner": _changes(destructive=True, idempotent=True),
    "resume_runner": _changes(destructive=False, idempotent=True),
    "create_schedule": _changes(destructive=True, idempotent=False, open_world=True),
}
READS = (
    "list_runners",
    "get_runner",
    "get_readiness",
    "get_quota",
    "list_targets",
    "get_target",
    "get_verification_instructions",
    "list_scans",
    "get_scan",
    "get_scan_log",
    "list_findings",
    "get_finding",
    "get_finding_history",
    "get_retest",
    "get_report",
    "list_schedules",
)
# Their answers hold texts of a scanned site.
QUOTING = frozenset(
    {
        "list_targets", "get_target", "list_scans", "get_scan", "get_scan_log", "list_findings", "get_finding", "get_report",
        "get_finding_history", "get_retest", "verify_target", "start_scan", "start_retest", "cancel_scan", "set_finding_status",
    }
)  # fmt: skip


class Assistant(MCPServer[dict[str, Any]]):
    """A server that says why there is no tool that changes something, instead of merely not knowing it."""

    withheld: frozenset[str] = frozenset()

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[dict[str, Any], Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        if name in self.withheld:
            raise ToolError(
                f"read_only: {name} changes something, and this server is read-only. Nothing was done."
                " What to do: tell the user that whoever runs this server has to start it with --allow-writes."
            )
        return await super().call_tool(name, arguments, context)


def assistant(client: AsyncClient, *, allow_writes: bool) -> Assistant:
    """The server with its tools. Without `allow_writes`, those that change something are not there."""
    server = Assistant(
        "apviso",
        title="APVISO",
        instructions=INSTRUCTIONS + WARNING + ("" if allow_writes else READ_ONLY),
        version=__version__,
        log_level="WARNING",
        subscriptions=False,
    )
    server.withheld = frozenset() if allow_writes else frozenset(CHANGES)
    room = asyncio.Semaphore(MAX_CALLS_AT_A_TIME)
    reading, writing = Reading(client), Writing(client)
    for name in READS:
        _offer(server, getattr(reading, name), LOOKS, room)
    for name, hints in CHANGES.items() if allow_writes else ():
        _offer(server, getattr(writing, name), hints, room)
    return server


def _offer(server: Assistant, tool: Callable[..., Awaitable[Any]], hints: ToolAnnotations, room: asyncio.Semaphore) -> None:
    name = tool.__name__
    told = cleandoc(tool.__doc__ or "")
    server.add_tool(
        _answering(tool, room),
        name=name,
        title=name.replace("_", " ").capitalize(),
        description=f"{told}\n\n{WARNING}" if name in QUOTING else told,
        annotations=hints,
        structured_output=True,
    )


def _answering(tool: Callable[P, Awaitable[T]], room: asyncio.Semaphore) -> Callable[P, Awaitable[T]]:
    """The tool within its time, and whatever keeps it from answering as words for an assistant."""

    @wraps(tool)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            async with asyncio.timeout(TOOL_SECONDS), room:
                return await tool(*args, **kwargs)
        except ApvisoError as error:
            raise ToolError(explained(error, new_marks())) from error
        except ValidationError as error:
            raise ToolError(explained_arguments(error)) from error
        except TimeoutError as error:
            raise ToolError(f"timed_out: no answer within {TOOL_SECONDS:g} seconds. {UNKNOWN_EFFECT}") from error

    return answer
