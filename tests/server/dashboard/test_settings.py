"""Users, their roles, links and sessions; API keys; the organization's switch."""

from __future__ import annotations

import re

import pytest

from apviso.server.accounts.roles import Role
from tests.support.control_plane import Plane
from tests.support.people import Organization
from tests.support.visitors import PASSWORD, Visitor, forms_of, visitor

LINK = re.compile(r"http://control-plane(/set-up\?code=apvl_[^<\s]+)")


async def invite(owner: Visitor, email: str, role: str) -> str:
    """Where the user chooses a password."""
    answer = await owner.submit("/settings/users", "/settings/users", email=email, name="Grace", role=role)
    found = LINK.search(answer.text)
    assert found is not None, answer.text
    return found[1]


async def sign_in(plane: Plane, where: str) -> Visitor:
    browser = Visitor(plane.client)
    assert (await browser.submit(where, "/set-up", password=PASSWORD, again=PASSWORD)).status_code == 303
    return browser


async def id_of(owner: Visitor, email: str) -> str:
    rows = (await owner.get("/settings/users")).text.split("<tr ")
    return next(row for row in rows if email in row).partition('"user-')[2].partition('"')[0]


async def test_user_is_let_in_works_gets_another_role_and_is_removed(plane: Plane, owner: Visitor) -> None:
    grace = await sign_in(plane, await invite(owner, "Grace@Acme.example", "viewer"))
    assert (await grace.get("/settings/users")).status_code == 403
    assert (await grace.get("/runners")).status_code == 200
    user_id = await id_of(owner, "grace@acme.example")

    await owner.submit(f"/settings/users/{user_id}", f"/settings/users/{user_id}/role", role="admin")
    assert (await grace.get("/settings/users")).status_code == 200

    await owner.submit(f"/settings/users/{user_id}/remove", f"/settings/users/{user_id}/remove")
    assert (await grace.get("/runners")).status_code == 303


async def test_link_for_a_forgotten_password_replaces_the_one_before(plane: Plane, owner: Visitor) -> None:
    first = await invite(owner, "grace@acme.example", "operator")
    user_id = await id_of(owner, "grace@acme.example")

    second = LINK.search((await owner.submit(f"/settings/users/{user_id}", f"/settings/users/{user_id}/link")).text)

    assert second is not None
    assert (await Visitor(plane.client).get(first)).status_code == 404
    await sign_in(plane, second[1])


async def test_address_that_somebody_has_is_refused_with_the_form_as_it_was(owner: Visitor) -> None:
    await invite(owner, "grace@acme.example", "viewer")

    again = await owner.submit("/settings/users", "/settings/users", email="grace@acme.example", name="Grace", role="viewer")

    assert again.status_code == 422
    assert "Somebody signs in with this address already." in again.text
    assert forms_of(again.text)["/settings/users"]["email"] == "grace@acme.example"


async def test_admin_makes_no_owner_and_changes_none(plane: Plane, acme: Organization, owner: Visitor) -> None:
    admin = await visitor(plane, acme.id, Role.ADMIN)
    owner_id = await id_of(owner, "owner@")

    made = await admin.submit("/settings/users", "/settings/users", email="new@acme.example", name="", role="owner")
    mark = {"csrf": forms_of((await admin.get("/")).text)["/sign-out"]["csrf"]}
    unmade = await admin.post(f"/settings/users/{owner_id}/remove", mark)

    assert [made.status_code, unmade.status_code] == [403, 403]


async def test_last_owner_stays(owner: Visitor) -> None:
    owner_id = await id_of(owner, "owner@")

    for page, action, more in (("", "role", {"role": "viewer"}), ("/remove", "remove", {})):
        answer = await owner.submit(f"/settings/users/{owner_id}{page}", f"/settings/users/{owner_id}/{action}", **more)
        assert answer.status_code == 409
        assert "This is the last owner" in answer.text


async def test_other_organizations_user_is_not_there(plane: Plane, other: Organization, owner: Visitor) -> None:
    stranger = await visitor(plane, other.id)
    stranger_id = await id_of(stranger, "owner@")

    assert "There is no such user." in (await owner.get(f"/settings/users/{stranger_id}")).text
    mark = {"csrf": forms_of((await owner.get("/")).text)["/sign-out"]["csrf"]}
    await owner.post(f"/settings/users/{stranger_id}/remove", mark)
    assert (await stranger.get("/")).status_code == 200


