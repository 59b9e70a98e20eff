"""Secrets that can be recognized in any writing, and the search for them: in files, in answers, in the processes of this host."""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

SAMPLE_SECONDS = 0.1


def new_core() -> str:
    """Random digits that no encoding of URLs, JSON or HTML changes."""
    return secrets.token_hex(12)


@cache
def writings_of(core: str) -> frozenset[bytes]:
    """Plain, in hexadecimal, and inside base64 at each of its three alignments, in both alphabets."""
    raw = core.encode()
    found = {raw, raw.hex().encode(), raw[::-1]}
    for shift in range(3):
        # The characters at both ends also carry bits of the neighbors.
        inner = base64.b64encode(b"\0" * shift + raw + b"\0" * (3 - (shift + len(raw)) % 3))[4:-4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return frozenset(found)


@dataclass
class Search:
    """`found` are pairs of a canary's name and the place where it was; `looked_at` are all places that held anything."""

    cores: dict[str, str]
    found: set[tuple[str, str]] = field(default_factory=set)
    looked_at: set[str] = field(default_factory=set)
    _known: set[tuple[str, int]] = field(default_factory=set)

    def look(self, place: str, data: bytes) -> None:
        """Most of what is looked at again and again is as it was: that need not be searched again."""
        known = (place, hash(data))
        if known in self._known:
            return
        self._known.add(known)
        if data:
            self.looked_at.add(place)
        for name, core in self.cores.items():
            if any(writing in data for writing in writings_of(core)):
                self.found.add((name, place))

    def look_at_files(self, folder: Path, leave_out: Iterable[Path] = (), pattern: str = "*") -> None:
        """Every file below; files and folders that are gone meanwhile have been looked at as well as they can be."""
        left_out = set(leave_out)
        for parent, _, names in os.walk(folder):
            for path in (Path(parent) / name for name in fnmatch.filter(names, pattern)):
                with contextlib.suppress(OSError):
                    if path.is_file() and path not in left_out:
                        self.look(str(path.relative_to(folder)), path.read_bytes())

    def look_at_processes(self, own_environment: Callable[[int], bool]) -> None:
        """The arguments of every process of this host, and the environments of those that did not get the secrets from the test itself."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                self.look("arguments of a process", (process / "cmdline").read_bytes())
                if not own_environment(int(process.name)):
                    self.look("environment of a process", (process / "environ").read_bytes())

    def places(self, name: str) -> set[str]:
        return {place for found, place in self.found if found == name}


def is_process_or_its_copy(pid: int, of: int) -> bool:
    """Between fork and exec a child is still a copy of its parent, with its parent's arguments and environment."""
    return pid == of or Path(f"/proc/{pid}/cmdline").read_bytes() == Path(f"/proc/{of}/cmdline").read_bytes()


@contextmanager
def sampling(look: Callable[[], None]) -> Iterator[list[int]]:
    """Look again and again in the background; the list grows by one with each look."""
    ended, looks = threading.Event(), list[int]()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            look()
            looks.append(len(looks))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        ended.set()
        thread.join(30)
