"""The exit codes that scripts may rely on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    CHECK_FAILED = 2
    USAGE = 64
    UNREACHABLE = 69
    TRY_AGAIN = 75
    BAD_CREDENTIAL = 77
    REVOKED_OR_MISCONFIGURED = 78
