"""Pages of a list: `page` and `limit` in, `total`, `page`, `limit`, `totalPages` out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query

MAX_LIMIT = 100
# Beyond it nobody reads, and an offset would overflow the database's integers.
MAX_PAGE = 1_000_000


@dataclass(frozen=True)
class Page:
    page: int
    limit: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit

    def counted(self, total: int) -> dict[str, Any]:
        """The four numbers that every list answers."""
        return {"total": total, "page": self.page, "limit": self.limit, "total_pages": math.ceil(total / self.limit)}


def _page(page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50) -> Page:
    return Page(page, limit)


Paged = Annotated[Page, Depends(_page)]
