"""Lists by pages: where the next page is, and what is on one. Lists that can grow go by cursor, so that nothing new shifts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pydantic import BaseModel

from apviso.client.calls import Call, get

PAGE_SIZE = 100
Answer = TypeVar("Answer", bound=BaseModel)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Listing(Generic[Answer, Item]):
    """`items` picks what an answer lists."""

    first: Call[Answer]
    items: Callable[[Answer], Sequence[Item]]

    def after(self, answer: Answer) -> Call[Answer] | None:
        """The call for the page after this one; None after the last."""
        cursor = getattr(answer, "next_cursor", None)
        if cursor is not None:
            return self._with(cursor=cursor)
        if "next_cursor" in type(answer).model_fields:
            return None
        page, pages = getattr(answer, "page", None), getattr(answer, "total_pages", None)
        return self._with(page=str(page + 1)) if page is not None and pages is not None and page < pages else None

    def _with(self, **more: str) -> Call[Answer]:
        kept = tuple((name, value) for name, value in self.first.query if name not in more)
        return replace(self.first, query=(*kept, *more.items()))


def listing(path: str, model: type[Answer], items: Callable[[Answer], Sequence[Item]], **query: object) -> Listing[Answer, Item]:
    return Listing(get(path, model, limit=PAGE_SIZE, **query), items)
