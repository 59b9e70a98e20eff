"""What admins do in a browser: people, keys, webhooks, proof of control, the audit trail; and who is let in by a provider."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest
from anyio.from_thread import BlockingPortal
from playwright.sync_api import Page, expect

from tests.browser.conftest import SETTINGS
from tests.browser.desk import PASSWORD, Desk, barriers
from tests.end_to_end.installation import Installation, wait_for
from tests.support.identity_provider import identity_provider
from tests.support.receiver import Receiver, receiving
from tests.support.sites import Site, site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
REFUSED = "error: Failed to load resource: the server responded with a status of 403 (Forbidden)"
NEW_PASSWORD = "an unrelated handful of words"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One that knows a provider of identities."""
    with identity_provider() as issuer:
        oidc = {"APVISO_OIDC_ISSUER": issuer, "APVISO_OIDC_CLIENT_ID": "apviso", "APVISO_OIDC_CLIENT_SECRET": "secret"}
        made = Installation(tmp_path_factory.mktemp("installation"), SETTINGS | oidc)
        with made.stack:
            yield made.start()


@pytest.fixture
def elsewhere(portal: BlockingPortal) -> Iterator[Site]:
    with portal.wrap_async_context_manager(site()) as shown:
        yield shown


@pytest.fixture
def receiver(portal: BlockingPortal) -> Iterator[Receiver]:
    with portal.wrap_async_context_manager(receiving()) as receiver:
        yield receiver


def choose_password(page: Page, password: str) -> None:
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Password again").fill(password)
    page.get_by_role("button", name="Set password and sign in").click()


def link_on(desk: Desk, page: Page) -> str:
    return page.locator("pre").inner_text().removeprefix(desk.installation.url)


@pytest.mark.submits("/settings/users", "/settings/users/{id}/role", "/settings/users/{id}/link", "/settings/users/{id}/remove")
@pytest.mark.submits("/set-up", "/settings/me/password")
def test_somebody_is_let_in_given_another_role_and_removed(desk: Desk) -> None:
    with desk.page("/settings/users") as page:
        page.get_by_label("E-mail address").fill("bob@acme.example")
        page.get_by_role("textbox", name="Name").fill("Bob")
        page.get_by_role("button", name="Add user").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("A link for Bob")
        with desk.page(link_on(desk, page), signed_in=False) as bobs:
            choose_password(bobs, PASSWORD)
            bobs.goto(f"{desk.installation.url}/runners")
            expect(bobs.get_by_text("Somebody who may change things can add one.")).to_be_visible()
            expect(bobs.get_by_role("link", name="Audit")).to_have_count(0)
            bobs.get_by_role("link", name="Bob").click()
            bobs.get_by_label("Password until now").fill(PASSWORD)
            bobs.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
            bobs.get_by_label("New password again").fill(NEW_PASSWORD)
            bobs.get_by_role("button", name="Change password").click()
            expect(bobs.get_by_role("status")).to_contain_text("Your password is changed.")

            page.goto(f"{desk.installation.url}/settings/users")
            page.get_by_role("link", name="Bob").click()
            page.get_by_label("What they may do").select_option("operator")
            page.get_by_role("button", name="Change role").click()
            expect(page.get_by_role("status")).to_have_text("Bob is operator now.")
            bobs.goto(f"{desk.installation.url}/runners")
            expect(bobs.get_by_role("button", name="Make token")).to_be_visible()

            page.get_by_role("link", name="Bob").click()
            page.get_by_role("button", name="Make a link").click()
            with desk.page(link_on(desk, page), signed_in=False) as anew:
                choose_password(anew, PASSWORD)
                # The page that was open has no session any more, and goes to the door by itself.
                expect(bobs).to_have_url(re.compile(r"/sign-in\?next=%2Frunners$"))
                page.goto(f"{desk.installation.url}/settings/users")
                page.get_by_role("link", name="Bob").click()
                page.get_by_role("link", name="Remove user").click()
                dialog = page.get_by_role("dialog")
                expect(dialog).to_contain_text("signed out everywhere at once (1 browser now)")
                dialog.get_by_role("button", name="Remove user").click()
                expect(page.get_by_role("status")).to_have_text("Bob can no longer sign in.")
                anew.reload()
                expect(anew).to_have_url(re.compile("/sign-in"))


@pytest.mark.submits("/settings/api-keys", "/settings/api-keys/{id}/revoke")
def test_api_key_is_shown_once_used_and_revoked(desk: Desk) -> None:
    with desk.page("/settings/api-keys") as page:
        page.get_by_role("textbox", name="Name").fill("nightly build")
        page.get_by_label("runners:read").check()
        page.get_by_label("It ends after").select_option("30")
        page.get_by_role("button", name="Create key").click()
        key = page.locator("pre").inner_text()

        def ask(path: str) -> int:
            return httpx2.get(f"{desk.installation.url}/api/v1{path}", headers={"X-API-Key": key}, trust_env=False).status_code

        assert (ask("/runners"), ask("/scans")) == (200, 403)
        page.reload()
        row = page.get_by_role("row").filter(has_text="nightly build")
        expect(row).to_contain_text("runners:read")
        expect(row).to_contain_text("in 29 d")
        expect(row).to_have_count(1)
        expect(row.get_by_text("never")).to_have_count(0)
        assert key not in page.content()
        assert barriers(page) == []
        row.get_by_role("link", name="Revoke").click()
        expect(page.get_by_role("dialog")).to_contain_text("Whoever uses it is refused at once.")
        page.get_by_role("dialog").get_by_role("button", name="Revoke key").click()
        expect(page.get_by_role("status")).to_have_text("The key is revoked.")
        expect(row).to_have_count(0)
        assert ask("/runners") == 401