async def test_password_is_changed_with_the_old_one_and_ends_other_sessions(plane: Plane, acme: Organization, owner: Visitor) -> None:
    elsewhere = Visitor(plane.client)
    email = f"owner@{acme.id[-12:]}.example"
    await elsewhere.submit("/sign-in", "/sign-in", email=email, password=PASSWORD)

    wrong = await owner.submit(
        "/settings/me", "/settings/me/password", old="wrong", password="a much better one", again="a much better one"
    )
    right = await owner.submit(
        "/settings/me", "/settings/me/password", old=PASSWORD, password="a much better one", again="a much better one"
    )

    assert "This is not your password." in wrong.text
    assert right.status_code == 303
    assert (await owner.get("/")).status_code == 200
    assert (await elsewhere.get("/")).status_code == 303


async def test_session_elsewhere_is_ended(plane: Plane, acme: Organization, owner: Visitor) -> None:
    elsewhere = Visitor(plane.client)
    await elsewhere.submit("/sign-in", "/sign-in", email=f"owner@{acme.id[-12:]}.example", password=PASSWORD)
    action = next(address for address in forms_of((await owner.get("/settings/me")).text) if address.endswith("/end"))

    await owner.submit("/settings/me", action)

    assert (await elsewhere.get("/")).status_code == 303
    assert (await owner.get("/")).status_code == 200


async def test_api_key_is_made_shown_once_and_revoked(plane: Plane, owner: Visitor) -> None:
    made = await owner.submit("/settings/api-keys", "/settings/api-keys", name="ci <b>", scopes=["scans:*", "runners:read"], days="30")
    found = re.search(r"apvk_[0-9a-f]{12}_[\w-]{43}", made.text)
    assert found is not None
    assert (await plane.call("GET", "/api/v1/runners", found[0])).status_code == 200
    page = (await owner.get("/settings/api-keys")).text
    assert found[0] not in page
    assert "ci &lt;b&gt;" in page

    key_id = page.partition("ci &lt;b&gt;")[0].rpartition('"key-')[2].partition('"')[0]
    await owner.submit(f"/settings/api-keys/{key_id}/revoke", f"/settings/api-keys/{key_id}/revoke")

    assert (await plane.call("GET", "/api/v1/runners", found[0])).status_code == 401


@pytest.mark.parametrize(("fields", "said"), [({"name": "", "scopes": "scans:*"}, "Give the key a name"), ({"name": "ci"}, "Tick what")])
async def test_api_key_without_name_or_scopes_is_refused(owner: Visitor, fields: dict[str, str | list[str]], said: str) -> None:
    answer = await owner.submit("/settings/api-keys", "/settings/api-keys", **fields)

    assert answer.status_code == 422
    assert said in answer.text
    assert [f'value="{scope}" checked' in answer.text for scope in ("scans:*", "runners:*")] == ["scopes" in fields, False]


async def test_proof_of_control_is_switched_off_in_somebodys_name(acme: Organization, owner: Visitor) -> None:
    await owner.submit("/settings", "/settings/verification")

    assert (await acme.get("/organization")).json()["organization"]["requiresVerification"] is False
    event = (await acme.get("/audit-events")).json()["auditEvents"][0]
    assert event["action"] == "organization.verification_changed"
    assert event["actor"].startswith("user:owner@")


async def test_viewer_may_do_nothing_here_but_to_themselves(plane: Plane, acme: Organization, owner: Visitor, viewer: Visitor) -> None:
    owner_id = await id_of(owner, "owner@")
    for page in ("/settings/users", f"/settings/users/{owner_id}", "/settings/api-keys", "/webhooks", "/webhooks/add", "/audit"):
        assert (await viewer.get(page)).status_code == 403, page
    mark = {"csrf": forms_of((await viewer.get("/")).text)["/sign-out"]["csrf"]}
    for form in ("/settings/users", f"/settings/users/{owner_id}/link", f"/settings/users/{owner_id}/role", "/settings/verification"):
        told = {**mark, "email": "x@acme.example", "role": "viewer", "required": "no"}
        assert (await viewer.post(form, told)).status_code == 403, form
    for page in ("/settings", "/settings/me"):
        assert (await viewer.get(page)).status_code == 200, page
