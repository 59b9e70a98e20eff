"""`apviso mcp --http` on a real socket: whoever has the token may speak, under the right name, in few words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from apviso.mcp.assistant import READS
from apviso.mcp.running import MAX_BODY_BYTES
from tests.server.client.conftest import Shell
from tests.server.mcp.conftest import refused, told
from tests.support.people import Organization, Runner

pytestmark = pytest.mark.slow
START_SECONDS = 30
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@dataclass(frozen=True)
class Served:
    address: str
    token: str = field(repr=False)

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


@asynccontextmanager
async def served(shell: Shell, *flags: str) -> AsyncIterator[Served]:
    """The process until the test is done with it; it must end in order, and have told its token once."""
    process = await shell.start("mcp", "--http", "127.0.0.1:0", *flags)
    assert process.stderr is not None
    try:
        lines: list[str] = []
        async with asyncio.timeout(START_SECONDS):
            while not lines or not lines[-1].startswith("MCP server: "):
                line = (await process.stderr.readline()).decode()
                assert line, lines
                lines.append(line)
        found = re.search(r"shown only now: (\S+)\nMCP server: (\S+)\n", "".join(lines))
        assert found is not None
        yield Served(found[2], found[1])
        process.terminate()
        out, err = await asyncio.wait_for(process.communicate(), START_SECONDS)
        assert (process.returncode, out) == (0, b"")
        assert found[1].encode() not in err
        assert shell.key.encode() not in err
    finally:
        if process.returncode is None:
            process.kill()


async def test_server_over_http_answers_its_token_and_refuses_everything_else(shell: Shell, acme: Organization, runner: Runner) -> None:
    target = await acme.target()

    async with served(shell) as server:
        async with (
            httpx2.AsyncClient(headers=server.bearer) as known,
            Client(streamable_http_client(server.address, http_client=known)) as client,
        ):
            tools = (await client.list_tools()).tools
            quota = await told(client, "get_quota")
            refusal = await refused(client, "start_scan", target_id=target["id"])
            # As assistants spoke before: with a handshake.
            async with Client(streamable_http_client(server.address, http_client=known), mode="legacy") as older:
                quota_of_older = await told(older, "get_quota")
        async with httpx2.AsyncClient(headers=ACCEPT) as anyone:

            async def status(headers: dict[str, str], content: bytes | None = None) -> int:
                more = {"content": content} if content is not None else {"json": CALL}
                return (await anyone.post(server.address, headers=headers, **more)).status_code

            answers = {
                "right": await status(server.bearer),
                "own page": await status({**server.bearer, "origin": server.address.removesuffix("/mcp")}),
                "no token": await status({}),
                "wrong token": await status({"authorization": "Bearer " + "x" * 43}),
                "other scheme": await status({"authorization": f"Basic {server.token}"}),
                "key of the control plane": await status({"authorization": f"Bearer {acme.key}"}),
                "other page": await status({**server.bearer, "origin": "https://evil.example"}),
                "other name": await status({**server.bearer, "host": "evil.example"}),
                "long body": await status(server.bearer, b" " * (MAX_BODY_BYTES + 1)),
            }
            in_the_address = await anyone.post(f"{server.address}?token={server.token}", json=CALL)

    assert {tool.name for tool in tools} == set(READS)
    assert quota_of_older == quota
    assert quota["license"]["plan"] == "community"
    assert "read_only" in refusal
    assert answers == {
        "right": 200,
        "own page": 200,
        "no token": 401,
        "wrong token": 401,
        "other scheme": 401,
        "key of the control plane": 401,
        "other page": 403,
        "other name": 421,
        "long body": 413,
    }
    assert (in_the_address.status_code, in_the_address.headers["www-authenticate"]) == (401, "Bearer")
