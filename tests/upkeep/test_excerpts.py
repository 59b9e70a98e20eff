"""Code that the documents show is code that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.upkeep.sources import ROOT, read, tracked

EXCERPT = re.compile(r"^```python\n# (?P<place>src/\S+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`(?P<place>(?:src|tests|docs|requirements)/[\w./-]+|\.importlinter)`")


def drifted(text: str) -> Iterator[str]:
    """Excerpts of `text` that are not in the file they name."""
    for found in EXCERPT.finditer(text):
        path = ROOT / found["place"]
        if not path.exists() or found["code"] not in path.read_text(encoding="utf-8"):
            yield found["place"]


def test_excerpts_in_the_documents_are_in_the_code() -> None:
    pages = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in tracked(".md")}

    found = {place: list(drifted(text)) for place, text in pages.items()}

    assert {place: what for place, what in found.items() if what} == {}
    assert sum(len(EXCERPT.findall(text)) for text in pages.values()) >= 5


def test_paths_that_the_documents_name_exist() -> None:
    pages = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in tracked(".md")}

    missing = {place: [one for one in PATH.findall(text) if not (ROOT / one).exists()] for place, text in pages.items()}

    assert {place: what for place, what in missing.items() if what} == {}


def test_modules_in_the_walk_through_the_house_exist() -> None:
    named = re.findall(r"`((?:server/|runner/|scanning/)?[\w/]+\.py)`", read("docs/architecture.md"))
    homes = [ROOT / "src/apviso", *(ROOT / "src/apviso" / folder for folder in ("server", "runner", "server/runners"))]

    missing = {name for name in named if not any((home / name).exists() for home in homes) and name not in FIXED_NAMES}

    assert missing == set()


# Names that each slice has, said without a slice.
FIXED_NAMES = {"routes.py", "daemon_routes.py", "store.py", "facts.py"}


@pytest.mark.parametrize("code", ["class Gone(Wire):\n    pass\n", "def admin_state_at(x) -> None:\n"])
def test_excerpt_that_is_in_no_file_is_found(code: str) -> None:
    text = f"```python\n# src/apviso/protocol/runners.py\n{code}```\n"

    assert list(drifted(text)) == ["src/apviso/protocol/runners.py"]
