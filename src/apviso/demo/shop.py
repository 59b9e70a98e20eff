"""What pages and API of the bookshop share: the shop, a visit and an answer. Holds no page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from apviso.demo import catalog

Header = tuple[str, str]

_SAFE_HEADERS: list[Header] = [
    (
        "Content-Security-Policy",
        "default-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    ),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-XSS-Protection", "1; mode=block"),
    ("Referrer-Policy", "no-referrer"),
    ("Strict-Transport-Security", "max-age=31536000"),
]


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    headers: list[Header] = field(default_factory=list)
    content_type: str = "text/html; charset=utf-8"


@dataclass
class Shop:
    """What all visits share. `visits` counts pages and operations, those of an operation under its path in the document.

    Pages whose path is in `fixed` are as in the hardened twin; those in `closed` cannot be asked."""

    hardened: bool
    fixed: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    catalog: catalog.Catalog = field(default_factory=catalog.Catalog)
    visits: Counter[str] = field(default_factory=Counter)

    def dressed(self, plain: Answer) -> Answer:
        """The answer with the headers that every answer of this shop has."""
        return Answer(plain.status, plain.body, plain.headers + (_SAFE_HEADERS if self.hardened else []), plain.content_type)


@dataclass(frozen=True)
class Visit:
    """One GET. `authorization` is the header as it came."""

    shop: Shop
    query: dict[str, str]
    authorization: str = ""
