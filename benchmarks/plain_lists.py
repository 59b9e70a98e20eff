"""Runs in the encoders' environment: the least that a list of runners can cost, encoded from Structs and selected from our table."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

TIMES = 10
COLUMNS = (
    "id", "name", "token_prefix", "observed_status", "observed_reasons", "admin_state", "admin_note", "admin_until", "drain_deadline",
    "version", "protocol_version", "os", "arch", "labels", "ephemeral", "container_engine", "configured_concurrency", "max_concurrency",
    "provider_state", "capabilities", "health", "last_heartbeat_at", "created_at",
)  # fmt: skip


async def main(records: list[dict[str, Any]], host: str, database: str) -> None:
    asyncpg, msgspec = (import_module(name) for name in ("asyncpg", "msgspec"))
    names = list(records[0])
    struct = msgspec.defstruct("Record", [(name, Any) for name in names])
    row_struct = msgspec.defstruct("Row", [(name, Any) for name in COLUMNS])
    structs = [struct(**{name: record.get(name) for name in names}) for record in records]
    encoder = msgspec.json.Encoder()
    connection = await asyncpg.connect(host=host, user="tests", database=database, timeout=30)
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=str, decoder=msgspec.Raw, schema="pg_catalog", format="text")

    async def encode() -> bytes:
        return bytes(encoder.encode(structs))

    async def select() -> bytes:
        rows = await connection.fetch(f"SELECT {', '.join(COLUMNS)} FROM runners WHERE revoked_at IS NULL")  # noqa: S608  # fixed names
        return bytes(encoder.encode([row_struct(*row) for row in rows]))

    deeds = {"encode": encode, "select": select}
    for word in iter(sys.stdin.readline, ""):
        began = time.process_time()
        for _ in range(TIMES):
            await deeds[word.strip()]()
        sys.stdout.write(f"{(time.process_time() - began) / TIMES * 1000}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    listed, *where = sys.argv[1:]
    asyncio.run(main(json.loads(Path(listed).read_bytes())["runners"], *where))
