"""Reads meta tags in the head of a page and nowhere else: what visitors can write stands in the body. Pure."""

from __future__ import annotations

import contextlib
from html.parser import HTMLParser

# What may stand in a head (HTML, 4.2); any other element is the beginning of the body, whether or not a page says so.
_OF_A_HEAD = frozenset({"base", "link", "meta", "noscript", "script", "style", "template", "title"})
# Inside these a tag is text, or is not there for everyone.
_HOLDS_TEXT = frozenset({"noscript", "script", "style", "template", "title"})


def meta_contents(page: str, name: str) -> list[str]:
    """The `content` of each meta tag of this name in the page's head."""
    reader = _Head(name)
    # Never closed: of what is cut off the parser would then try every reading, for a minute with 64 KiB that are meant so.
    with contextlib.suppress(AssertionError):  # how it says that a declaration makes no sense to it; the head ends there
        reader.feed(page)
    return reader.contents


class _Head(HTMLParser):
    def __init__(self, name: str) -> None:
        super().__init__(convert_charrefs=True)
        self.contents: list[str] = []
        self._name = name
        self._is_over = False
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._is_over or self._inside is not None:
            return
        if tag in _HOLDS_TEXT:
            self._inside = tag
        elif tag == "meta":
            # The first of two attributes of one name counts, as for browsers.
            said = dict(reversed(attrs))
            if (said.get("name") or "").strip().lower() == self._name:
                self.contents.append((said.get("content") or "").strip())
        elif tag not in _OF_A_HEAD and tag not in ("html", "head"):
            self._is_over = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # A slash closes nothing in HTML: <title/> is open.
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._inside is not None:
            self._inside = None if tag == self._inside else self._inside
        elif tag in ("head", "body", "html"):
            self._is_over = True

    def handle_data(self, data: str) -> None:
        if self._inside is None and data.strip():
            self._is_over = True
