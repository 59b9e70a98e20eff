"""A control plane for a benchmark: one `apviso server` on either database, with a license and runners that are there before it starts."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from apviso.server.settings import Settings
from benchmarks.seeding import Enrolled, enroll
from tests.end_to_end.installation import Installation, Process

# Limits that would end a benchmark before the server is loaded; the fleet, which has real intervals, keeps the product's.
UNLIMITED = {
    "APVISO_DAEMON_REQUESTS_PER_MINUTE": "1000000000",
    "APVISO_REQUESTS_PER_MINUTE": "1000000000",
    "APVISO_ENROLLMENTS_PER_MINUTE": "100000",
}
# Silence that is no news: nothing about the runners changes by itself while something else is measured.
PATIENT = UNLIMITED | {"APVISO_TIMERS__OFFLINE_AFTER": "PT7200S", "APVISO_TIMERS__HEARTBEAT_LATE_AFTER": "PT3600S"}
START_SECONDS = 120
# What the list of a whole fleet may take on a loaded machine.
ANSWER_SECONDS = 120


@dataclass
class Plant(Installation):
    """`database_url` empty is SQLite in the folder."""

    database_url: str = ""
    organization_id: str = ""
    server: Process | None = None
    runners: list[Enrolled] = field(default_factory=list)
    # Questions of people that were answered 503 first.
    turned_away: int = 0

    @property
    def _where(self) -> tuple[str, ...]:
        return ("--data-dir", str(self.folder / "data"), *(("--database-url", self.database_url) if self.database_url else ()))

    def prepare(self, runners: int, have_spoken: bool) -> None:
        """The organization, its key, a license for so many runners, and the runners."""
        told = json.loads(self.run("admin", "bootstrap", *self._where, "--organization", "Acme", "--json").stdout)
        self.api_key, self.organization_id = told["apiKey"], told["organizationId"]
        key, file = str(self.folder / "issuer.key"), str(self.folder / "license.json")
        limits = ("--runners", "1000000", "--jobs", "1000000", "--targets", "1000000", "--visibility", "localhost")
        self.run("admin", "license", "issue", "--plan", "bench", *limits, "--key", key, "--out", file)
        self.run("admin", "license", "install", file, "--issuer-key", str(Path(key).with_suffix(".pub")), *self._where)
        self.runners = asyncio.run(enroll(self.effective_url, self.organization_id, runners, have_spoken=have_spoken))

    @property
    def effective_url(self) -> str:
        return Settings(data_dir=self.folder / "data", database_url=self.database_url).effective_database_url

    def serve(self) -> int:
        """Start the server and wait until it is ready; its process id."""
        server = self.spawn("server", "server", "--port", str(self.port), *self._where, environment=self.settings)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            assert time.monotonic() < deadline, server.log.read_text()[-2000:]
            assert server.popen.poll() is None, server.log.read_text()[-2000:]
            time.sleep(0.02)
        self.server = server
        return server.popen.pid

    def ask(self, path: str) -> httpx2.Response:
        """A GET of the public API, again as often as the server is too busy for it."""
        address, headers = f"{self.url}/api/v1{path}", {"X-API-Key": self.api_key}
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            answer = httpx2.get(address, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer.raise_for_status()
            self.turned_away += 1
            time.sleep(float(answer.headers.get("retry-after", 1)))


def end_in_order() -> None:
    """On SIGTERM everything that was started is stopped, as on SIGINT: an event loop ends its main task with that one."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@contextmanager
def plant(runners: int, settings: dict[str, str], database_url: str = "", *, have_spoken: bool = False) -> Iterator[Plant]:
    """Prepared and not started yet; whatever it starts ends with it. `have_spoken`: their heartbeats came just now."""
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        made = Plant(Path(folder), dict(settings), database_url=database_url)
        with made.stack:
            made.prepare(runners, have_spoken)
            yield made
