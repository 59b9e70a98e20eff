"""The addresses that Wapiti's crawl has found, from the database of its session: the report of 3.3 leaves their queries out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import groupby
from pathlib import Path
from urllib.parse import urlencode

MAX_ADDRESSES = 5_000
# `evil` marks the requests of attacks.
_STATEMENT = """
SELECT paths.path_id, paths.path, params.name, COALESCE(params.value1, '')
FROM paths JOIN params ON params.path_id = paths.path_id JOIN responses ON responses.response_id = paths.response_id
WHERE paths.evil = 0 AND paths.method = 'GET' AND params.type = 'GET' AND responses.status_code < 400
ORDER BY paths.path_id, params.position
"""


class SessionUnreadable(Exception):
    """There is no session, or not in the form that is known."""


def addresses(folder: Path) -> tuple[str, ...]:
    """Those with a query that were asked by GET and answered well, in the order of their finding. Raises SessionUnreadable."""
    files = list(folder.glob("*.db"))
    if len(files) != 1:
        raise SessionUnreadable
    try:
        with closing(sqlite3.connect(f"{files[0].absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as session:
            rows = session.execute(_STATEMENT).fetchmany(20 * MAX_ADDRESSES)
    except sqlite3.Error as error:
        raise SessionUnreadable from error
    return tuple(dict.fromkeys(_addresses(rows)))[:MAX_ADDRESSES]


def _addresses(rows: Iterable[tuple[int, str, str, str]]) -> Iterable[str]:
    for _, group in groupby(rows, key=lambda row: row[0]):
        parameters = list(group)
        yield f"{parameters[0][1]}?{urlencode([(name, value) for _, _, name, value in parameters])}"
