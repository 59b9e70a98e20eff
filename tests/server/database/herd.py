"""Thousands of runners that enrolled long ago and come back at once, each on a connection of its own, in HTTP as bare as can be."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import uuid_utils
from sqlalchemy import insert

from apviso.protocol.tokens import Namespace, Token, new_token
from apviso.server.db.engine import Database
from apviso.server.db.schema import RunnerRow, RunnerTokenRow
from apviso.server.settings import Settings
from apviso.server.signals import Signals
from tests.support.clock import RealClock

BOOT, VERSION = "boot", "0.1.0"
# A runner waits as long as it is told, and a little longer by chance.
LATER = 1.0
# How each of them was before the server went away.
KNOWN: dict[str, Any] = {
    "version": VERSION,
    "protocol_version": 1,
    "os": "linux",
    "arch": "x86_64",
    "container_engine": "docker",
    "configured_concurrency": 1,
    "provider_state": {},
    "capabilities": {},
    "health": {},
    "labels": [],
    "ephemeral": False,
    "admin_state": "enabled",
    "boot_id": BOOT,
    "beat_seq": 1,
    "observed_status": "online",
    "observed_reasons": [],
}


async def enrolled(settings: Settings, organization_id: str, number: int) -> list[Token]:
    """The tokens of so many runners that were online until now; written by hand, as no license of a test allows so many."""
    now, tokens = datetime.now(UTC), [new_token(Namespace.RUNNER) for _ in range(number)]
    known = {**KNOWN, "organization_id": organization_id, "created_at": now, "last_heartbeat_at": now, "last_contact_at": now}
    runners, kept = [], []
    for token in tokens:
        runner_id = str(uuid_utils.uuid7())
        runners.append({**known, "id": runner_id, "name": f"runner-{token.prefix}", "token_prefix": token.prefix})
        owned = {"runner_id": runner_id, "prefix": token.prefix, "secret_sha256": token.digest()}
        kept.append({**owned, "created_at": now, "first_used_at": now})
    database = Database(settings.database_url, RealClock(), Signals())
    async with database.writing() as work:
        await work.db.execute(insert(RunnerRow), runners)
        await work.db.execute(insert(RunnerTokenRow), kept)
    await database.close()
    return tokens


@dataclass
class Herd:
    """What the runners were answered, by call and status."""

    address: httpx2.URL
    boot_id: str
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def come_back(self, token: Token) -> None:
        """A heartbeat at once, then a claim that waits, each again and again until it is not put off."""
        beat = {"bootId": self.boot_id, "beatSeq": 2, "version": VERSION, "lastClaimPollAgeMs": 0}
        await self._until_taken("/heartbeat", _post("/heartbeat", token, beat))
        await self._until_taken("/jobs/claim", _post("/jobs/claim?wait=2", token, {"nonce": token.prefix, "freeSlots": 1}))

    async def _until_taken(self, call: str, request: bytes) -> None:
        while True:
            status, headers, body = await self._answer(request)
            assert status in (200, 503), f"{call}: {status} {body!r}"
            self.answers[call, status] += 1
            if status == 200:
                return
            await asyncio.sleep(int(headers["retry-after"]) + LATER * random.random())

    async def _answer(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection(self.address.host, self.address.port)
        try:
            writer.write(request)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
        finally:
            writer.close()


def _post(path: str, token: Token, said: dict[str, Any]) -> bytes:
    body = json.dumps(said).encode()
    head = f"POST /api/runner{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token.reveal()}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
