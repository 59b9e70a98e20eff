"""Two commands at once, as continuous integration runs the campaign of faults beside the suite.

`python -m tests.faults.beside "make test-faults" "make test"`: the second speaks as it goes and has the last line; the first says nothing
before it is over. Fails if either fails, and leaves nothing running, whoever ends it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from types import FrameType
from typing import IO, NoReturn

import psutil

# The suite's tests come first where processors are few.
NICE = 5
# What is still to be done when the suite is over.
LAST_SECONDS = 300.0
# Contexts are left in order; whatever takes longer is ended.
END_SECONDS = 60.0
LOOK_SECONDS = 0.5


def beside(first: str, second: str, out: IO[bytes]) -> int:
    """The exit code: the second's, or where that is 0 the first's."""
    with TemporaryFile() as said, _running(first, said, NICE) as aside, _running(second, subprocess.PIPE, 0) as suite:
        last, is_told = b"", False
        for line in _lines(suite):
            if line:
                out.write(last)
                last = line
            if not is_told and aside.poll() is not None:
                is_told = _tell(first, aside, said, out)
            out.flush()
        code = suite.wait()
        if code != 0 and aside.poll() is None:
            _end(aside)
        with contextlib.suppress(subprocess.TimeoutExpired):
            aside.wait(LAST_SECONDS)
        _end(aside)
        if not is_told:
            _tell(first, aside, said, out)
        out.write(last)
        out.flush()
        return _told(code) or _told(aside.wait())


def _lines(speaker: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Each line once it is whole, and an empty one from time to time; until it ends, whoever else may still hold its output."""
    assert speaker.stdout is not None
    begun, output = b"", speaker.stdout.fileno()
    while True:
        has_ended = speaker.poll() is not None
        if select.select([output], [], [], 0 if has_ended else LOOK_SECONDS)[0]:
            if not (piece := os.read(output, 65536)):
                break
            *whole, begun = (begun + piece).split(b"\n")
            yield from (line + b"\n" for line in whole)
        elif has_ended:
            break
        else:
            yield b""
    yield begun


def _tell(command: str, ended: subprocess.Popen[bytes], said: IO[bytes], out: IO[bytes]) -> bool:
    said.seek(0)
    out.write(b"---- %s (ended with %d)\n" % (command.encode(), _told(ended.wait())))
    out.write(said.read())
    out.write(b"----\n")
    return True


def _told(code: int) -> int:
    """As a shell tells the end by a signal."""
    return code if code >= 0 else 128 - code


@contextmanager
def _running(command: str, output: IO[bytes] | int, nice: int) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own. Whatever it has started is gone at the end."""
    words = ["nice", "-n", str(nice), *shlex.split(command)]
    started = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield started
    finally:
        _end(started)


def _end(started: subprocess.Popen[bytes]) -> None:
    """Ask all of its group to end in order; then end what is left of it and of its children, also those in sessions of their own."""
    left: list[psutil.Process] = []
    if started.poll() is None:
        family = psutil.Process(started.pid).children(recursive=True)
        _signal_group(started, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(END_SECONDS)
        _, left = psutil.wait_procs(family, timeout=1)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _signal_group(started, signal.SIGKILL)
    started.wait()
    psutil.wait_procs(left, timeout=END_SECONDS)


def _signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Also where the leader has ended; a group keeps its number as long as somebody is in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def main() -> int:
    first, second = sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    return beside(first, second, sys.stdout.buffer)


if __name__ == "__main__":
    sys.exit(main())
