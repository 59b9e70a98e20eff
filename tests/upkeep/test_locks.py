"""What gets installed is what was locked: each requirement with its hashes, each lock in step with what asks for it."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.upkeep.sources import read

LOCKS = (
    "requirements/runtime.txt", "requirements/dev.txt", "requirements/scan.txt", "src/apviso/scanning/scanners.txt",
    "src/apviso/scanning/tools.txt",
)  # fmt: skip
PINNED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)(?:\[[a-z0-9,-]+\])?==(?P<version>[^\s;\\]+)")


def entries(lock: str) -> dict[str, list[str]]:
    """Lines of each requirement of a lock file: the pin first, then its hashes. A name may have one entry for each platform."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            current = found.setdefault(line, [])
        elif line.strip():
            current.append(line.strip())
    return found


def names(lock: str) -> set[str]:
    return {found["name"] for line in entries(lock) if (found := PINNED.match(line))}


def problems_of(lock: str) -> list[str]:
    """Requirements that are not pinned, or could be swapped for another file."""
    loose = [f"not pinned: {line}" for line in entries(lock) if not PINNED.match(line)]
    return loose + [f"no hash: {line}" for line, hashes in entries(lock).items() if not any("--hash=sha256:" in one for one in hashes)]


def canonical(requirement: str) -> str:
    written = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert written, requirement
    return re.sub(r"[._-]+", "-", written[0]).lower()


def asked_for(place: str) -> set[str]:
    """Names in a `requirements/*.in` file."""
    lines = (line.partition("#")[0].strip() for line in read(place).splitlines())
    return {canonical(line) for line in lines if line}


def runtime() -> set[str]:
    return {canonical(line) for line in tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]}


def extras() -> set[str]:
    return {
        canonical(line) for lines in tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"].values() for line in lines
    }


@pytest.mark.parametrize("place", LOCKS)
def test_lock_file_as_kept_pins_and_hashes_everything(place: str) -> None:
    assert problems_of(read(place)) == []


def test_locks_hold_all_that_is_asked_for() -> None:
    locked = {place: names(read(place)) for place in LOCKS}

    assert runtime() - locked["requirements/runtime.txt"] == set()
    assert runtime() | extras() | asked_for("requirements/dev.in") <= locked["requirements/dev.txt"]
    assert asked_for("requirements/scan.in") - locked["requirements/scan.txt"] == set()
    assert asked_for("requirements/scanners.in") - locked["src/apviso/scanning/scanners.txt"] == set()
    assert asked_for("requirements/tools.in") - locked["src/apviso/scanning/tools.txt"] == set()


def test_runtime_lock_holds_nothing_of_the_tools() -> None:
    tools = (asked_for("requirements/dev.in") | extras()) - runtime()

    assert names(read("requirements/runtime.txt")) & tools == set()


def test_locks_agree_on_every_version() -> None:
    pins = set(entries(read("requirements/runtime.txt")))

    assert pins - set(entries(read("requirements/dev.txt"))) == set()
    assert set(entries(read("requirements/scan.txt"))) - pins == set()


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        ("httpx2>=2\n    --hash=sha256:aa\n", "not pinned"),
        ("httpx2==2.16.0\n", "no hash"),
        ("httpx2 @ https://example.com/httpx2.whl\n    --hash=sha256:aa\n", "not pinned"),
    ],
)
def test_loose_lock_entry_is_found(lock: str, problem: str) -> None:
    assert [found.partition(":")[0] for found in problems_of(lock)] == [problem]
