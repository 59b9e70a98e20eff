"""The pages of the bookshop, once careless and once hardened. Each page is a function of one visit."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from html import escape

from apviso.demo import catalog
from apviso.demo.shop import Answer, Visit


def answer(visit: Visit, path: str) -> Answer:
    """The answer of the shop to one GET of a page."""
    page = _PAGES.get(path)
    if page is None:
        return visit.shop.dressed(Answer(404, _html("Not found", "<p>There is no such page.</p>")))
    if path in visit.shop.closed:
        return visit.shop.dressed(Answer(503, _html("Closed", "<p>This page is closed for now.</p>")))
    visit.shop.visits[path] += 1
    is_fixed = path in visit.shop.fixed
    return visit.shop.dressed(page(replace(visit, shop=replace(visit.shop, hardened=True)) if is_fixed else visit))


def _html(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang='en'><head><title>{title}</title></head><body><h1>{title}</h1>{body}"
        "<p><a href='/'>Home</a> <a href='/logout'>Log out</a></p></body></html>"
    )


def _home(visit: Visit) -> Answer:
    cookie = f"basket={secrets.token_hex(8)}; Path=/"
    links = [
        ("/books", "All books"), ("/search?q=orchards", "Search"), ("/author?name=Adair", "Books by Adair"),
        ("/download?file=terms.txt", "Terms"), ("/go?to=/books", "Today's offer"), ("/greeting?lang=en", "Greeting"),
        ("/contact", "Contact"), ("/reset", "Empty the shop"),
    ]  # fmt: skip
    body = "<ul>" + "".join(f"<li><a href='{where}'>{name}</a></li>" for where, name in links) + "</ul>"
    form = "<form action='/search' method='get'><input name='q' value='tides'><input type='submit' value='Search'></form>"
    if visit.shop.hardened:
        cookie += "; HttpOnly; Secure; SameSite=Strict"
    return Answer(200, _html("The bookshop", body + form), [("Set-Cookie", cookie)])


def _table(rows: list[catalog.Row]) -> str:
    lines = [f"<li><a href='/book?id={number}'>{title}</a> by {author}, {price}</li>" for number, title, author, price in rows]
    return "<ul>" + "".join(lines) + "</ul>" if lines else "<p>No book was found.</p>"


def _books(visit: Visit) -> Answer:
    return Answer(200, _html("All books", _table(visit.shop.catalog.all_books())))


def _book(visit: Visit) -> Answer:
    """Flaw: the number goes into the query as it is, and the database's complaint goes out as it is."""
    number = visit.query.get("id", "")
    if visit.shop.hardened:
        return Answer(200, _html("Book", _table(visit.shop.catalog.book(number))))
    try:
        return Answer(200, _html("Book", _table(visit.shop.catalog.book_unsafe(number))))
    except sqlite3.Error as error:
        return Answer(500, _html("Error", f"<pre>sqlite3.OperationalError: {escape(str(error))}</pre>"))


def _author(visit: Visit) -> Answer:
    """Flaw: the name goes into the query as it is; what the database says of it is kept quiet."""
    name = visit.query.get("name", "")
    shelf = visit.shop.catalog
    try:
        rows = shelf.by_author(name) if visit.shop.hardened else shelf.by_author_unsafe(name)
    except sqlite3.Error:
        rows = []
    return Answer(200, _html("Books by author", _table(rows)))


def _search(visit: Visit) -> Answer:
    """Flaw: the words are shown as they came."""
    words = visit.query.get("q", "")
    shown = escape(words) if visit.shop.hardened else words
    return Answer(200, _html("Search", f"<p>You looked for {shown}</p>" + _table(visit.shop.catalog.titled(words))))


def _download(visit: Visit) -> Answer:
    """Flaw: the name of the file may be a path."""
    name = visit.query.get("file", "")
    text = catalog.file(name) if visit.shop.hardened else catalog.file_unsafe(name)
    if text is None:
        return Answer(404, _html("Not found", "<p>There is no such file.</p>"))
    return Answer(200, text, content_type="text/plain; charset=utf-8")


def _go(visit: Visit) -> Answer:
    """Flaw: the visitor is sent wherever the link says."""
    where = visit.query.get("to", "/")
    if visit.shop.hardened and where not in _PAGES:
        where = "/"
    return Answer(302, "", [("Location", where.replace("\r", "").replace("\n", ""))])


def _greeting(visit: Visit) -> Answer:
    """Flaw: the language goes into a header with its line breaks."""
    language = visit.query.get("lang", "en")
    if visit.shop.hardened and language not in ("en", "fr"):
        language = "en"
    return Answer(200, _html("Greeting", "<p>Welcome.</p>"), [("Content-Language", language)])


def _contact(visit: Visit) -> Answer:
    token = f"<input type='hidden' name='csrf_token' value='{secrets.token_hex(16)}'>" if visit.shop.hardened else ""
    form = f"<form action='/contact' method='post'>{token}<input name='message' value='hello'><input type='submit'></form>"
    return Answer(200, _html("Contact", form))


def _gone(_visit: Visit) -> Answer:
    return Answer(200, _html("Done", "<p>It is done.</p>"))


def _visits(visit: Visit) -> Answer:
    return Answer(200, json.dumps(dict(visit.shop.visits)), content_type="application/json")


_PAGES: dict[str, Callable[[Visit], Answer]] = {
    "/": _home, "/books": _books, "/book": _book, "/author": _author, "/search": _search, "/download": _download,
    "/go": _go, "/greeting": _greeting, "/contact": _contact, "/logout": _gone, "/reset": _gone, "/visits": _visits,
}  # fmt: skip
