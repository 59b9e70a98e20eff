"""The embedded engine: a scan as a child process with limits of its own. It cannot take the network away; it says so aloud."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import psutil
from pydantic import JsonValue

from apviso.protocol.daemon import ScanImage
from apviso.protocol.states import EndReason
from apviso.runner.engines import EngineFailed, Line, Prepared, RunningScan, ScanExit, ScanLabels
from apviso.runner.engines.lines import LineCutter, OutputFlood
from apviso.runner.engines.process_group import end_family, family, kill_group, signal_each, signal_group
from apviso.runner.records import ProcessMark
from apviso.runner.retrying import pause
from apviso.scanning.order import ScanOrder

BUILT_IN_SCAN: tuple[str, ...] = (sys.executable, "-I", "-m", "apviso.scanning")
# What a program needs to find its libraries, language and time zone; everything else may hold tokens or proxies.
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
SPAWN_SECONDS = 30.0
ADDRESS_SPACE_BYTES = 4 * 1024**3
FILE_BYTES = 1024**3
OPEN_FILES = 1024
# A scan may use every core for its whole time; beyond that it runs away.
CPU_SECONDS_PER_RUN_SECOND = 4
# How long pipes may stay open after the scan itself has ended: something that it left behind holds them.
DRAIN_SECONDS = 5.0

LIMITS = (
    "No network namespace: a scan that disregards its proxy could reach whatever this account can reach.",
    "The guard listens on loopback while a scan runs: it turns other local accounts away only where the system tells it whose a "
    "connection is (Linux), and any program of this account can send requests through it to the target of that scan.",
    "No file system of its own: a scan can read what this account can read. Run the runner under an account of its own.",
    "A program that a scan starts and that leaves its family on purpose (a double fork into a session of its own) may outlive it.",
    "Memory, processor time, file size and open files are limited for each process, not for the scan as a whole.",
)


class ProcessEngine:
    """`command` is the program that runs a scan: order as one line on standard input, NDJSON on standard output."""

    name = "process"

    def __init__(self, command: Sequence[str] = BUILT_IN_SCAN) -> None:
        self._command = tuple(command)

    def describe(self) -> Mapping[str, JsonValue]:
        built_in = self._command == BUILT_IN_SCAN
        return {"name": self.name, "isolation": "process", "scanProgram": "built-in" if built_in else "custom", "limits": list(LIMITS)}

    async def problem(self) -> str | None:
        program = Path(self._command[0])
        if program.is_absolute() and not os.access(program, os.X_OK):
            return f"{program} is no program that can be run"
        return None

    async def prepare(self, image: ScanImage | None) -> Prepared:
        if image is not None:
            raise EngineFailed("The job names a scan image, and this runner has no container engine.", EndReason.ENGINE_UNAVAILABLE)
        return Prepared()

    async def end_leftovers(self) -> list[str]:
        """The marks of processes are kept with the attempts; whoever settles those ends them."""
        return []

    async def start(
        self, prepared: Prepared, order: ScanOrder, labels: ScanLabels, work_dir: Path, take: Callable[[Line], None]
    ) -> RunningScan:
        """The child gets its limits before its order: until then it has nothing to do."""
        hearing = _Hearing(take)
        try:
            async with asyncio.timeout(SPAWN_SECONDS):
                transport, _ = await asyncio.get_running_loop().subprocess_exec(
                    lambda: hearing, *self._command, cwd=work_dir, env=bare_environment(os.environ, work_dir), start_new_session=True
                )
        except (OSError, TimeoutError) as error:
            raise EngineFailed(f"the scan program cannot be started: {error}") from error
        scan = ProcessScan(transport, hearing, oom_kills())
        try:
            _limit(transport.get_pid(), order.limits.max_run_seconds)
            scan.give(order)
        except BaseException:
            scan.kill()
            raise
        return scan


def bare_environment(environ: Mapping[str, str], work_dir: Path) -> dict[str, str]:
    """An allow-list: a variable that nobody thought of stays out."""
    kept = {name: environ[name] for name in KEPT_VARIABLES if name in environ}
    return {**kept, "HOME": str(work_dir), "TMPDIR": str(work_dir), "PYTHONUNBUFFERED": "1"}


def _limit(pid: int, run_seconds: int) -> None:
    if not hasattr(psutil.Process, "rlimit"):
        return  # Only Linux lets one process limit another; `describe` makes no promise beyond it.
    cpu = run_seconds * CPU_SECONDS_PER_RUN_SECOND
    limits = (
        (psutil.RLIMIT_AS, ADDRESS_SPACE_BYTES),
        (psutil.RLIMIT_CPU, cpu),
        (psutil.RLIMIT_FSIZE, FILE_BYTES),
        (psutil.RLIMIT_NOFILE, OPEN_FILES),
        (psutil.RLIMIT_CORE, 0),
    )
    try:
        process = psutil.Process(pid)
        for which, most in limits:
            _, hard = process.rlimit(which)
            ceiling = most if hard in {-1, psutil.RLIM_INFINITY} else min(most, hard)
            process.rlimit(which, (ceiling, ceiling))
    except psutil.Error as error:
        raise EngineFailed(f"the scan's limits cannot be set: {error}") from error


def oom_kills() -> int | None:
    """How often this host has killed for lack of memory, None where it does not tell."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return int(counters["oom_kill"]) if "oom_kill" in counters else None


