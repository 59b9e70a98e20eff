"""A control plane as a process of its own, and whoever calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.end_to_end.installation import Installation
from tests.support.people import Organization


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """Not started yet: a test may still say in which environment. The embedded database, as nothing here depends on which one it is."""
    with ExitStack() as stack:
        installed = Installation(tmp_path, {"APVISO_LOG_LEVEL": "debug"}, stack)
        installed.bootstrap()
        yield installed


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=installation.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
async def acme(client: httpx2.AsyncClient, installation: Installation) -> Organization:
    """Its calls can be made once the server is started."""
    return Organization(client, "", installation.api_key)
