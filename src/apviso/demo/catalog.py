"""The bookshop's data: a read-only database in memory and a handful of files that exist nowhere but in this table."""

from __future__ import annotations

import posixpath
import sqlite3
import threading

Row = tuple[object, ...]

_BOOKS = [
    (1, "The Lighthouse Ledger", "Adair", 12.5),
    (2, "Winter Orchards", "Bellamy", 9.0),
    (3, "A Grammar of Tides", "Adair", 15.75),
    (4, "Night Trains", "Castell", 11.2),
]
_STOCK = [("The Lighthouse Ledger", 3), ("Winter Orchards", 0), ("A Grammar of Tides", 7), ("Night Trains", 1)]
_ORDERS = [
    (1, "Night Trains", 2, "Harbor Road 12"),
    (2, "Winter Orchards", 1, "Mill Lane 4"),
    (3, "A Grammar of Tides", 5, "Pier 1"),
]
# The traversal flaw can only ever reach this table: no path of the host is opened.
_FILES = {
    "/shop/files/terms.txt": "Books may be returned within thirty days.\n",
    "/shop/files/delivery.txt": "Parcels leave the shop every morning.\n",
    "/etc/passwd": "root:x:0:0:root:/:/bin/bash\nbin:x:1:1:bin:/bin:/sbin/nologin\nshop:x:1000:1000::/shop:/bin/sh\n",
}
# An injected query must not keep the processor busy: about 0.1 s of work.
_MAX_STEPS = 1_000


class Catalog:
    """All queries of the shop. The `_unsafe` ones are flaws on purpose."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute("CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, author TEXT, price REAL)")
        self._database.executemany("INSERT INTO books VALUES (?, ?, ?, ?)", _BOOKS)
        self._database.execute("CREATE TABLE stock (title TEXT PRIMARY KEY, copies INTEGER)")
        self._database.executemany("INSERT INTO stock VALUES (?, ?)", _STOCK)
        self._database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, title TEXT, copies INTEGER, address TEXT)")
        self._database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", _ORDERS)
        self._database.execute("PRAGMA query_only = ON")

    def all_books(self) -> list[Row]:
        return self._rows("SELECT id, title, author, price FROM books")

    def book(self, book_id: str) -> list[Row]:
        return self._rows("SELECT id, title, author, price FROM books WHERE id = ?", (book_id,))

    def book_unsafe(self, book_id: str) -> list[Row]:
        return self._rows(f"SELECT id, title, author, price FROM books WHERE id = {book_id}")  # noqa: S608

    def by_author(self, name: str) -> list[Row]:
        return self._rows("SELECT id, title, author, price FROM books WHERE author = ?", (name,))

    def by_author_unsafe(self, name: str) -> list[Row]:
        return self._rows(f"SELECT id, title, author, price FROM books WHERE author = '{name}'")  # noqa: S608

    def titled(self, words: str) -> list[Row]:
        return self._rows("SELECT id, title, author, price FROM books WHERE instr(lower(title), lower(?))", (words,))

    def authors(self) -> list[Row]:
        return self._rows("SELECT author, count(*) FROM books GROUP BY author ORDER BY author")

    def stock(self, title: str) -> list[Row]:
        return self._rows("SELECT title, copies FROM stock WHERE title = ?", (title,))

    def stock_unsafe(self, title: str) -> list[Row]:
        return self._rows(f"SELECT title, copies FROM stock WHERE title = '{title}'")  # noqa: S608

    def order(self, order_id: int) -> list[Row]:
        return self._rows("SELECT id, title, copies, address FROM orders WHERE id = ?", (order_id,))

    def _rows(self, statement: str, values: tuple[str | int, ...] = ()) -> list[Row]:
        """Raises sqlite3.Error."""
        with self._lock:
            steps = iter(range(_MAX_STEPS))
            self._database.set_progress_handler(lambda: next(steps, None) is None, 1_000)
            try:
                return self._database.execute(statement, values).fetchall()
            except (sqlite3.Warning, ValueError) as error:
                # Two statements at once, or a null character: later versions of Python tell them as database errors, too.
                raise sqlite3.ProgrammingError(str(error)) from error


def file(name: str) -> str | None:
    """A file of the shop by its plain name."""
    return _FILES.get(f"/shop/files/{name}")


def file_unsafe(name: str) -> str | None:
    """A file by any path that leads to it, as a careless `open` would find it."""
    return _FILES.get(posixpath.normpath(posixpath.join("/shop/files", name)))