class _Hearing(asyncio.SubprocessProtocol):
    """Cuts what the scan writes into lines as it comes; a scan that floods is heard no more."""

    def __init__(self, take: Callable[[Line], None]) -> None:
        self._take = take
        self._cutters = {1: LineCutter(), 2: LineCutter(error=True)}
        self.flooded = asyncio.Event()
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.flooded.is_set():
            return
        try:
            lines = self._cutters[fd].feed(data)
        except OutputFlood:
            self.flooded.set()
            return
        for line in lines:
            self._take(line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        for line in self._cutters[fd].end() if fd in self._cutters else ():
            self._take(line)

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


class ProcessScan:
    """Standard input stays open for as long as the runner lives: its end tells the scan that nobody listens any more."""

    def __init__(self, transport: asyncio.SubprocessTransport, hearing: _Hearing, oom_kills_before: int | None) -> None:
        self._transport = transport
        self._hearing = hearing
        self._oom_kills_before = oom_kills_before
        self._pid = transport.get_pid()
        self._was_ended = False
        self.mark = ProcessMark.of(self._pid, "scan")

    def give(self, order: ScanOrder) -> None:
        pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        pipe.write(order.model_dump_json(by_alias=True).encode() + b"\n")

    async def stop(self, grace_seconds: float) -> None:
        self._was_ended = True
        try:
            await end_family(self._pid, grace_seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        self._was_ended = True
        members = [] if self._hearing.exited.is_set() else family(self._pid)
        signal_group(self._pid, signal.SIGKILL)
        signal_each(members, signal.SIGKILL)

    async def wait(self) -> ScanExit:
        """Cancelling this leaves the scan as it is."""
        flood = asyncio.create_task(self._end_flood())
        try:
            await self._hearing.exited.wait()
        finally:
            flood.cancel()
        # The group may hold helpers that outlived the scan; nothing of it may go on.
        await kill_group(self._pid)
        await pause(self._hearing.closed, DRAIN_SECONDS)
        self._transport.close()
        return self._outcome()

    async def _end_flood(self) -> None:
        await self._hearing.flooded.wait()
        self.kill()

    def _outcome(self) -> ScanExit:
        code = self._transport.get_returncode()
        assert code is not None
        before, after = self._oom_kills_before, oom_kills()
        starved = before is not None and after is not None and after > before
        return ScanExit(code, code == -signal.SIGKILL and not self._was_ended and starved, self._hearing.flooded.is_set())
