"""API keys over HTTP: issue, look, edit, revoke; and that nobody can lock everyone out."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from apviso.server.db.schema import ApiKeyRow
from apviso.server.organizations.bootstrap import bootstrap
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization


async def _own_key_id(organization: Organization) -> str:
    keys = (await organization.get("/api-keys")).json()["apiKeys"]
    return str(next(key["id"] for key in keys if key["keyPrefix"] == organization.key.split("_")[1]))


async def test_create_api_key_shows_the_key_once_and_it_works(acme: Organization, plane: Plane) -> None:
    issued = await acme.post("/api-keys", {"name": " ci ", "scopes": ["targets:read", "targets:read"]})

    assert issued.status_code == 201
    key, shown = issued.json()["key"], issued.json()["apiKey"]
    assert (shown["name"], shown["scopes"], shown["keyPrefix"]) == ("ci", ["targets:read"], key.split("_")[1])
    assert (await plane.call("GET", "/api/v1/targets", key)).status_code == 200
    assert key.split("_", 2)[2] not in (await acme.get("/api-keys")).text


async def test_create_api_key_keeps_only_the_digest_of_the_secret(acme: Organization, plane: Plane) -> None:
    issued = await acme.post("/api-keys", {"name": "ci", "scopes": ["admin"]})

    async with plane.resources.database.reading() as work:
        rows = (await work.db.execute(select(ApiKeyRow.__table__))).all()
    assert len(rows) == 2
    assert issued.json()["key"].split("_", 2)[2] not in repr(rows)


async def test_create_api_key_repeated_with_idempotency_key_issues_no_second_one(acme: Organization) -> None:
    body, headers = {"name": "ci", "scopes": ["admin"]}, {"Idempotency-Key": "once"}
    await acme.post("/api-keys", body, headers=headers)

    again = await acme.post("/api-keys", body, headers=headers)

    assert (again.status_code, again.json()["code"]) == (409, "already_issued")
    assert (await acme.get("/api-keys")).json()["total"] == 2


@in_turn(
    ("body", "field"),
    [
        ({"scopes": ["admin"]}, "name"),
        ({"name": "ci"}, "scopes"),
        ({"name": "ci", "scopes": []}, "scopes"),
        ({"name": "ci", "scopes": ["everything"]}, "scopes.0"),
        ({"name": "ci", "scopes": ["admin"], "expiresAt": "2026-05-03T09:15:32Z"}, "expiresAt"),
        ({"name": "ci", "scopes": ["admin"], "expiresAt": "2027-05-03T09:15:32"}, "expiresAt"),
    ],
)
async def test_create_api_key_with_bad_body_names_the_field(acme: Organization, body: dict[str, object], field: str) -> None:
    refused = await acme.post("/api-keys", body)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_fields")
    assert [error["field"] for error in refused.json()["errors"]] == [field]


async def test_api_key_past_its_end_is_refused(acme: Organization, plane: Plane, clock: Clock) -> None:
    body = {"name": "ci", "scopes": ["admin"], "expiresAt": "2026-05-04T00:00:00Z"}
    key = (await acme.post("/api-keys", body)).json()["key"]
    assert (await plane.call("GET", "/api/v1/quota", key)).status_code == 200

    clock.pass_by(days=1)

    refused = await plane.call("GET", "/api/v1/quota", key)
    assert (refused.status_code, refused.json()["code"]) == (401, "credential_invalid")


async def test_list_api_keys_leaves_out_revoked_ones_and_pages(acme: Organization, clock: Clock) -> None:
    for name in ("a", "b"):
        clock.pass_by(seconds=1)
        await acme.post("/api-keys", {"name": name, "scopes": ["admin"]})
    newest = (await acme.get("/api-keys?limit=1")).json()["apiKeys"][0]
    await acme.delete(f"/api-keys/{newest['id']}")

    page = (await acme.get("/api-keys?limit=1")).json()

    assert newest["name"] == "b"
    assert [key["name"] for key in page["apiKeys"]] == ["a"]
    assert (page["total"], page["totalPages"]) == (2, 2)


async def test_get_api_key_tells_when_it_was_used_last(acme: Organization, plane: Plane) -> None:
    issued = (await acme.post("/api-keys", {"name": "ci", "scopes": ["admin"]})).json()
    before = (await acme.get(f"/api-keys/{issued['apiKey']['id']}")).json()["apiKey"]["lastUsedAt"]

    await plane.call("GET", "/api/v1/quota", issued["key"])

    after = (await acme.get(f"/api-keys/{issued['apiKey']['id']}")).json()["apiKey"]["lastUsedAt"]
    assert (before, after) == (None, "2026-05-03T09:15:32Z")


async def test_edit_api_key_scopes_takes_effect_at_once(acme: Organization, plane: Plane) -> None:
    issued = (await acme.post("/api-keys", {"name": "ci", "scopes": ["targets:*"]})).json()

    edited = await acme.patch(f"/api-keys/{issued['apiKey']['id']}", {"name": "nightly", "scopes": ["scans:*"]})

    assert edited.json()["apiKey"] == {**issued["apiKey"], "name": "nightly", "scopes": ["scans:*"]}
    assert (await plane.call("GET", "/api/v1/targets", issued["key"])).status_code == 403


async def test_revoke_api_key_ends_it_at_once_and_repeats_quietly(acme: Organization, plane: Plane) -> None:
    issued = (await acme.post("/api-keys", {"name": "ci", "scopes": ["admin"]})).json()
    path = f"/api-keys/{issued['apiKey']['id']}"

    answers = [(await acme.delete(path)).status_code for _ in range(2)]

    assert answers == [204, 204]
    assert (await plane.call("GET", "/api/v1/quota", issued["key"])).status_code == 401
    assert (await acme.get(path)).json()["code"] == "api_key_not_found"
    assert (await acme.get(f"/audit-events?subjectId={issued['apiKey']['id']}")).json()["total"] == 2


async def test_revoke_last_admin_key_is_refused(acme: Organization, other: Organization) -> None:
    await acme.limited_to("runners:*")

    refused = await acme.delete(f"/api-keys/{await _own_key_id(acme)}")

    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
    assert (await acme.get("/api-keys")).status_code == 200


async def test_edit_last_admin_key_to_lose_admin_is_refused(acme: Organization) -> None:
    refused = await acme.patch(f"/api-keys/{await _own_key_id(acme)}", {"scopes": ["runners:*"]})

    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")


async def test_revoke_admin_key_with_only_an_expired_one_beside_it_is_refused(acme: Organization, clock: Clock) -> None:
    await acme.post("/api-keys", {"name": "old", "scopes": ["admin"], "expiresAt": "2026-05-04T00:00:00Z"})
    clock.pass_by(days=1)

    refused = await acme.delete(f"/api-keys/{await _own_key_id(acme)}")

    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")


async def test_revoke_own_key_with_another_admin_key_beside_it_is_done(acme: Organization) -> None:
    await acme.post("/api-keys", {"name": "second", "scopes": ["admin"]})

    revoked = await acme.delete(f"/api-keys/{await _own_key_id(acme)}")

    assert revoked.status_code == 204
    assert (await acme.get("/api-keys")).status_code == 401


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_api_key_of_another_organization_is_not_found(acme: Organization, other: Organization, method: str) -> None:
    path = f"/api-keys/{await _own_key_id(acme)}"

    refused = await other.call(method, path, json={"name": "mine"} if method == "PATCH" else None)

    assert (refused.status_code, refused.json()["code"]) == (404, "api_key_not_found")
    assert (await acme.get(path)).json()["apiKey"]["name"] == "bootstrap"


@in_turn(("method", "path"), [("GET", "/api-keys"), ("POST", "/api-keys"), ("DELETE", "/api-keys/x"), ("GET", "/audit-events")])
async def test_administration_without_admin_is_refused(acme: Organization, method: str, path: str) -> None:
    limited = await acme.limited_to("runners:*", "targets:*", "scans:*", "findings:*")

    refused = await limited.call(method, path, json={"name": "x", "scopes": ["admin"]} if method == "POST" else None)

    assert (refused.status_code, refused.json()["required"]) == (403, "admin")


async def test_bootstrap_again_finds_the_organization_and_issues_another_key(acme: Organization, plane: Plane) -> None:
    async with plane.resources.database.writing() as work:
        again = await bootstrap(work, "Acme")

    assert again.organization_id == acme.id
    assert again.key.reveal() != acme.key
    assert [(await plane.call("GET", "/api/v1/quota", key)).status_code for key in (acme.key, again.key.reveal())] == [200, 200]
    assert again.key.secret not in repr(again)
