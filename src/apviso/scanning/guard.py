"""Starts the guard beside a scan, keeps its permit alive and reads its counters. Lets nothing through by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from apviso.scanning.guard_rules import AllowedHost, GuardCounters, GuardRules, InvalidTarget, Refusal, allowed_host, rules_for

__all__ = [
    "AllowedHost", "Guard", "GuardCounters", "GuardFailed", "GuardRules", "InvalidTarget", "Refusal",
    "allowed_host", "rules_for", "start_guard",
]  # fmt: skip

START_SECONDS = 30.0
CLOSE_SECONDS = 3.0
KILL_SECONDS = 5.0
_SCRIPT = Path(__file__).with_name("guard_proxy.py")
_MAX_LINE_BYTES = 64 * 1024
_MAX_COMPLAINT_BYTES = 4 * 1024
_MAX_UNREAD_BYTES = 64 * 1024


class GuardFailed(Exception):
    """The guard could not start, or is no longer there. The message is fit for people and holds no secret."""


class _Ended(Exception):
    """The process was gone before it listened."""


class _Hearing(asyncio.SubprocessProtocol):
    """What the guard's process says, kept bounded: the port, the latest counters, the last complaint."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.port: asyncio.Future[int] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.counters = GuardCounters()
        self.complaint = b""
        self._partial = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.complaint = (self.complaint + data)[-_MAX_COMPLAINT_BYTES:]
            return
        *lines, self._partial = (self._partial + data)[-_MAX_LINE_BYTES:].split(b"\n")
        for line in lines:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            if not self.port.done():
                self.port.set_result(int(said["listening"]))
            else:
                self.counters = GuardCounters.model_validate(said)
        except (ValueError, KeyError, TypeError, ValidationError):
            self.complaint = b"the guard said something that is no counter line"

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the process has ended and every pipe is read to its end."""
        if not self.port.done():
            self.port.set_exception(_Ended())
            self.port.exception()  # Marked as seen: whoever started the guard may have been cancelled.
        if not self.gone.done():
            self.gone.set_result(None)


class Guard:
    """A running guard. `close` is the only way out; until then the owner moves its permit."""

    def __init__(self, transport: asyncio.SubprocessTransport, hearing: _Hearing, port: int) -> None:
        self._transport = transport
        self._hearing = hearing
        self.proxy_url = f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        """The guard's process, which leads a session of its own."""
        return self._transport.get_pid()

    @property
    def counters(self) -> GuardCounters:
        """The latest counters, at most about a second old while the guard lives."""
        return self._hearing.counters

    @property
    def alive(self) -> bool:
        return not self._hearing.gone.done()

    async def permit(self, seconds: float) -> None:
        """Let traffic through for so many seconds from now. Raises GuardFailed where the guard no longer listens."""
        _write(self._transport, self._hearing, {"permitSeconds": seconds})

    async def close(self) -> GuardCounters:
        """End the guard; its process is gone when this returns or raises. The counters are the final ones."""
        await _end(self._transport, self._hearing)
        return self._hearing.counters


def _write(transport: asyncio.SubprocessTransport, hearing: _Hearing, message: dict[str, object]) -> None:
    pipe = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
    if hearing.gone.done() or pipe.is_closing() or pipe.get_write_buffer_size() > _MAX_UNREAD_BYTES:
        raise GuardFailed(f"The guard no longer listens: {_last_words(hearing)}")
    pipe.write(json.dumps(message).encode() + b"\n")


def _last_words(hearing: _Hearing) -> str:
    lines = hearing.complaint.decode(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else "it gave no reason"


async def _end(transport: asyncio.SubprocessTransport, hearing: _Hearing) -> None:
    if (pipe := transport.get_pipe_transport(0)) is not None:
        pipe.close()
    try:
        await asyncio.wait_for(asyncio.shield(hearing.gone), CLOSE_SECONDS)
    except TimeoutError:
        pass
    finally:
        _kill(transport)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(hearing.gone), KILL_SECONDS)
    transport.close()


def _kill(transport: asyncio.SubprocessTransport) -> None:
    if transport.get_returncode() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)


def _bare_environment() -> dict[str, str]:
    """Nothing of the runner's environment: it may hold tokens and proxies that are none of the guard's business."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "SSL_CERT_DIR") if name in os.environ}


async def start_guard(rules: GuardRules, scanners_dir: Path, work_dir: Path, permit_seconds: float) -> Guard:
    """A guard that listens on loopback, with its first permit. Raises GuardFailed.

    Its private files live in `work_dir`, which must exist and is the caller's to delete."""
    hearing = _Hearing()
    # Absolute, because the process gets another working directory.
    command = (os.path.join(os.getcwd(), scanners_dir, "bin", "python"), "-I", str(_SCRIPT))  # noqa: PTH109, PTH118
    try:
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: hearing, *command, cwd=work_dir, env=_bare_environment(), start_new_session=True
        )
    except OSError as error:
        raise GuardFailed(f"The guard cannot be started: {error.strerror or error}") from error
    try:
        _write(transport, hearing, rules.model_dump(mode="json", by_alias=True))
        _write(transport, hearing, {"permitSeconds": permit_seconds})
        port = await _listening(hearing)
    except BaseException:
        await _end(transport, hearing)
        raise
    return Guard(transport, hearing, port)


async def _listening(hearing: _Hearing) -> int:
    """The port, once the guard listens; raises GuardFailed where it ends or stays silent."""
    try:
        return await asyncio.wait_for(asyncio.shield(hearing.port), START_SECONDS)
    except TimeoutError:
        circumstance = "did not listen in time"
    except _Ended:
        circumstance = "ended at once"
    raise GuardFailed(f"The guard {circumstance}: {_last_words(hearing)}")
