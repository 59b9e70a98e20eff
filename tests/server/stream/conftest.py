"""The control plane of the test on a real socket, where streams can be read."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.support.control_plane import Plane, on_a_socket


@pytest.fixture
async def wire(plane: Plane) -> AsyncIterator[httpx2.AsyncClient]:
    async with on_a_socket(plane) as client:
        yield client
