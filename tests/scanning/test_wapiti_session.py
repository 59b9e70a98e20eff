from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from apviso.scanning.adapters.wapiti_session import SessionUnreadable, addresses

# As Wapiti 3.2.3 and 3.3.2 make them, as far as they are read.
TABLES = """
CREATE TABLE responses (response_id INTEGER NOT NULL, url TEXT NOT NULL, status_code INTEGER NOT NULL, PRIMARY KEY (response_id));
CREATE TABLE paths (path_id INTEGER NOT NULL, path TEXT NOT NULL, method VARCHAR(16) NOT NULL, evil BOOLEAN NOT NULL, response_id INTEGER,
  PRIMARY KEY (path_id));
CREATE TABLE params (param_id INTEGER NOT NULL, path_id INTEGER, type VARCHAR(16) NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
  value1 TEXT, PRIMARY KEY (param_id));
INSERT INTO responses VALUES (1, 'http://h/', 200), (2, 'http://h/gone', 404);
INSERT INTO paths VALUES (1, 'http://h/', 'GET', 0, 1), (2, 'http://h/book', 'GET', 0, 1), (3, 'http://h/book', 'GET', 1, 1),
  (4, 'http://h/contact', 'POST', 0, 1), (5, 'http://h/gone', 'GET', 0, 2), (6, 'http://h/find', 'GET', 0, 1),
  (7, 'http://h/find', 'GET', 0, 1);
INSERT INTO params VALUES (1, 2, 'GET', 0, 'id', '1'), (2, 3, 'GET', 0, 'id', ''''), (3, 4, 'POST', 0, 'message', 'hello'),
  (4, 5, 'GET', 0, 'id', '1'), (6, 6, 'GET', 1, 'page', NULL), (5, 6, 'GET', 0, 'words', 'a & b'), (7, 7, 'GET', 0, 'words', 'a & b'),
  (8, 7, 'GET', 1, 'page', '');
"""


def made(folder: Path, tables: str) -> Path:
    with closing(sqlite3.connect(folder / "127.0.0.1_folder.db")) as session:
        session.executescript(tables)
    return folder


def test_addresses_are_those_with_a_query_that_were_answered_well_each_once(tmp_path: Path) -> None:
    assert addresses(made(tmp_path, TABLES)) == ("http://h/book?id=1", "http://h/find?words=a+%26+b&page=")


@pytest.mark.parametrize("tables", ["CREATE TABLE other (id INTEGER)", "CREATE TABLE paths (path_id INTEGER)"])
def test_session_of_another_form_is_told(tables: str, tmp_path: Path) -> None:
    with pytest.raises(SessionUnreadable):
        addresses(made(tmp_path, tables))


def test_session_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)

    with pytest.raises(SessionUnreadable):
        addresses(tmp_path)


def test_missing_session_is_told(tmp_path: Path) -> None:
    with pytest.raises(SessionUnreadable):
        addresses(tmp_path / "none")
