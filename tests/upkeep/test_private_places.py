"""Nothing that is kept names the machine it was made on, a package host or a tracker: it has to mean the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.upkeep.sources import ROOT, tracked

PRIVATE = {
    "a folder of one machine": re.compile(r"(?<![\w.}~-])/(?:work|root|tmp|home/[a-z]+|Users/[A-Za-z]+)/"),
    "a package host": re.compile(r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|ghcr\.io|docker\.io(?=/)|quay\.io)\b"),
    "an entry of a tracker": re.compile(r"(?<![\w/&])(?:issue|ticket|pull request) #?\d+", re.IGNORECASE),
}


def found_in(text: str) -> Iterator[str]:
    for name, pattern in PRIVATE.items():
        yield from (f"{name}: {found[0]}" for found in pattern.finditer(text))


def test_tracked_files_everywhere_name_no_private_place() -> None:
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in tracked() if path.suffix != ".lock"}

    found = {str(path.relative_to(ROOT)): sorted(set(found_in(text))) for path, text in texts.items()}

    assert {place: what for place, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "text",
    ["see /" + "work/shared", "cd /" + "tmp/x", "https://pypi" + ".org/simple", "as in issue" + " 12", "'/" + "root/.cache'"],
)
def test_private_place_in_a_text_is_found(text: str) -> None:
    assert list(found_in(text)) != []


@pytest.mark.parametrize("text", ["/api/v1/runners", "docs/root/", "{}/tmp/x", "reissue 3 tokens", "an issue"])
def test_harmless_text_of_the_product_is_left_alone(text: str) -> None:
    assert list(found_in(text)) == []
