"""Shows log files to a person: the last lines, and the ones that come. Reads, never writes."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from apviso.runner.terminal import printable

TAIL_LINES = 200
LOOK_SECONDS = 0.3
_LEADING = ("timestamp", "at", "level", "event", "type", "seq")


def tail(path: Path, most: int = TAIL_LINES) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=most)]


def follow_lines(path: Path) -> Iterator[str]:
    """The last lines, then each new one, also after the file was rotated; ends only with its reader."""
    file = path.open(encoding="utf-8", errors="replace")
    yield from (line.rstrip("\n") for line in deque(file, maxlen=TAIL_LINES))
    part = ""
    while True:
        chunk = file.readline()
        if chunk:
            part += chunk
            if part.endswith("\n"):
                yield part.rstrip("\n")
                part = ""
            continue
        time.sleep(LOOK_SECONDS)
        if path.exists() and path.stat().st_ino != _inode(file.fileno()):
            file.close()
            file = path.open(encoding="utf-8", errors="replace")


def _inode(descriptor: int) -> int:
    import os

    return os.fstat(descriptor).st_ino


def readable(line: str) -> str:
    """A JSON line as time, level, event and the rest; any other line as it is. Safe for a terminal."""
    # A trace has several lines; without their indent a text could pass for a line of the log.
    return printable(_in_words(line), keep="\n\t").replace("\n", "\n    ")


def _in_words(line: str) -> str:
    try:
        facts = json.loads(line)
    except ValueError:
        return line
    if not isinstance(facts, dict):
        return line
    head = [
        str(facts.get("timestamp") or facts.get("at") or ""),
        str(facts.get("level") or ""),
        str(facts.get("event") or facts.get("type") or ""),
    ]
    rest = [f"{name}={_shown(value)}" for name, value in facts.items() if name not in _LEADING]
    return "  ".join(part for part in (*head, *rest) if part)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
