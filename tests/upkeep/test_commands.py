"""Commands that the documents name exist, with the flags that are named with them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.upkeep.sources import ROOT, modules, read, tracked

SECTION = re.compile(r"^## apviso (?P<path>[\w -]+)\n\n```text\n(?P<help>.*?)^```$", re.MULTILINE | re.DOTALL)
# In a code span, or as a line of a block of commands.
SPAN = re.compile(r"`(?:\.venv/bin/)?apviso(?P<words>(?: [^`\n]+)?)`")
LINE = re.compile(r"^(?:\s*\| )?(?:\.venv/bin/)?apviso(?P<words> [^\n]*)$", re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def known_commands() -> dict[str, str]:
    """What `--help` says, by command. The page is compared with the code elsewhere."""
    return {found["path"]: found["help"] for found in SECTION.finditer(read("docs/reference/cli.md"))}


def named_commands(text: str) -> Iterator[str]:
    """The words after each `apviso` that the text shows as code."""
    for block in BLOCK.findall(text):
        yield from (found["words"] for found in LINE.finditer(block.replace("\\\n", " ")))
    yield from (found["words"] for found in SPAN.finditer(BLOCK.sub("", text)))


def unknown(words: str, commands: dict[str, str]) -> list[str]:
    """What of a named command does not exist."""
    plain = re.split(r"[<>|;&]", words)[0].split()
    names = [word for word in plain if not word.startswith(("-", "{"))]
    path = next((" ".join(names[:length]) for length in (3, 2, 1) if " ".join(names[:length]) in commands), None)
    if path is None:
        is_group = any(known.startswith(" ".join(names) + " ") for known in commands)
        return [] if not names or is_group else [words.strip()]
    flags = [flag.partition("=")[0] for flag in plain if flag.startswith("--")]
    return [f"{path} {flag}" for flag in flags if not re.search(rf"{re.escape(flag)}\b", commands[path])]


def test_commands_in_the_documents_exist_with_their_flags() -> None:
    commands = known_commands()
    pages = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in tracked(".md")}

    found = {place: [one for words in named_commands(text) for one in unknown(words, commands)] for place, text in pages.items()}

    assert {place: what for place, what in found.items() if what} == {}


def test_commands_that_the_product_advises_exist_with_their_flags() -> None:
    commands = known_commands()

    found = {module.place: [one for said in SPAN.finditer(module.text) for one in unknown(said["words"], commands)] for module in modules()}

    assert {place: what for place, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Use `apviso runners lists`.", "runners lists"),
        ("```sh\napviso register --tokn x\n```\n", "register --tokn"),
        ("```sh\n.venv/bin/apviso admin license show --jsn\n```\n", "admin license show --jsn"),
    ],
)
def test_command_that_does_not_exist_is_found(text: str, problem: str) -> None:
    commands = known_commands()

    assert [one for words in named_commands(text) for one in unknown(words, commands)] == [problem]