@pytest.mark.submits("/settings/verification")
def test_proof_is_switched_off_in_a_name_that_the_audit_trail_keeps(desk: Desk) -> None:
    with desk.page("/settings") as page:
        page.get_by_role("button", name="Switch off").click()
        expect(page.get_by_role("status")).to_have_text("Proof of control is no longer required.")
        page.get_by_role("button", name="Require it").click()
        expect(page.get_by_role("status")).to_have_text("Proof of control is required.")
        page.get_by_role("link", name="Audit").click()
        changes = page.get_by_role("row").filter(has_text="organization.verification_changed")
        expect(changes).to_have_count(2)
        expect(changes.first).to_contain_text("user:ada@acme.example")
        page.get_by_label("Id of what it was done to").fill(changes.first.locator("code").inner_text())
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_role("row").filter(has_text="api_key.created")).to_have_count(0)
        expect(changes).to_have_count(2)


def test_form_that_came_from_no_page_of_this_session_changes_nothing(desk: Desk, elsewhere: Site) -> None:
    action = f"{desk.installation.url}/settings/verification"
    trap = f'<form method="post" action="{action}"><input name="required" value="no"><button>Win a prize</button></form>'
    elsewhere.serve("/trap", trap, **{"content-type": "text/html"})
    with desk.page("/settings") as page:
        page.locator("form[action='/settings/verification'] input[name=csrf]").evaluate("field => field.value = 'another'")
        page.get_by_role("button", name="Switch off").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Not permitted")
    assert desk.complaints == [REFUSED]
    desk.complaints.clear()
    lured = desk.browser.new_context()
    lured.add_cookies(desk.cookies)
    page = lured.new_page()
    # To a browser the name is another site than the address.
    page.goto(f"http://localhost:{elsewhere.port}/trap")
    page.get_by_role("button", name="Win a prize").click()
    expect(page).to_have_url(re.compile(re.escape(desk.installation.url)))
    lured.close()

    assert desk.installation.call("GET", "/organization")["organization"]["requiresVerification"]


@pytest.mark.submits("/webhooks/add", "/webhooks/{id}/edit", "/webhooks/{id}/enabled", "/webhooks/{id}/test", "/webhooks/{id}/delete")
@pytest.mark.submits("/webhooks/{id}/deliveries/{delivery_id}/replay", "/webhooks/{id}/rotate-secret")
def test_webhook_is_added_tried_repeated_rotated_switched_and_deleted(desk: Desk, receiver: Receiver) -> None:
    with desk.page("/webhooks/add", color_scheme="dark") as page:
        page.get_by_label("Address").fill(receiver.url())
        page.get_by_label("What it is for").fill("pager")
        page.get_by_label("every event").uncheck()
        page.get_by_label("runner.offline").check()
        page.get_by_role("button", name="Add webhook").click()
        expect(page.locator("pre")).to_contain_text("whsec_")
        page.get_by_role("link", name="To the webhook").click()
        page.get_by_role("button", name="Send a test").click()
        wait_for(lambda: receiver.connections == 1, 20, "the message arrives")
        page.reload()
        sent = page.get_by_role("row").filter(has_text="webhook.test")
        expect(sent).to_contain_text("succeeded")
        sent.get_by_role("button", name="Send again").click()
        expect(page.get_by_role("status")).to_have_text("The message is sent again.")
        wait_for(lambda: receiver.connections == 2, 20, "the message arrives again")
        assert barriers(page) == []
        page.get_by_role("link", name="Rotate secret").click()
        page.get_by_role("dialog").get_by_role("button", name="Rotate secret").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The new secret")
        page.get_by_role("link", name="To the webhook").click()
        expect(page.get_by_text("sign too, until")).to_be_visible()
        page.get_by_role("link", name="Edit", exact=True).click()
        page.get_by_label("scan.failed").check()
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".facts")).to_contain_text("scan.failed")
        page.get_by_role("button", name="Disable").click()
        expect(page.get_by_role("status")).to_have_text("No more messages are sent.")
        page.get_by_role("button", name="Enable").click()
        expect(page.get_by_role("status")).to_have_text("Messages are sent again.")
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete webhook").click()
        expect(page.get_by_text("Nobody is told yet.")).to_be_visible()


def test_somebody_signs_in_with_their_account_at_a_provider(desk: Desk) -> None:
    # Not watched: here a page is of another host by intention.
    context = desk.browser.new_context()
    page = context.new_page()
    page.goto(f"{desk.installation.url}/targets")
    page.get_by_role("link", name="Sign in with your organization's account").click()
    page.locator("input[name=sub]").first.fill("ada")
    page.locator("button[type=submit], input[type=submit], button").first.click()
    expect(page).to_have_url(f"{desk.installation.url}/targets")
    expect(page.get_by_role("link", name="Ada")).to_be_visible()
    context.close()
