"""The audit trail over HTTP."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tests.support.people import Organization


async def test_audit_events_tell_who_did_what_newest_first(acme: Organization, clock: Clock) -> None:
    clock.pass_by(seconds=1)
    created = await acme.post("/targets", {"domain": "shop.example.com"}, headers={"X-Request-Id": "request-7"})
    target = created.json()["target"]

    events = (await acme.get("/audit-events")).json()["auditEvents"]

    assert events[0] == {
        "id": events[0]["id"],
        "at": "2026-05-03T09:15:33Z",
        "actor": acme.key.split("_")[1],
        "action": "target.created",
        "subjectType": "target",
        "subjectId": target["id"],
        "details": {"domain": "shop.example.com", "visibility": "public"},
        "requestId": "request-7",
    }
    assert {(event["actor"], event["action"]) for event in events[1:]} == {
        ("operator", "organization.created"),
        ("operator", "api_key.created"),
    }


async def test_audit_events_page(acme: Organization) -> None:
    page = (await acme.get("/audit-events?limit=1&page=2")).json()

    assert len(page["auditEvents"]) == 1
    assert (page["total"], page["page"], page["totalPages"]) == (2, 2, 2)


async def test_audit_events_of_a_refused_change_are_none(acme: Organization) -> None:
    before = (await acme.get("/audit-events")).json()["total"]

    await acme.post("/targets", {"domain": "10.0.0.7"})

    assert (await acme.get("/audit-events")).json()["total"] == before


async def test_audit_events_of_another_organization_are_not_shown(acme: Organization, other: Organization) -> None:
    target = await acme.target()

    shown = (await other.get(f"/audit-events?subjectId={target['id']}")).json()

    assert (shown["auditEvents"], shown["total"]) == ([], 0)


@pytest.mark.parametrize("query", ["limit=0", "page=-1", f"subjectId={'x' * 65}"])
async def test_audit_events_with_bad_query_name_the_field(acme: Organization, query: str) -> None:
    refused = await acme.get(f"/audit-events?{query}")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, query.partition("=")[0])
