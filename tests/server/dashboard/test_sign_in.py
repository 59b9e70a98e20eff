"""The door: passwords, sessions, links that work once, and forms that others made."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from apviso.protocol.wire import OrganizationId
from apviso.server.accounts import signing_in
from apviso.server.accounts.roles import Role
from apviso.server.passwords import MOST_WAITING
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane, running
from tests.support.people import Organization
from tests.support.visitors import PASSWORD, Visitor, forms_of, visitor


async def link(plane: Plane, organization_id: str | None = None, user_id: str | None = None) -> str:
    async with plane.resources.database.writing() as work:
        token = await signing_in.issue_link(work, None if organization_id is None else OrganizationId(organization_id), user_id)
    return token.reveal()


async def become_owner(plane: Plane, code: str, **fields: str) -> Visitor:
    browser = Visitor(plane.client)
    given = {"email": "ada@acme.example", "name": "Ada", "password": PASSWORD, "again": PASSWORD, **fields}
    answer = await browser.submit(f"/set-up?code={code}", "/set-up", **given)
    assert answer.status_code == 303, answer.text
    return browser


async def test_first_person_sets_up_an_organization_and_is_its_owner(plane: Plane) -> None:
    browser = await become_owner(plane, await link(plane), organization="Acme")

    page = (await browser.get("/")).text

    assert "Acme" in page
    assert "owner" in page


async def test_link_works_once(plane: Plane) -> None:
    code = await link(plane)
    await become_owner(plane, code, organization="Acme")

    answer = await Visitor(plane.client).get(f"/set-up?code={code}")

    assert answer.status_code == 404
    assert signing_in.NO_SUCH_LINK in answer.text


async def test_link_runs_out_after_a_day(plane: Plane) -> None:
    code = await link(plane)
    plane.clock.pass_by(hours=24, seconds=1)

    assert (await Visitor(plane.client).get(f"/set-up?code={code}")).status_code == 404


async def test_set_up_that_is_refused_can_be_tried_again(plane: Plane) -> None:
    browser, code = Visitor(plane.client), await link(plane)
    given = {"organization": "Acme", "email": "ada@acme.example", "password": "short", "again": "short"}

    refused = await browser.submit(f"/set-up?code={code}", "/set-up", **given)

    assert refused.status_code == 422
    assert "12 to 200 characters" in refused.text
    assert forms_of(refused.text)["/set-up"]["organization"] == "Acme"
    await become_owner(plane, code, organization="Acme")


async def test_whoever_has_no_link_keeps_nobody_busy_with_passwords(plane: Plane) -> None:
    others = [asyncio.create_task(plane.resources.passwords.digest("x")) for _ in range(MOST_WAITING)]
    given = {"code": "apvl_000000000000_" + "x" * 43, "email": "a@b", "password": PASSWORD, "again": PASSWORD}

    answer = await Visitor(plane.client).post("/set-up", given)

    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert answer.status_code == 404


async def test_nobody_is_told_a_link_where_somebody_can_sign_in(plane: Plane) -> None:
    async with plane.resources.database.writing() as work:
        assert await signing_in.first_link(work) is not None
    await become_owner(plane, await link(plane), organization="Acme")

    async with plane.resources.database.writing() as work:
        assert await signing_in.first_link(work) is None


async def test_person_signs_in_with_password_and_gets_where_they_wanted(plane: Plane, acme: Organization) -> None:
    await become_owner(plane, await link(plane, acme.id))
    browser = Visitor(plane.client)
    turned_away = await browser.get("/runners?status=online")
    assert turned_away.headers["location"] == "/sign-in?next=%2Frunners%3Fstatus%3Donline"

    answer = await browser.submit(turned_away.headers["location"], "/sign-in", email=" Ada@Acme.example", password=PASSWORD)

    assert answer.headers["location"] == "/runners?status=online"
    assert (await browser.get("/runners")).status_code == 200


@pytest.mark.parametrize(("email", "password"), [("ada@acme.example", "wrong"), ("nobody@acme.example", PASSWORD), ("", "")])
async def test_wrong_password_and_unknown_address_are_answered_alike(plane: Plane, acme: Organization, email: str, password: str) -> None:
    await become_owner(plane, await link(plane, acme.id))
    browser = Visitor(plane.client)

    answer = await browser.submit("/sign-in", "/sign-in", email=email, password=password)

    assert answer.status_code == 403
    assert "The e-mail address or the password is wrong." in answer.text
    assert not browser.cookies


async def test_many_tries_for_one_address_are_refused_for_a_while(settings: Settings, clock: Clock) -> None:
    async with running(settings.model_copy(update={"sign_ins_per_minute": 2}), clock) as plane:
        browser = Visitor(plane.client)
        tries = [await browser.post("/sign-in", {"email": "ada@acme.example", "password": "x"}) for _ in range(3)]

    assert [answer.status_code for answer in tries] == [403, 403, 429]


@pytest.mark.parametrize("elsewhere", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb"])
async def test_sign_in_leads_to_no_other_site(plane: Plane, acme: Organization, elsewhere: str) -> None:
    await become_owner(plane, await link(plane, acme.id))

    answer = await Visitor(plane.client).post("/sign-in", {"email": "ada@acme.example", "password": PASSWORD, "next": elsewhere})

    assert answer.headers["location"] == "/"


async def test_session_ends_with_sign_out(plane: Plane, owner: Visitor) -> None:
    stolen = Visitor(plane.client, dict(owner.cookies))

    await owner.submit("/", "/sign-out")

    assert not owner.cookies
    assert (await stolen.get("/")).headers["location"] == "/sign-in"


async def test_session_ends_when_it_lay_unused_and_at_last_in_any_case(plane: Plane, owner: Visitor) -> None:
    for _ in range(13):
        plane.clock.pass_by(hours=11)
        assert (await owner.get("/")).status_code == 200
    idle = Visitor(plane.client, dict(owner.cookies))
    plane.clock.pass_by(hours=12)
    assert (await idle.get("/")).status_code == 303

    plane.clock.pass_by(hours=24)
    assert (await owner.get("/")).status_code == 303


async def test_user_who_is_invited_chooses_a_password_and_other_sessions_end(plane: Plane, acme: Organization, viewer: Visitor) -> None:
    async with plane.resources.database.reading() as work:
        known = await signing_in.find_session(work, plane.resources, viewer.cookies["apviso_session"])
    assert known is not None
    code = await link(plane, acme.id, known.user.id)
    fresh = Visitor(plane.client)

    answer = await fresh.submit(f"/set-up?code={code}", "/set-up", password="another long password", again="another long password")

    assert answer.status_code == 303
    assert (await fresh.get("/")).status_code == 200
    assert (await viewer.get("/")).status_code == 303


async def test_form_without_the_sessions_mark_changes_nothing(owner: Visitor) -> None:
    for forged in ({}, {"csrf": "0" * 64}):
        assert (await owner.post("/sign-out", forged)).status_code == 403
    assert (await owner.get("/")).status_code == 200


async def test_form_of_another_session_changes_nothing(plane: Plane, acme: Organization, owner: Visitor) -> None:
    other = await visitor(plane, acme.id, Role.ADMIN)
    theirs = forms_of((await other.get("/")).text)["/sign-out"]

    assert (await owner.post("/sign-out", theirs)).status_code == 403


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}])
async def test_form_on_another_site_is_refused_even_before_sign_in(plane: Plane, headers: dict[str, str]) -> None:
    answer = await Visitor(plane.client).post("/sign-in", {"email": "a@b", "password": "x"}, headers=headers)

    assert answer.status_code == 403
    assert "came from no page of this dashboard" in answer.text


async def test_older_browser_is_judged_by_the_origin_it_names(plane: Plane) -> None:
    form = "email=a%40b&password=x"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    there = await plane.client.post("/sign-in", content=form, headers={**kind, "origin": "http://evil.example"})
    here = await plane.client.post("/sign-in", content=form, headers={**kind, "origin": "http://control-plane"})

    assert "came from no page" in there.text
    assert "came from no page" not in here.text


async def test_audit_tells_who_signed_in_and_who_failed(plane: Plane, acme: Organization) -> None:
    await become_owner(plane, await link(plane, acme.id))
    await Visitor(plane.client).post("/sign-in", {"email": "ada@acme.example", "password": "wrong"})

    events = (await acme.get("/audit-events")).json()["auditEvents"]

    told = {(event["action"], event["actor"]) for event in events}
    assert {("user.signed_in", "user:ada@acme.example"), ("user.sign_in_failed", "user:ada@acme.example")} <= told
    assert PASSWORD not in str(events)


async def test_secrets_of_people_are_kept_as_digests_alone(plane: Plane, owner: Visitor) -> None:
    secret = owner.cookies["apviso_session"].rpartition("_")[2]
    async with plane.resources.database.reading() as work:
        for table in ("sessions", "users", "sign_in_links"):
            rows = (await work.db.exec_driver_sql(f"SELECT * FROM {table}")).all()
            assert secret not in str(rows)
            assert PASSWORD not in str(rows)


def test_public_address_is_a_whole_one_without_a_path() -> None:
    with pytest.raises(ValueError, match="without a path"):
        Settings(public_url="https://apviso.example/path")
    assert Settings(public_url="https://apviso.example/", session_idle=timedelta(hours=1)).public_url == "https://apviso.example"
