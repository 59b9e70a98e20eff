"""People who look at pages of `acme`."""

from __future__ import annotations

import pytest

from apviso.server.accounts.roles import Role
from tests.support.control_plane import Plane
from tests.support.people import Organization
from tests.support.visitors import Visitor, visitor


@pytest.fixture
async def owner(plane: Plane, acme: Organization) -> Visitor:
    return await visitor(plane, acme.id)


@pytest.fixture
async def viewer(plane: Plane, acme: Organization) -> Visitor:
    """Somebody who may look and do nothing."""
    return await visitor(plane, acme.id, Role.VIEWER)
