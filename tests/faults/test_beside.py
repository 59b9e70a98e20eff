"""Two commands at once: what is said, with which code it ends, and what is left."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence

import psutil
import pytest

SECONDS = 60
# Tells its own number and that of its child, which is in a session of its own.
PARENT = """
import os, subprocess, time
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
print(f"{os.getpid()} {child.pid}\\n", flush=True)
time.sleep(300)
"""
LONG = shlex.join([sys.executable, "-I", "-c", PARENT])


def command(first: str, second: str) -> Sequence[str]:
    return [sys.executable, "-m", "tests.faults.beside", first, second]


def run(first: str, second: str) -> tuple[int, list[str]]:
    ended = subprocess.run(command(first, second), capture_output=True, text=True, timeout=SECONDS)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("true", "true", 0), ("exit 3", "true", 3), ("true", "exit 4", 4), ("exit 3", "exit 4", 4), ("kill -9 $$", "true", 137)],
)
def test_commands_side_by_side_fail_where_either_does_and_the_second_has_the_last_line(first: str, second: str, code: int) -> None:
    told, lines = run(f"sh -c 'echo aside; {first}'", f"sh -c 'echo begun; echo 7 passed; {second}'")

    assert told == code
    assert (lines[-1], lines.count("7 passed")) == ("7 passed", 1)
    # One that fails does not wait for the other to begin.
    assert lines.count("aside") == 1 or code == 4


def test_first_command_that_outlives_the_second_is_waited_for() -> None:
    told, lines = run("sh -c 'sleep 1; echo aside; exit 5'", "echo 7 passed")

    assert told == 5
    assert lines[-1] == "7 passed"
    assert "aside" in lines


def test_second_command_that_leaves_somebody_with_its_output_is_over_when_it_ends() -> None:
    told, lines = run("true", "sh -c 'sleep 300 & echo $!; echo 7 passed'")

    assert (told, lines[-1]) == (0, "7 passed")
    assert still_running(numbers_in(*lines)[:1]) == []


def test_first_command_ends_with_all_its_children_when_the_second_fails() -> None:
    told, lines = run(LONG, "sh -c 'sleep 1; exit 2'")

    started = numbers_in(*lines)
    assert told == 2
    assert len(started) == 2
    assert still_running(started) == []


def test_commands_both_end_with_all_their_children_when_somebody_ends_their_runner() -> None:
    with subprocess.Popen(command("sleep 300", LONG), stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        started = numbers_in(runner.stdout.readline())
        family = psutil.Process(runner.pid).children(recursive=True)

        runner.send_signal(signal.SIGTERM)
        code = runner.wait(SECONDS)

    assert code == 128 + signal.SIGTERM
    assert set(started) < {process.pid for process in family}
    assert [process for process in family if process.is_running()] == []


def numbers_in(*lines: str) -> list[int]:
    return [int(word) for line in lines for word in line.split() if word.isdigit()]


def still_running(numbers: Iterable[int]) -> list[int]:
    """Whom nobody has asked how it ended has ended all the same."""
    return [number for number in numbers if psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE]
