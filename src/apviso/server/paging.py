"""Pages of a list: `page` and `limit` in, `total`, `page`, `limit`, `totalPages` out; where it can grow, also `cursor` and `nextCursor`."""

from __future__ import annotations

import binascii
import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from pydantic import TypeAdapter, ValidationError

from apviso.server.errors import field_refused

MAX_LIMIT = 100
# Beyond it nobody reads, and an offset would overflow the database's integers.
MAX_PAGE = 1_000_000
MAX_CURSOR = 400
Item = TypeVar("Item")
Place = TypeVar("Place")


@dataclass(frozen=True)
class Page:
    """`cursor` is of lists that can grow; of those one item more is read, which tells whether there is a next page."""

    page: int
    limit: int
    cursor: str | None = None
    is_scrolled: bool = False

    @property
    def fetched(self) -> int:
        return self.limit + self.is_scrolled

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit

    def counted(self, total: int) -> dict[str, Any]:
        """The four numbers that every list answers."""
        return {"total": total, "page": self.page, "limit": self.limit, "total_pages": math.ceil(total / self.limit)}

    def cut(self, found: Sequence[Item], cursor_after: Callable[[Item], str]) -> tuple[list[Item], str | None]:
        """The page out of what was fetched, and the cursor of the next page where there is one."""
        shown = list(found[: self.limit])
        return shown, cursor_after(shown[-1]) if len(found) > self.limit else None


def _page(page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50) -> Page:
    return Page(page, limit)


Paged = Annotated[Page, Depends(_page)]


def cursor_at(*place: datetime | str | int) -> str:
    """Opaque to clients: only a list that gave it reads it again."""
    written = json.dumps([one.isoformat() if isinstance(one, datetime) else one for one in place], separators=(",", ":"))
    return urlsafe_b64encode(written.encode()).decode().rstrip("=")


def place_of(cursor: str, kind: TypeAdapter[Place]) -> Place:
    """Raises InvalidFields for what no list gave."""
    try:
        return kind.validate_json(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (ValidationError, binascii.Error, ValueError) as error:
        raise field_refused("cursor", "is none of this list: take nextCursor of an answer as it is") from error


def _scroll(
    page: Paged,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR, description="`nextCursor` of an answer; without `page`.")] = None,
) -> Page:
    if cursor is not None and page.page != 1:
        raise field_refused("cursor", "goes on from an answer, page counts from the beginning; give one of them")
    return Page(page.page, page.limit, cursor, is_scrolled=True)


# By its cursor a page begins after the item that the one before ended with, whatever is new since.
Scrolled = Annotated[Page, Depends(_scroll)]
