"""A typed client of the public API: `Client` answers when it is done, `AsyncClient` is awaited; both have the same methods."""

from __future__ import annotations

from apviso.client.asynchronous import AsyncClient
from apviso.client.errors import (
    ApvisoError,
    BadCredential,
    BadSettings,
    Conflict,
    Forbidden,
    InvalidRequest,
    LicenseRefused,
    NotFound,
    NotYet,
    RateLimited,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
    WaitedTooLong,
)
from apviso.client.synchronous import Client

__all__ = [
    "ApvisoError",
    "AsyncClient",
    "BadCredential",
    "BadSettings",
    "Client",
    "Conflict",
    "Forbidden",
    "InvalidRequest",
    "LicenseRefused",
    "NotFound",
    "NotYet",
    "RateLimited",
    "Unavailable",
    "Unreachable",
    "UnreadableAnswer",
    "WaitedTooLong",
]
