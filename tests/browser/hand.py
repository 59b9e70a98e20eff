"""A runner spoken by hand at a real server, so that a test decides what a scan says and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.end_to_end.installation import HTTP, Installation

AT = "2026-05-03T09:15:32Z"
# The installation's lease is 6 s, and a runner is offline after 8 s.
ALIVE_SECONDS = 1.5


@dataclass
class Hand:
    """One runner of the installation; `job` is what it has claimed."""

    installation: Installation
    name: str
    id: str = ""
    token: str = field(default="", repr=False)
    beats: int = 0
    job: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def enroll(self, **told: Any) -> Hand:
        token = self.installation.call("POST", "/runners/enrollment-tokens", {"name": self.name})["token"]
        body = {"enrollmentToken": token, "name": self.name, "version": "0.1.0", "protocolVersion": 1, "configuredConcurrency": 1, **told}
        answer = self._post("/register", body)
        self.id, self.token = answer["runner"]["id"], answer["token"]
        self.beat()
        return self

    @contextmanager
    def staying_alive(self) -> Iterator[Hand]:
        """Reports and renews beside whatever the test does."""
        enough = threading.Event()

        def stay() -> None:
            while not enough.wait(ALIVE_SECONDS):
                self.beat()
                if self.job:
                    self.on_job("lease")

        staying = threading.Thread(target=stay)
        staying.start()
        try:
            yield self
        finally:
            enough.set()
            staying.join()

    def beat(self) -> None:
        with self.lock:
            self.beats += 1
            number = self.beats
        self.call("/heartbeat", {"bootId": f"boot-{self.name}", "beatSeq": number, "version": "0.1.0", "lastClaimPollAgeMs": 0})

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._post(path, body, authorization=f"Bearer {self.token}")

    def _post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        address = f"{self.installation.url}/api/runner{path}"
        answered = HTTP.post(address, json=body, headers=headers, timeout=30)
        answer: dict[str, Any] = answered.raise_for_status().json()
        return answer

    def take(self) -> Hand:
        """Claim a scan and begin it."""
        self.beat()
        claimed = self.call("/jobs/claim?wait=10", {"nonce": f"{self.name}-{self.beats}", "freeSlots": 1})["job"]
        assert claimed is not None
        self.seq, self.job = 0, claimed["job"]
        self.on_job("preflight", ok=True)
        self.on_job("start")
        return self

    def on_job(self, step: str, **told: Any) -> dict[str, Any]:
        return self.call(f"/jobs/{self.job['id']}/{step}", {"attempt": self.job["attempt"], **told})

    def say(self, *events: dict[str, Any]) -> None:
        numbered = [{"seq": self.seq + number, "at": AT, **event} for number, event in enumerate(events, 1)]
        self.seq += len(numbered)
        self.on_job("events", events=numbered)

    def end(self, status: str = "completed", reason: str = "completed", **told: Any) -> None:
        coverage = {"complete": True, "reasons": []}
        job, self.job = self.job, {}
        ending = {"status": status, "endReason": reason, "lastSeq": self.seq, "coverage": coverage, **told}
        self.call(f"/jobs/{job['id']}/finish", {"attempt": job["attempt"], **ending})


def log(message: str, level: str = "info") -> dict[str, Any]:
    return {"type": "log", "level": level, "message": message}


def found(title: str, severity: str, **more: Any) -> dict[str, Any]:
    return {"type": "finding", "finding": {"title": title, "severity": severity, "url": f"http://localhost/{severity}", **more}}
