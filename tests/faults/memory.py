"""Memory that runs out: processes in a control group with little room, of which the kernel ends the largest, as on a host that is full."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
ROOM_BYTES = 24 * 1024**2
SECONDS = 60
_NUMBERS = count(1)
# Takes memory until the kernel ends somebody: one of those that it would rather choose, or this where none of them is left.
HOG = """
import sys, time
with open(sys.argv[1], "w") as members:
    members.write("0")
taken = []
while True:
    taken.append(bytearray(1024 * 1024))
    time.sleep(0.002)
"""


@dataclass(frozen=True)
class Group:
    """A control group of either version: files that hold its members, its limit and how many of it the kernel has ended."""

    folder: Path
    is_unified: bool

    @property
    def members(self) -> Path:
        return self.folder / "cgroup.procs"

    @property
    def limit(self) -> Path:
        return self.folder / ("memory.max" if self.is_unified else "memory.limit_in_bytes")

    @property
    def killed(self) -> int:
        told = (self.folder / ("memory.events" if self.is_unified else "memory.oom_control")).read_text().split()
        return int(told[told.index("oom_kill") + 1])


def can_limit_memory() -> bool:
    return os.getuid() == 0 and _home() is not None


def _home() -> Group | None:
    """Where groups can be made: the memory controller of the first version, or the one tree of the second."""
    first = GROUPS / "memory"
    if (first / "memory.limit_in_bytes").exists():
        return Group(first, is_unified=False)
    if "memory" in _words(GROUPS / "cgroup.subtree_control"):
        return Group(GROUPS, is_unified=True)
    return None


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@contextmanager
def _group() -> Iterator[Group]:
    """A new group; whoever is left in it at the end goes back to where all are."""
    home = _home()
    assert home is not None
    made = Group(home.folder / f"faults-{os.getpid()}-{next(_NUMBERS)}", home.is_unified)
    made.folder.mkdir()
    try:
        yield made
    finally:
        deadline = time.monotonic() + SECONDS
        while left := _words(made.members):
            _enter(home, [int(pid) for pid in left], 0)
            assert time.monotonic() < deadline, f"{made.folder} does not get empty"
            time.sleep(0.02)
        made.folder.rmdir()


def _enter(group: Group, pids: Sequence[int], preference: int) -> None:
    for pid in pids:
        try:
            group.members.write_text(str(pid))
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(preference))
        except (ProcessLookupError, FileNotFoundError):
            continue


@contextmanager
def exhausted(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """These have next to no memory left until the kernel has ended one of them."""
    with _group() as group:
        group.limit.write_text(str(ROOM_BYTES))
        _enter(group, [process.pid for process in processes], 1000)
        hog = subprocess.Popen([sys.executable, "-I", "-c", HOG, str(group.members)])
        try:
            deadline = time.monotonic() + SECONDS
            while group.killed == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert group.killed > 0, "the kernel has ended nobody"
        finally:
            hog.kill()
            hog.wait(SECONDS)
        yield


@contextmanager
def no_more(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Whatever these ask for is refused, as where the system promises no more than it has."""
    before = []
    for process in processes:
        try:
            before.append((process, process.rlimit(psutil.RLIMIT_AS)))
            process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms, before[-1][1][1]))
        except psutil.NoSuchProcess:
            continue
    yield
    for process, limit in before:
        if process.is_running():
            process.rlimit(psutil.RLIMIT_AS, limit)
