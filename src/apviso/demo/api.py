"""The API of the bookshop, once careless and once hardened. No page links to it: it is found by its document."""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from apviso.demo import catalog
from apviso.demo.document import DOCUMENT, MOST_BOOKS, MOST_COPIES, MOST_ID
from apviso.demo.shop import Answer, Visit

DOCUMENT_PATH = "/openapi.json"
# Opens the orders of the hardened shop, so that a scan with credentials can be tried.
ORDERS_TOKEN = "token-of-the-bookshop"  # noqa: S105 - it guards nothing
_POSTAGE, _POSTAGE_PER_COPY = 2.5, 0.75


class _Refused(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def serves(path: str) -> bool:
    return path == DOCUMENT_PATH or path.startswith("/api/")


def answer(visit: Visit, path: str) -> Answer:
    """The answer to one GET, in JSON whatever happens."""
    return visit.shop.dressed(_answer(visit, path))


def _answer(visit: Visit, path: str) -> Answer:
    if path == DOCUMENT_PATH:
        return _json(200, DOCUMENT)
    parent, _, last = path.rpartition("/")
    try:
        if path in _WHOLE:
            visit.shop.visits[path] += 1
            return _json(200, _WHOLE[path](visit))
        if parent in _SINGLE and last:
            template, operation = _SINGLE[parent]
            visit.shop.visits[template] += 1
            return _json(200, operation(visit, unquote(last)))
    except _Refused as refusal:
        return _json(refusal.status, {"error": str(refusal)})
    except (sqlite3.Error, ZeroDivisionError) as error:
        return _json(500, {"error": f"{type(error).__name__}: {error}"})
    return _json(404, {"error": "There is no such operation."})


def _json(status: int, told: object) -> Answer:
    headers = [("WWW-Authenticate", "Bearer")] if status == 401 else []
    return Answer(status, json.dumps(told, default=str), headers, "application/json")


def _number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise _Refused(400, f"{name} must be a number from {least} to {most}.")
    return int(text)


def _needed(visit: Visit, name: str) -> str:
    if not visit.query.get(name):
        raise _Refused(400, f"{name} is needed.")
    return visit.query[name]


def _first(rows: list[catalog.Row]) -> catalog.Row:
    if not rows:
        raise _Refused(404, "There is none with this number.")
    return rows[0]


def _as_book(row: catalog.Row) -> dict[str, Any]:
    return dict(zip(("id", "title", "author", "price"), row, strict=True))


def _books(visit: Visit) -> object:
    limit = _number(visit.query.get("limit", "20"), "limit", 1, MOST_BOOKS)
    shelf = visit.shop.catalog
    rows = shelf.by_author(_needed(visit, "author")) if "author" in visit.query else shelf.all_books()
    return [_as_book(row) for row in rows[:limit]]


def _book(visit: Visit, book_id: str) -> object:
    """Flaw: the number goes into the query as it is."""
    shelf = visit.shop.catalog
    if not visit.shop.hardened:
        return _as_book(_first(shelf.book_unsafe(book_id)))
    return _as_book(_first(shelf.book(str(_number(book_id, "bookId", 1, MOST_ID)))))


def _stock(visit: Visit) -> object:
    """Flaw: the title goes into the query as it is."""
    title = _needed(visit, "title")
    rows = visit.shop.catalog.stock(title) if visit.shop.hardened else visit.shop.catalog.stock_unsafe(title)
    return [{"title": name, "copies": copies} for name, copies in rows]


def _order(visit: Visit, order_id: str) -> object:
    """Flaw: nobody is asked for the token that the document speaks of."""
    if visit.shop.hardened and not _is_known(visit.authorization):
        raise _Refused(401, "Orders need a token.")
    row = _first(visit.shop.catalog.order(_number(order_id, "orderId", 1, MOST_ID)))
    return dict(zip(("id", "title", "copies", "address"), row, strict=True))


def _is_known(authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(errors="replace"), ORDERS_TOKEN.encode())


def _postage(visit: Visit) -> object:
    """Flaw: nobody thought of no copies at all."""
    copies = _number(_needed(visit, "copies"), "copies", 0, MOST_COPIES)
    if visit.shop.hardened and copies == 0:
        return {"total": 0, "perCopy": 0}
    total = _POSTAGE + _POSTAGE_PER_COPY * copies
    return {"total": total, "perCopy": round(total / copies, 2)}


def _authors(visit: Visit) -> object:
    """Flaw: the number of titles is a text, whatever the document says."""
    kind = int if visit.shop.hardened else str
    return [{"name": name, "titles": kind(str(titles))} for name, titles in visit.shop.catalog.authors()]


_WHOLE: dict[str, Callable[[Visit], object]] = {
    "/api/books": _books, "/api/stock": _stock, "/api/postage": _postage, "/api/authors": _authors,
}  # fmt: skip
# By the path above the parameter: the path in the document, and the operation.
_SINGLE: dict[str, tuple[str, Callable[[Visit, str], object]]] = {
    "/api/books": ("/api/books/{bookId}", _book),
    "/api/orders": ("/api/orders/{orderId}", _order),
}
