"""Links between the repository's pages lead somewhere, down to the heading they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upkeep.sources import ROOT, tracked

LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\((?P<to>[^)\s]+)\)|!\[[^\]\n]*\]\((?P<image>[^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (?P<title>.+)$", re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:")


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as links write them."""
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", found["title"]) for found in HEADING.finditer(FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in plain}


def dead_links(page: Path, text: str) -> Iterator[str]:
    """Links of `text`, as it stands at `page`, that lead nowhere."""
    for found in LINK.finditer(FENCE.sub("", text)):
        to = found["to"] or found["image"]
        if to.startswith(ELSEWHERE):
            continue
        place, _, anchor = to.partition("#")
        goal = (page.parent / place).resolve() if place else page
        if (
            not goal.exists()
            or not goal.is_relative_to(ROOT)
            or (anchor and anchor not in anchors(text if goal == page else goal.read_text(encoding="utf-8")))
        ):
            yield to


def test_links_of_all_pages_lead_somewhere() -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in tracked(".md")}

    dead = {str(page.relative_to(ROOT)): list(dead_links(page, text)) for page, text in pages.items()}

    assert {place: links for place, links in dead.items() if links} == {}


def test_pages_of_the_documentation_are_all_reached_from_the_readme() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        for found in LINK.finditer(page.read_text(encoding="utf-8")):
            goal = (page.parent / (found["to"] or found["image"]).partition("#")[0]).resolve()
            if goal.suffix == ".md" and goal.is_file() and goal not in reached:
                left.append(goal)

    unreached = {str(page.relative_to(ROOT)) for page in tracked(".md")} - {str(page.relative_to(ROOT)) for page in reached}

    assert unreached == set()


@pytest.mark.parametrize(
    "link", ["[there](docs/no-such-page.md)", "[there](#no-such-heading)", "![it](docs/no.svg)", "[up](../outside.md)"]
)
def test_link_that_leads_nowhere_is_found(link: str) -> None:
    assert len(list(dead_links(ROOT / "README.md", f"# Here\n\n{link}\n"))) == 1


def test_link_to_a_heading_with_code_in_it_is_followed() -> None:
    text = "# Use `apviso run`, always\n\n[see](#use-apviso-run-always)\n"

    assert list(dead_links(ROOT / "README.md", text)) == []
