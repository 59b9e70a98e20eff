"""A queued scan for each test that asks, as the tests of scans have it."""

from __future__ import annotations

from tests.server.scans.conftest import case as case
