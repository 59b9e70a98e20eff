"""The API as pages call it: the same rules for the same person, and no way in for anybody else."""

from __future__ import annotations

from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner
from tests.support.visitors import Visitor, forms_of


async def test_session_opens_no_api(plane: Plane, owner: Visitor) -> None:
    token = owner.cookies["apviso_session"]
    as_cookie = await plane.client.get("/api/v1/runners", headers={"cookie": f"apviso_session={token}"})
    as_key = await plane.call("GET", "/api/v1/runners", token)

    assert [as_cookie.status_code, as_key.status_code] == [401, 401]
    assert as_key.json()["code"] == "wrong_credential"


async def test_what_a_person_does_is_done_in_their_name(acme: Organization, runner: Runner, owner: Visitor) -> None:
    await acme.post(f"/runners/{runner.id}/pause", {})

    answer = await owner.submit(f"/runners/{runner.id}/resume", f"/runners/{runner.id}/resume")

    assert answer.headers["location"] == f"/runners/{runner.id}"
    assert (await acme.get(f"/runners/{runner.id}")).json()["runner"]["adminState"] == "enabled"
    events = (await acme.get("/audit-events")).json()["auditEvents"]
    assert next(event["actor"] for event in events if event["action"] == "runner.resumed").startswith("user:owner@")
    said = (await owner.get(f"/runners/{runner.id}")).text
    assert "takes scans again" in said
    assert "takes scans again" not in (await owner.get(f"/runners/{runner.id}")).text


async def test_viewer_is_refused_by_the_api_itself(acme: Organization, runner: Runner, viewer: Visitor) -> None:
    await acme.post(f"/runners/{runner.id}/pause", {})
    mark = forms_of((await viewer.get("/")).text)["/sign-out"]

    answer = await viewer.post(f"/runners/{runner.id}/resume", mark)

    assert answer.status_code == 403
    assert (await acme.get(f"/runners/{runner.id}")).json()["runner"]["adminState"] == "paused"


async def test_other_organizations_runner_is_not_there(runner: Runner, other: Organization, plane: Plane) -> None:
    from tests.support.visitors import visitor

    stranger = await visitor(plane, other.id)

    assert (await stranger.get(f"/runners/{runner.id}")).status_code == 404
    assert runner.id not in (await stranger.get("/runners")).text


async def test_hostile_name_is_text(acme: Organization, owner: Visitor) -> None:
    await acme.runner("<script>alert(1)</script>\u202eevil\x1b[31m")

    page = (await owner.get("/runners")).text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "\x1b" not in page
