"""A runner spoken by hand through the real server's socket: what it finds is what a test wants to see on a page."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx2

from tests.end_to_end.installation import Installation

_NUMBERS = count(1)


class SpokenRunner:
    """It takes the scans that name it, and no others."""

    def __init__(self, installation: Installation, name: str) -> None:
        self._installation = installation
        token = installation.call("POST", "/runners/enrollment-tokens", {})["token"]
        told = {"enrollmentToken": token, "name": name, "version": "0.1.0", "protocolVersion": 1, "configuredConcurrency": 1}
        registered = self._say("POST", "/register", told, None)
        self.id: str = registered["runner"]["id"]
        self._token: str = registered["token"]

    def scan(self, domain: str, *flaws: dict[str, Any]) -> str:
        """Scan a new target, and find this; the target's id."""
        self.beat()
        target = self._installation.call("POST", "/targets", {"domain": domain, "visibility": "private_internal"})["target"]
        self._installation.call("POST", "/scans", {"targetId": target["id"], "runnerId": self.id, "whenUnavailable": "queue"})
        job = self._say("POST", "/jobs/claim?wait=5", {"nonce": f"nonce-{next(_NUMBERS)}", "freeSlots": 1})["job"]
        events = [{"seq": seq, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw} for seq, flaw in enumerate(flaws, 1)]
        ending = {"status": "completed", "endReason": "completed", "lastSeq": len(flaws), "coverage": {"complete": True, "reasons": []}}
        for step, told in (("preflight", {"ok": True}), ("start", {}), ("events", {"events": events}), ("finish", ending)):
            self._say("POST", f"/jobs/{job['job']['id']}/{step}", {"attempt": job["job"]["attempt"], **told})
        return str(target["id"])

    def beat(self) -> None:
        said = {"bootId": "by hand", "beatSeq": next(_NUMBERS), "version": "0.1.0", "lastClaimPollAgeMs": 0}
        self._say("POST", "/heartbeat", said)

    def revoke(self) -> None:
        self._installation.call("DELETE", f"/runners/{self.id}")

    def _say(self, method: str, path: str, told: object, token: str | None = "") -> dict[str, Any]:
        headers = {} if token is None else {"authorization": f"Bearer {self._token}"}
        address = f"{self._installation.url}/api/runner{path}"
        answer = httpx2.request(method, address, json=told, headers=headers, timeout=20, trust_env=False)
        said: dict[str, Any] = answer.raise_for_status().json()
        return said


def flaw(title: str, severity: str = "high", **more: Any) -> dict[str, Any]:
    return {"title": title, "severity": severity, "url": f"https://shop.internal/{title.replace(' ', '-')}", **more}
