"""Targets over HTTP: what can be added, seen, changed and deleted, and by whom."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from apviso.server.db.schema import TargetRow
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


async def test_create_target_with_domain_alone_gets_the_defaults(acme: Organization) -> None:
    created = await acme.post("/targets", {"domain": "Shop.Example.COM."})

    assert created.status_code == 201
    target = created.json()["target"]
    assert target == {
        "id": target["id"],
        "domain": "shop.example.com",
        "displayUrl": "https://shop.example.com",
        "scanUrl": "https://shop.example.com",
        "visibility": "public",
        "executionMode": "self_hosted_runner",
        "authConfigMode": "runner_local",
        "scanWindows": [],
        "verified": False,
        "verifiedAt": None,
        "verificationMethod": None,
        "verificationCheckedAt": None,
        "verificationError": None,
        "lastScanAt": None,
        "openFindings": {"critical": 0, "high": 0, "medium": 0, "low": 0, "info": 0},
        "createdAt": "2026-05-03T09:15:32Z",
    }


async def test_create_target_with_unknown_member_is_accepted(acme: Organization) -> None:
    created = await acme.post("/targets", {"domain": "shop.example.com", "promoCode": "SPRING"})

    assert created.status_code == 201
    assert "promoCode" not in created.json()["target"]


async def test_create_target_with_same_domain_in_another_spelling_is_refused(acme: Organization) -> None:
    await acme.target("shop.example.com", "public")

    again = await acme.post("/targets", {"domain": "SHOP.example.com."})

    assert (again.status_code, again.json()["code"]) == (409, "target_exists")


async def test_create_target_with_domain_of_another_organization_is_accepted(acme: Organization, other: Organization) -> None:
    await acme.target("shop.example.com", "public")

    created = await other.post("/targets", {"domain": "shop.example.com"})

    assert created.status_code == 201


async def test_create_target_many_times_at_once_makes_one(acme: Organization) -> None:
    answers = await asyncio.gather(*(acme.post("/targets", {"domain": "shop.example.com"}) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert (await acme.get("/targets")).json()["total"] == 1


async def test_create_target_repeated_with_idempotency_key_gives_the_same_target(acme: Organization) -> None:
    body, headers = {"domain": "shop.example.com"}, {"Idempotency-Key": "once"}

    first = await acme.post("/targets", body, headers=headers)
    second = await acme.post("/targets", body, headers=headers)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()


async def test_create_target_with_idempotency_key_of_another_request_is_refused(acme: Organization) -> None:
    await acme.post("/targets", {"domain": "shop.example.com"}, headers={"Idempotency-Key": "once"})

    reused = await acme.post("/targets", {"domain": "blog.example.com"}, headers={"Idempotency-Key": "once"})

    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


@in_turn(
    ("body", "field"),
    [
        ({}, "domain"),
        ({"domain": ""}, "domain"),
        ({"domain": 7}, "domain"),
        ({"domain": "https://shop.example.com/x"}, "domain"),
        ({"domain": "shop.example.com", "visibility": "secret"}, "visibility"),
        ({"domain": "shop.example.com", "scanUrl": "ftp://shop.example.com"}, "scanUrl"),
        ({"domain": "shop.example.com", "displayUrl": "https://u:p@shop.example.com"}, "displayUrl"),
        ({"domain": "10.0.0.7"}, "domain"),
        ({"domain": "shop.example.com", "scanUrl": "http://169.254.169.254/latest"}, "scanUrl"),
        ({"domain": "shop.example.com", "displayUrl": "http://intranet"}, "displayUrl"),
        ({"domain": "shop.example.com", "visibility": "localhost"}, "domain"),
        ({"domain": "localhost", "scanUrl": "http://10.0.0.7", "visibility": "localhost"}, "scanUrl"),
    ],
)
async def test_create_target_with_bad_body_names_the_field(acme: Organization, body: dict[str, object], field: str) -> None:
    refused = await acme.post("/targets", body)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_fields")
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert (await acme.get("/targets")).json()["total"] == 0


async def test_create_target_of_visibility_outside_the_license_is_refused(acme: Organization) -> None:
    refused = await acme.post("/targets", {"domain": "shop.example.com", "visibility": "partner_client"})

    assert (refused.status_code, refused.json()["code"]) == (403, "visibility_not_allowed")


async def test_create_target_beyond_the_limit_is_refused_and_keeps_nothing(acme: Organization) -> None:
    for number in range(25):
        await acme.target(f"shop{number}.example.com", "public")

    refused = await acme.post("/targets", {"domain": "one-more.example.com"})

    assert (refused.status_code, refused.json()["code"]) == (402, "license_limit_reached")
    assert (refused.json()["limit"], refused.json()["observed"]) == (25, 25)
    assert (await acme.get("/targets")).json()["total"] == 25


async def test_list_targets_pages_newest_first(acme: Organization, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        await acme.target(f"{name}.example.com", "public")
        clock.pass_by(seconds=1)

    page = (await acme.get("/targets?page=2&limit=2")).json()

    assert [target["domain"] for target in page["targets"]] == ["a.example.com"]
    assert {name: page[name] for name in ("total", "page", "limit", "totalPages")} == {"total": 3, "page": 2, "limit": 2, "totalPages": 2}


@in_turn("query", ["page=0", "limit=0", "limit=101", "page=x"])
async def test_list_targets_with_bad_page_is_refused(acme: Organization, query: str) -> None:
    refused = await acme.get(f"/targets?{query}")

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == query.partition("=")[0]


async def test_get_target_unchanged_answers_not_modified(acme: Organization) -> None:
    target = await acme.target()
    first = await acme.get(f"/targets/{target['id']}")

    second = await acme.get(f"/targets/{target['id']}", headers={"If-None-Match": first.headers["etag"]})

    assert first.json() == {"target": target}
    assert (second.status_code, second.content) == (304, b"")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_target_of_another_organization_is_not_found(acme: Organization, other: Organization, method: str) -> None:
    target = await acme.target()

    refused = await other.call(method, f"/targets/{target['id']}", json={} if method == "PATCH" else None)

    assert (refused.status_code, refused.json()["code"]) == (404, "target_not_found")
    assert (await acme.get(f"/targets/{target['id']}")).status_code == 200


@in_turn(
    ("method", "path"),
    [("GET", "/targets"), ("POST", "/targets"), ("GET", "/targets/x"), ("PATCH", "/targets/x"), ("DELETE", "/targets/x")],
)
async def test_target_calls_without_the_scope_are_refused(acme: Organization, method: str, path: str) -> None:
    limited = await acme.limited_to("scans:*")

    refused = await limited.call(method, path, json={} if method in ("POST", "PATCH") else None)

    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert refused.json()["required"] == ("targets:read" if method == "GET" else "targets:write")


async def test_edit_target_display_url_keeps_the_proof_of_control(acme: Organization, plane: Plane) -> None:
    target = await acme.target("shop.example.com", "public")
    await _verify(plane, target["id"])

    edited = await acme.patch(f"/targets/{target['id']}", {"displayUrl": "https://www.example.com/shop"})

    proved = {"verified": True, "verifiedAt": "2026-05-03T09:15:32Z"}
    assert edited.json()["target"] == {**target, "displayUrl": "https://www.example.com/shop", **proved}


@pytest.mark.parametrize("change", [{"scanUrl": "https://blog.example.com"}, {"visibility": "staging_preview"}])
async def test_edit_target_to_another_host_or_visibility_ends_the_proof_of_control(
    acme: Organization, plane: Plane, change: dict[str, str]
) -> None:
    target = await acme.target("shop.example.com", "public")
    await _verify(plane, target["id"])

    edited = await acme.patch(f"/targets/{target['id']}", change)

    assert edited.json()["target"] == {**target, **change, "verified": False}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scanUrl": "http://10.0.0.7/"}, "scanUrl"),
        ({"scanUrl": "nonsense"}, "scanUrl"),
        ({"visibility": "localhost"}, "visibility"),
        ({"displayUrl": "https://shop.example.com/#top"}, "displayUrl"),
    ],
)
async def test_edit_target_against_the_rules_is_refused_and_changes_nothing(acme: Organization, change: dict[str, str], field: str) -> None:
    target = await acme.target("shop.example.com", "public")

    refused = await acme.patch(f"/targets/{target['id']}", change)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    assert (await acme.get(f"/targets/{target['id']}")).json()["target"] == target


async def test_edit_target_to_visibility_outside_the_license_is_refused(acme: Organization) -> None:
    target = await acme.target("shop.example.com", "public")

    refused = await acme.patch(f"/targets/{target['id']}", {"visibility": "partner_client"})

    assert (refused.status_code, refused.json()["code"]) == (403, "visibility_not_allowed")


async def test_edit_target_with_nothing_changes_nothing(acme: Organization) -> None:
    target = await acme.target()

    edited = await acme.patch(f"/targets/{target['id']}", {})

    assert edited.json()["target"] == target
    assert (await acme.get(f"/audit-events?subjectId={target['id']}")).json()["total"] == 1


async def test_delete_target_never_scanned_makes_room_for_it_again(acme: Organization) -> None:
    target = await acme.target()

    deleted = await acme.delete(f"/targets/{target['id']}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await acme.get(f"/targets/{target['id']}")).status_code == 404
    assert (await acme.target())["domain"] == target["domain"]


async def test_delete_target_with_scans_is_refused(acme: Organization, runner: Runner) -> None:
    target = await acme.target()
    await acme.scan(target["id"])

    refused = await acme.delete(f"/targets/{target['id']}")

    assert (refused.status_code, refused.json()["code"]) == (409, "target_has_scans")
    assert (await acme.get(f"/targets/{target['id']}")).status_code == 200


async def test_target_changes_are_audited_with_who_and_what(acme: Organization) -> None:
    target = await acme.target("shop.example.com", "public")
    await acme.patch(f"/targets/{target['id']}", {"visibility": "staging_preview"})
    await acme.delete(f"/targets/{target['id']}")

    events = (await acme.get(f"/audit-events?subjectId={target['id']}")).json()["auditEvents"]

    assert {event["action"] for event in events} == {"target.created", "target.edited", "target.deleted"}
    assert {event["actor"] for event in events} == {acme.key.split("_")[1]}


async def _verify(plane: Plane, target_id: str) -> None:
    """Control has been proved; the way to prove it is not under test here."""
    async with plane.resources.database.writing() as work:
        await work.db.execute(update(TargetRow).where(TargetRow.id == target_id).values(verified_at=work.now))


async def test_target_cannot_be_moved_under_a_scan_that_waits_for_it(acme: Organization) -> None:
    await acme.runner("runner-1")
    target = await acme.target("shop.example.com", visibility="private_internal")
    await acme.scan(target["id"])

    moved = await acme.patch(f"/targets/{target['id']}", {"visibility": "staging_preview"})
    renamed = await acme.patch(f"/targets/{target['id']}", {"displayUrl": "https://shop.example.com/start"})

    assert (moved.status_code, moved.json()["code"]) == (409, "scan_already_active")
    assert renamed.status_code == 200
