"""Ten thousand runners come back at once to a server that has just started again."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator

import psutil
import pytest

from apviso.server.settings import Settings
from tests.server.database.fleet import rows
from tests.server.database.herd import BOOT, Herd, enrolled
from tests.server.database.processes import Turning, address_of, impatient, organization_behind, server_process

# On a machine that does nothing else a test takes a tenth of it.
SECONDS = 240
# What is left for a server at rest with the tests' own records of ten thousand runners, and a buffer of 10 KiB for each connection.
MOST_MEBIBYTES = 450
OFFLINE = "SELECT count(*) FROM stream_events WHERE type = 'runner.offline'"
HEARD = "SELECT count(*) FROM runners WHERE last_heartbeat_at > created_at AND observed_status = 'online'"


@pytest.fixture
def _many_open_files() -> Iterator[None]:
    """A connection for each runner, and some more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def highest_resident_bytes(pid: int) -> int:
    """What a process had in memory at most, looked at until this is cancelled."""
    process, highest = psutil.Process(pid), 0
    try:
        while True:
            highest = max(highest, process.memory_info().rss)
            await asyncio.sleep(0.2)
    except asyncio.CancelledError:
        return highest


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.usefixtures("_many_open_files")
@pytest.mark.parametrize(("number", "boot_id"), [(10_000, BOOT), (600, "another boot")], ids=["as they were", "after a boot of their own"])
async def test_runners_that_all_reconnect_at_once_are_all_heard_and_none_is_called_offline(
    frail_settings: Settings, number: int, boot_id: str, record_property: Callable[[str, object], None]
) -> None:
    # So that a slow machine is no reason for the others to take the way of those who have been missed.
    settings = impatient(frail_settings, heartbeat_late_after=SECONDS)
    async with organization_behind(Turning([]), settings) as acme:
        tokens = await enrolled(settings, acme.id, number)
    with server_process(settings) as server:
        herd = Herd(await address_of(server), boot_id)
        watch = asyncio.create_task(highest_resident_bytes(server.pid))
        began = asyncio.get_running_loop().time()

        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for token in tokens:
                group.create_task(herd.come_back(token))

        took = asyncio.get_running_loop().time() - began
        watch.cancel()
        mebibytes = await watch // 2**20
        server.terminate()
        assert await asyncio.to_thread(server.wait, SECONDS) == 0

    told = ", ".join(f"{call} {status}: {times}" for (call, status), times in sorted(herd.answers.items()))
    record_property("measured", f"{number} runners at once: {took:.0f} s, {mebibytes} MiB, {told}")
    assert (herd.answers["/heartbeat", 200], herd.answers["/jobs/claim", 200]) == (number, number)
    assert mebibytes < MOST_MEBIBYTES
    assert await rows(settings, OFFLINE, HEARD) == [[(0,)], [(number,)]]
