"""Decides what an error of the database means for a request: nothing was done and it may be tried again, or nobody knows."""

from __future__ import annotations

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from apviso.server.errors import DatabaseUnavailable
from apviso.server.metrics import DATABASE_FAILURES

log = structlog.get_logger("apviso.database")
RETRY_AFTER = 2.0

# One of several transactions had to give way: serialization_failure, deadlock_detected.
GAVE_WAY = frozenset({"40001", "40P01"})
# The server is gone, going or coming, or is no longer the primary: admin_shutdown, crash_shutdown, cannot_connect_now,
# database_dropped, idle_session_timeout, idle_in_transaction_session_timeout, read_only_sql_transaction.
AWAY = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25006"})
# Too busy to be asked again at once: query_canceled (statement_timeout), lock_not_available (lock_timeout), and what it has too little of.
BUSY = frozenset({"57014", "55P03", "53000", "53100", "53200", "53300", "53400"})
# The schema is of another version: undefined_table, undefined_column.
OTHER_SCHEMA = frozenset({"42P01", "42703"})
_CONNECTION_EXCEPTION = "08"
# A migration of another replica has changed a table under a prepared statement.
_OUTDATED_PLAN = "InvalidCachedStatementError"


def as_refusal(error: Exception) -> DatabaseUnavailable | None:
    """The refusal to raise instead, for an error before the commit; None for an error that is no trouble of the database."""
    if isinstance(error, DatabaseUnavailable):
        return error
    if isinstance(error, DBAPIError):
        return _of_driver(error)
    # A connection that dies at the wrong moment leaves the driver in a state that it did not expect.
    if isinstance(error, asyncpg.InternalClientError):
        return _refusal("away", type(error).__name__, may_repeat=True)
    # The driver's own time-outs, and connections that could not be opened, come as they are.
    if isinstance(error, PoolTimeout | OSError):
        return _refusal("no_connection", type(error).__name__, may_repeat=not isinstance(error, PoolTimeout | TimeoutError))
    return None


def _of_driver(error: DBAPIError) -> DatabaseUnavailable | None:
    code = getattr(error.orig, "sqlstate", None) or ""
    name = type(error.orig.__cause__ or error.orig).__name__ if error.orig is not None else type(error).__name__
    if code in GAVE_WAY or name == _OUTDATED_PLAN:
        return _refusal("gave_way", name, may_repeat=True)
    if error.connection_invalidated or code in AWAY or code.startswith(_CONNECTION_EXCEPTION):
        return _refusal("away", name, may_repeat=True)
    if code in BUSY | OTHER_SCHEMA or isinstance(error, OperationalError | InterfaceError):
        return _refusal("busy" if code in BUSY else "other", name, may_repeat=False)
    return None


def _refusal(kind: str, name: str, *, may_repeat: bool) -> DatabaseUnavailable:
    DATABASE_FAILURES.labels(kind).inc()
    log.warning("database failed", error=name, may_repeat=may_repeat)
    refusal = DatabaseUnavailable(retry_after=RETRY_AFTER)
    refusal.may_repeat = may_repeat
    return refusal
