"""`apviso mcp` as an assistant runs it: a process whose standard input and output are the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from apviso.mcp.assistant import READS
from tests.server.mcp.conftest import Program, refused, told
from tests.support.people import Organization, Runner

pytestmark = pytest.mark.slow


async def test_program_without_the_flag_lists_and_answers_reads_and_refuses_writes(
    program: Program, acme: Organization, runner: Runner, said: Path
) -> None:
    target = await acme.target()

    async with program() as client:
        tools = (await client.list_tools()).tools
        quota = await told(client, "get_quota")
        ready = await told(client, "get_readiness", target_id=target["id"])
        targets = await told(client, "list_targets")
        runners = await told(client, "list_runners")
        refusal = await refused(client, "start_scan", target_id=target["id"])
        instructions = client.instructions

    assert {tool.name for tool in tools} == set(READS)
    assert all(tool.annotations and tool.annotations.read_only_hint and tool.output_schema for tool in tools)
    assert quota == (await acme.get("/quota")).json()
    assert (ready["ready"], ready["primaryBlocker"]) == (True, None)
    assert targets == (await acme.get("/targets?limit=25")).json()
    assert [one["id"] for one in runners["runners"]] == [runner.id]
    assert "read_only: start_scan changes something" in refusal
    assert "--allow-writes" in refusal
    assert "read-only" in (instructions or "")
    assert (await acme.get("/scans")).json()["total"] == 0
    assert acme.key not in said.read_text() + refusal
