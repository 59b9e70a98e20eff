"""Ends process groups and whatever escaped from them. Touches only processes that are proved to be the ones meant."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable

import psutil

from apviso.runner.records import ProcessMark

_LOOK_SECONDS = 0.05
_KILL_SECONDS = 10.0


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants, also those that left its group."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def group_exists(group: int) -> bool:
    """Whether a process of the group is alive. A zombie whose parent has not looked yet counts as dead."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return any(_is_alive_in(process, group) for process in psutil.process_iter())


def _is_alive_in(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ProcessLookupError):
        return False


def signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def signal_each(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        # psutil compares start times first, so a number that was given to another process is left alone.
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


async def kill_group(group: int) -> None:
    """SIGKILL to a group whose leader has ended; returns when nobody of it is left."""
    signal_group(group, signal.SIGKILL)
    await _until_gone(group, [], _KILL_SECONDS)


async def end_family(pid: int, grace_seconds: float) -> None:
    """SIGTERM to the group of `pid` and to every descendant outside it, after the grace SIGKILL; returns when all are gone."""
    members = family(pid)
    signal_group(pid, signal.SIGTERM)
    signal_each((process for process in members if not _is_alive_in(process, pid)), signal.SIGTERM)
    await _until_gone(pid, members, grace_seconds)
    members = list({process.pid: process for process in [*members, *family(pid)]}.values())
    signal_group(pid, signal.SIGKILL)
    signal_each(members, signal.SIGKILL)
    await _until_gone(pid, members, _KILL_SECONDS)


async def _until_gone(group: int, members: list[psutil.Process], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline:
        if not any(_is_running(process) for process in members) and not group_exists(group):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_same(mark: ProcessMark) -> bool:
    """Whether the process of the mark still lives; the same number with another start is somebody else."""
    try:
        return abs(psutil.Process(mark.pid).create_time() - mark.started) < 0.02
    except psutil.Error:
        return False


async def end_marked(mark: ProcessMark) -> bool:
    """Kill what is left of a marked process and its group; False where it is long gone."""
    if not is_same(mark):
        return False
    await end_family(mark.pid, 1.0)
    return True
