"""Wake-ups: hints that something changed, here or in another process. The database is the truth; a lost hint costs a poll interval."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from apviso.protocol.wire import OrganizationId, RunnerId

_STREAM = "stream:"
# The topic of those who may have missed hints: everybody looks.
EVERYONE = "*"
_RUNNER = "runner:"
_JOBS = "jobs:"
# There may be something to send to a webhook.
DELIVERIES = "deliveries"
# What a key opens or a license permits has changed.
ACCESS = "access"


class Signals:
    """Topics that long polls and streams wait on. A waiter subscribes before it looks, so nothing falls between."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._stirred: set[str] = set()
        # Takes topics to the other processes, where there are any.
        self.relay: Callable[[str], None] | None = None
        self.is_closed = False
        # While it is set, what other processes change is not heard of here.
        self.is_deaf = False
        # Called with the id of each runner of which something has changed, and of each organization in which a scan may have become
        # claimable; with None for all of them.
        self.of_runners: list[Callable[[str | None], None]] = []
        self.of_jobs: list[Callable[[str | None], None]] = []
        # Called when a key or a license has changed.
        self.of_access: list[Callable[[], None]] = []
        # Called with organizations and runners, when a transaction of this process has written what only shows that the runner lives.
        self.of_touches: list[Callable[[Collection[tuple[OrganizationId, RunnerId]]], None]] = []

    def send(self, topic: str) -> None:
        """Wake everyone who waits on `topic`, in every process."""
        self.deliver(topic)
        if self.relay is not None:
            self.relay(topic)

    def deliver(self, topic: str) -> None:
        """Wake everyone who waits on `topic` in this process, and have it forget what it remembers of what it is about."""
        if topic == EVERYONE:
            self._stirred.add(EVERYONE)
            self._wake_all()
            _tell(self.of_runners, None)
            _tell(self.of_jobs, None)
        if topic in (ACCESS, EVERYONE):
            for hear in self.of_access:
                hear()
        if topic.startswith(_RUNNER):
            _tell(self.of_runners, topic.removeprefix(_RUNNER))
        if topic.startswith(_JOBS):
            _tell(self.of_jobs, topic.removeprefix(_JOBS))
        if topic.startswith(_STREAM):
            self._stirred.add(topic.removeprefix(_STREAM))
        for event in self._waiters.get(topic, ()):
            event.set()

    def close(self) -> None:
        """The process is about to end: everyone who waits answers now, and nobody waits again."""
        self.is_closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        for events in self._waiters.values():
            for event in events:
                event.set()

    def take_stirred(self) -> set[str]:
        """The organizations whose stream has grown since this was last asked; EVERYONE among them stands for any."""
        stirred, self._stirred = self._stirred, set()
        return stirred

    def touch(self, touched: Collection[tuple[OrganizationId, RunnerId]]) -> None:
        """Tell this process alone: there is one of these for each heartbeat that is written."""
        for hear in self.of_touches:
            hear(touched)

    def stir(self, organization_ids: Iterable[str]) -> None:
        """Give back what was taken and not looked at."""
        self._stirred.update(organization_ids)

    @contextmanager
    def listening(self, *topics: str) -> Iterator[Listener]:
        event = asyncio.Event()
        for topic in topics:
            self._waiters[topic].add(event)
        try:
            yield Listener(event)
        finally:
            for topic in topics:
                self._waiters[topic].discard(event)
                if not self._waiters[topic]:
                    del self._waiters[topic]


class Listener:
    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float) -> bool:
        """Wait for a hint, at most `seconds`; whether one came."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


def _tell(hearers: list[Callable[[str | None], None]], subject: str | None) -> None:
    for hear in hearers:
        hear(subject)


def jobs_topic(organization_id: str) -> str:
    """A scan of this organization may have become claimable."""
    return f"{_JOBS}{organization_id}"


def runner_topic(runner_id: str) -> str:
    """Something that this runner should be told at once."""
    return f"{_RUNNER}{runner_id}"


def stream_topic(organization_id: str) -> str:
    """The organization's live stream has grown."""
    return f"{_STREAM}{organization_id}"


def log_topic(scan_id: str) -> str:
    """The log of this scan has grown, or the scan has ended."""
    return f"log:{scan_id}"
