"""Who talks to the control plane in tests: an organization with its API key, and a runner spoken by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2

_NUMBERS = count(1)


@dataclass(frozen=True)
class Organization:
    """Calls of the public API with one key. `api/v1` is added to paths."""

    client: httpx2.AsyncClient
    id: str
    key: str = field(repr=False)

    async def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"X-API-Key": self.key, **more.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.call("GET", path, **more)

    async def post(self, path: str, json: object = None, **more: Any) -> httpx2.Response:
        return await self.call("POST", path, json=json, **more)

    async def patch(self, path: str, json: object, **more: Any) -> httpx2.Response:
        return await self.call("PATCH", path, json=json, **more)

    async def delete(self, path: str, **more: Any) -> httpx2.Response:
        return await self.call("DELETE", path, **more)

    async def limited_to(self, *scopes: str) -> Organization:
        """The same organization through a key with these scopes only."""
        issued = await self.post("/api-keys", {"name": "limited", "scopes": list(scopes)})
        return Organization(self.client, self.id, issued.raise_for_status().json()["key"])

    async def target(self, domain: str = "localhost:3000", visibility: str = "localhost", **more: Any) -> dict[str, Any]:
        """A new target."""
        created = await self.post("/targets", {"domain": domain, "visibility": visibility, **more})
        target: dict[str, Any] = created.raise_for_status().json()["target"]
        return target

    async def scan(self, target_id: str, **more: Any) -> dict[str, Any]:
        """A new scan and its job; queued when no runner is there."""
        created = await self.post("/scans", {"targetId": target_id, "whenUnavailable": "queue", **more})
        answer: dict[str, Any] = created.raise_for_status().json()
        return answer

    async def enrollment_token(self, **wanted: Any) -> str:
        issued = await self.post("/runners/enrollment-tokens", wanted)
        return str(issued.raise_for_status().json()["token"])

    async def runner(self, name: str = "runner-1", **told: Any) -> Runner:
        """A runner that has enrolled and sent its first heartbeats; the second says nothing new."""
        token = await self.enrollment_token()
        answer = (await register(self.client, token, name=name, **told)).raise_for_status().json()
        runner = Runner(self.client, answer["runner"]["id"], answer["token"])
        for _ in range(2):
            (await runner.beat()).raise_for_status()
        return runner


async def register(client: httpx2.AsyncClient, enrollment_token: str, **told: Any) -> httpx2.Response:
    """Exchange an enrollment token."""
    body = {"enrollmentToken": enrollment_token, "version": "0.1.0", "protocolVersion": 1, "configuredConcurrency": 1, **told}
    return await client.post("/api/runner/register", json=body)


@dataclass
class Runner:
    """Calls of the daemon API, one by one, so that a test decides what is sent and what gets lost."""

    client: httpx2.AsyncClient
    id: str
    token: str = field(repr=False)
    boot_id: str = field(default_factory=lambda: f"boot-{next(_NUMBERS)}")
    beats: int = 0

    async def call(self, method: str, path: str, json: object = None, **more: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        return await self.client.request(method, f"/api/runner{path}", headers=headers, json=json, **more)

    async def get(self, path: str) -> httpx2.Response:
        return await self.call("GET", path)

    async def beat(self, **told: Any) -> httpx2.Response:
        self.beats += 1
        said = {"bootId": self.boot_id, "beatSeq": self.beats, "version": "0.1.0", "lastClaimPollAgeMs": 0, **told}
        return await self.call("POST", "/heartbeat", said)

    async def claim(self, nonce: str | None = None, wait: float = 0, **told: Any) -> httpx2.Response:
        body = {"nonce": nonce or f"nonce-{next(_NUMBERS)}", "freeSlots": 1, **told}
        return await self.call("POST", f"/jobs/claim?wait={wait}", body)

    async def claimed(self) -> dict[str, Any]:
        """The job of a claim that must succeed."""
        job = (await self.claim()).raise_for_status().json()["job"]
        assert job is not None
        claimed: dict[str, Any] = job
        return claimed

    async def on_job(self, job: dict[str, Any], step: str, **told: Any) -> httpx2.Response:
        """`lease`, `preflight`, `start`, `events` or `finish` for a claimed job, in its attempt."""
        return await self.call("POST", f"/jobs/{job['job']['id']}/{step}", {"attempt": job["job"]["attempt"], **told})

    async def run_whole(self, job: dict[str, Any], *events: dict[str, Any], **more: Any) -> httpx2.Response:
        """Everything a good runner sends for a job; the answer to finish."""
        (await self.on_job(job, "preflight", ok=True)).raise_for_status()
        (await self.on_job(job, "start")).raise_for_status()
        if events:
            (await self.on_job(job, "events", events=list(events))).raise_for_status()
        ending = {"status": "completed", "endReason": "completed", "lastSeq": len(events), "coverage": {"complete": True, "reasons": []}}
        return await self.on_job(job, "finish", **ending | more)
