"""A receiver on loopback, and webhooks that lead there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from apviso.server.settings import Settings
from tests.support.receiver import Receiver, receiving

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The receivers of tests are at an internal address and mostly without TLS; the operator allows that."""
    allowed = {"webhook_allowed_networks": LOOPBACK, "webhook_allow_http": True, "webhook_timeout_seconds": 1.5}
    return settings.model_copy(update=allowed)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver
