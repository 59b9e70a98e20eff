"""One browser and one installation for the tests of a file: a test that changes much brings runners and targets of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.desk import Desk, chromium
from tests.end_to_end.conftest import QUICK
from tests.end_to_end.installation import Installation


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("installation"), dict(QUICK) | {"APVISO_PAGES_PER_MINUTE": "100000"})
    with made.stack:
        yield made.start()


@pytest.fixture(scope="module")
def _owners_desk(browser: Browser, installation: Installation) -> Desk:
    desk = Desk(browser, installation)
    desk.sign_up()
    return desk


@pytest.fixture
def desk(_owners_desk: Desk) -> Iterator[Desk]:
    """The owner's. A test fails at its end for anything that a page complained of or asked of another host."""
    _owners_desk.complaints.clear()
    yield _owners_desk
    assert _owners_desk.complaints == []
