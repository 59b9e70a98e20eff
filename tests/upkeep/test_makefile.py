"""The Makefile is the list of a person's commands: each one is documented, and `make help` shows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.upkeep.sources import ROOT, read

TARGET = re.compile(r"^(?P<name>[a-z][a-z-]*):(?!=)(?P<rest>.*)$", re.MULTILINE)


def undocumented(makefile: str) -> list[str]:
    return [found["name"] for found in TARGET.finditer(makefile) if " ## " not in found["rest"]]


def dry_make(*words: str) -> str:
    """What `make` says, also when it is `make` that runs this test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout


def test_targets_of_the_makefile_all_say_what_they_do() -> None:
    assert undocumented(read("Makefile")) == []


def test_target_without_words_is_found() -> None:
    assert undocumented("demo: setup ## Watch\nlint: setup\n") == ["lint"]


def test_targets_of_the_makefile_are_all_phony() -> None:
    makefile = read("Makefile")

    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]

    assert set(phony) == {found["name"] for found in TARGET.finditer(makefile)}


def test_runs_in_parallel_share_tests_out_by_number() -> None:
    """Sharing out by name (loadgroup, loadscope, loadfile) runs only one of the tests that have one name, as generated tests have."""
    runs = [line for line in read("Makefile").splitlines() if "-m pytest" in line and " -n " in line]

    assert runs != []
    assert [line for line in runs if "--dist worksteal" not in line] == []


@pytest.mark.skipif("CI" not in os.environ and shutil.which("make") is None, reason="make is not installed here")
def test_make_help_run_by_a_newcomer_lists_every_target() -> None:
    shown = dry_make("help")

    assert [line.split()[0] for line in shown.splitlines()] == [found["name"] for found in TARGET.finditer(read("Makefile"))]


@pytest.mark.skipif("CI" not in os.environ and shutil.which("make") is None, reason="make is not installed here")
def test_make_demo_is_the_demo_that_is_tested() -> None:
    assert dry_make("-n", "demo").splitlines()[-1] == ".venv/bin/apviso demo"
