"""Every command that the pages for newcomers show is carried out, by these tests or by the one that is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.upkeep.sources import ROOT, read, tracked
from tests.upkeep.walks import Walk, blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        "CI" not in os.environ and not (shutil.which("curl") and shutil.which("bash")), reason="the pages use bash and curl"
    ),
]
WALKED = {"README.md", "docs/tutorial/first-scan.md", "docs/how-to/run-the-server.md"}
# Pages whose commands need a person, a second machine or a container engine; that the commands exist is tested in test_commands.py,
# tests/containers builds the scan image, signs the example and runs it, tests/end_to_end/test_build_step.py is a build,
# and tests/server/mcp is an assistant.
NOT_WALKED = {
    "docs/how-to/enroll-a-runner.md",
    "docs/how-to/bring-your-own-image.md",
    "docs/how-to/scan-in-ci.md",
    "docs/how-to/use-from-an-assistant.md",
    "deploy/scan/README.md",
}
# Where a command is carried out that cannot be part of a walk, and what there does it.
ELSEWHERE = {
    "make demo": ("tests/end_to_end/test_demo.py", '"-m", "apviso", "demo"'),
    "make test": (".ci/run", "make test"),
    "make setup": (".ci/run", "make setup"),
}
# What a command must have said: part of the command, part of its output.
README = {"/api/v1/runners\n": '"status":"online"', "apviso doctor": "ok"}
TUTORIAL = {
    "readiness?targetId": '"primaryBlocker":"runner_registered"',
    "text/event-stream": '"type":"finding"',
    "/findings": "SQL injection",
    '/scans/$SCAN"': '"coverage":{"complete":true',
    "/report": "# Security test of 127",
}
HOW_TO = {"/healthz": '"ok"', "admin license show": "community", "--no-require-verification": "not required"}


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    with ExitStack() as stack:
        yield Walk(tmp_path, stack)


def expected(block: str, table: dict[str, str]) -> list[str]:
    return [words for part, words in table.items() if part in block]


def check_page(walk: Walk, page: str, table: dict[str, str]) -> None:
    """Follow the page from its first command to its last, then end what it started."""
    followed = [block for block in blocks(page) if not set(block.splitlines()) <= set(ELSEWHERE)]
    for block in followed:
        said = walk.follow(block)
        for words in expected(block, table):
            assert words in said, f"{block}\n{said}"
    assert walk.end() == [0] * len(walk.running)
    assert all(any(part in block for block in followed) for part in table), "an expectation fits no command any more"


def test_readme_followed_from_top_to_bottom_works(walk: Walk) -> None:
    check_page(walk, "README.md", README)


def test_tutorial_followed_from_top_to_bottom_ends_with_a_report(walk: Walk) -> None:
    check_page(walk, "docs/tutorial/first-scan.md", TUTORIAL)


def test_how_to_run_the_server_followed_from_top_to_bottom_works(walk: Walk) -> None:
    check_page(walk, "docs/how-to/run-the-server.md", HOW_TO)


@pytest.mark.parametrize("command", ELSEWHERE)
def test_command_carried_out_elsewhere_really_is(command: str) -> None:
    place, words = ELSEWHERE[command]

    assert words in read(place)
    assert any(command in block for block in blocks("README.md"))


def test_command_that_fails_is_noticed(walk: Walk) -> None:
    with pytest.raises(AssertionError, match="no-such-command"):
        walk.follow(".venv/bin/apviso no-such-command\n")


def test_pages_that_show_commands_are_all_followed() -> None:
    showing = {str(page.relative_to(ROOT)) for page in tracked(".md") if blocks(str(page.relative_to(ROOT)))}

    assert showing == WALKED | NOT_WALKED
