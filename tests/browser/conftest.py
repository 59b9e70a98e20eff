"""One browser, and one installation, for the tests of a file: a test that changes much brings runners and targets of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright.sync_api import Browser

from tests.browser.desk import Desk, chromium
from tests.end_to_end.conftest import QUICK
from tests.end_to_end.installation import Installation
from tests.support.names import NameServer, name_server

SETTINGS = QUICK | {
    "APVISO_PAGES_PER_MINUTE": "100000",
    # Receivers of the tests are on this host.
    "APVISO_WEBHOOK_ALLOW_HTTP": "true",
    "APVISO_WEBHOOK_ALLOWED_NETWORKS": '["127.0.0.0/8"]',
}


# Not for longer: it keeps an event loop running, beside which no asynchronous test of another file can run.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """Leads to what serves beside the browser: that is asynchronous, and tests with a browser are not."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def names(portal: BlockingPortal) -> Iterator[NameServer]:
    """The name server that is asked for proofs of control."""
    with portal.wrap_async_context_manager(name_server()) as server:
        yield server


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, names: NameServer) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("installation"), SETTINGS | {"APVISO_DNS_SERVERS": f'["{names.place}"]'})
    with made.stack:
        yield made.start()


@pytest.fixture(scope="module")
def _owners_desk(browser: Browser, installation: Installation) -> Desk:
    desk = Desk(browser, installation)
    desk.sign_up()
    return desk


@pytest.fixture
def desk(request: pytest.FixtureRequest, _owners_desk: Desk) -> Iterator[Desk]:
    """The owner's. A test fails at its end for anything that a page complained of or asked of another host.

    And for a form that it says it `submits` and did not; tests/upkeep/test_browser_actions.py counts on that.
    """
    _owners_desk.complaints.clear()
    _owners_desk.submitted.clear()
    yield _owners_desk
    assert _owners_desk.complaints == []
    assert {form for mark in request.node.iter_markers("submits") for form in mark.args} - _owners_desk.submitted == set()
