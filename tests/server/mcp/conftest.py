"""The control plane of the test on a real socket, and assistants that reach it by the SDK's own client."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from apviso.client import AsyncClient
from apviso.mcp.assistant import assistant
from apviso.server.settings import Settings
from tests.server.client.conftest import Shell, database_url, shell, url

__all__ = ["database_url", "shell", "url"]
ANSWER_SECONDS = 30
Program = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nobody is asked for names: what needs one finds none."""
    return settings.model_copy(update={"dns_servers": ["127.0.0.1:9"], "verification_timeout_seconds": 0.1})


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """Where programs write their standard error."""
    return tmp_path / "said"


@pytest.fixture
def program(shell: Shell, said: Path) -> Program:
    """`apviso mcp` as a process of its own, spoken to over its standard input and output."""

    @asynccontextmanager
    async def started(*flags: str) -> AsyncIterator[Client]:
        environ = {"APVISO_API_URL": shell.url, "APVISO_API_KEY": shell.key, "HOME": "/nonexistent"}
        command = StdioServerParameters(command=sys.executable, args=["-m", "apviso", "mcp", *flags], env=environ)
        with said.open("w", encoding="utf-8") as errors:
            async with Client(stdio_client(command, errlog=errors), read_timeout_seconds=ANSWER_SECONDS) as client:
                yield client

    return started


@asynccontextmanager
async def beside(url: str, key: str, *, allow_writes: bool = False) -> AsyncIterator[Client]:
    """The same server without a process around it."""
    async with AsyncClient(url, key) as api, Client(assistant(api, allow_writes=allow_writes)) as client:
        yield client


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a call that must succeed."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    answer = result.structured_content
    assert isinstance(answer, dict)
    return answer


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The words of a call that must come to nothing."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return "\n".join(getattr(part, "text", "") for part in result.content)
