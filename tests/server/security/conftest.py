"""A control plane as the product starts it, with short waits and narrow bounds, and the embedded database for all that is here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.installation import Installation, Process
from tests.support.databases import Databases
from tests.support.raw import Address

HEAD_BYTES = 4096
CONNECTIONS = 24
NARROW = {
    "APVISO_LOG_LEVEL": "debug",
    "APVISO_LOG_FORMAT": "text",
    "APVISO_REQUESTS_PER_MINUTE": "100000",
    "APVISO_MAX_HEAD_BYTES": str(HEAD_BYTES),
    "APVISO_MAX_CONNECTIONS": str(CONNECTIONS),
    "APVISO_REQUEST_HEAD_SECONDS": "1",
    "APVISO_REQUEST_BODY_SECONDS": "1",
    "APVISO_ANSWER_STALLED_SECONDS": "0.5",
}


@dataclass(frozen=True)
class Server:
    address: Address
    key: str
    process: Process

    def log(self) -> str:
        return self.process.log.read_bytes().decode(errors="surrogateescape")


@pytest.fixture(scope="session")
def databases(sqlite_template: Path) -> Databases:
    """One kind: who is let in, and what is read of a connection, is decided before and above it."""
    return Databases(sqlite_template)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as stack:
        installed = Installation(tmp_path_factory.mktemp("server"), NARROW, stack)
        installed.bootstrap()
        process = installed.start_server()
        yield Server(("127.0.0.1", installed.port), installed.api_key, process)
