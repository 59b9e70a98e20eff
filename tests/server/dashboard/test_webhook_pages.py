"""Webhooks and the audit trail, as pages."""

from __future__ import annotations

import re

from tests.support.people import Organization, Runner
from tests.support.visitors import Visitor, forms_of


async def add(owner: Visitor, **fields: str | list[str]) -> str:
    """Where the webhook is."""
    given: dict[str, str | list[str]] = {"url": "https://hooks.example/<in>", "events": ["runner.offline", "scan.failed"], **fields}
    answer = await owner.submit("/webhooks/add", "/webhooks/add", **given)
    assert answer.status_code == 200, answer.text
    assert re.search(r"whsec_[\w+/=]+", answer.text)
    found = re.search(r'class="button" href="(/webhooks/[0-9a-f-]{36})"', answer.text)
    assert found is not None
    return found[1]


async def test_webhook_is_added_edited_tested_switched_and_deleted(acme: Organization, owner: Visitor) -> None:
    place = await add(owner, description="<b>pager</b>")
    page = (await owner.get(place)).text
    assert "&lt;b&gt;pager&lt;/b&gt;" in page
    assert "whsec_" not in page

    await owner.submit(f"{place}/edit", f"{place}/edit", url="https://hooks.example/other", events="*")
    kept = (await acme.get(f"/webhooks/{place.rpartition('/')[2]}")).json()["webhook"]
    assert [kept["url"], kept["events"]] == ["https://hooks.example/other", ["*"]]

    await owner.submit(place, f"{place}/test")
    assert "webhook.test" in (await owner.get(place)).text

    await owner.submit(place, f"{place}/enabled")
    assert "disabled" in (await owner.get("/webhooks")).text

    rotated = await owner.submit(f"{place}/rotate-secret", f"{place}/rotate-secret")
    assert "with the earlier one as well" in rotated.text

    await owner.submit(f"{place}/delete", f"{place}/delete")
    assert (await owner.get(place)).status_code == 404


async def test_address_that_may_not_be_told_is_refused_beside_its_field(owner: Visitor) -> None:
    answer = await owner.submit("/webhooks/add", "/webhooks/add", url="http://127.0.0.1/", events="*")

    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert forms_of(answer.text)["/webhooks/add"]["url"] == "http://127.0.0.1/"


async def test_webhook_without_events_is_refused(owner: Visitor) -> None:
    answer = await owner.submit("/webhooks/add", "/webhooks/add", url="https://hooks.example/", events=[])

    assert answer.status_code == 422
    assert "Tick at least one event" in answer.text


async def test_audit_shows_who_did_what_page_by_page_and_of_one_subject(acme: Organization, runner: Runner, owner: Visitor) -> None:
    for number in range(30):
        await acme.post(f"/runners/{runner.id}/pause", {"note": f"<i>{number}</i>"})
        await acme.post(f"/runners/{runner.id}/resume", {})

    first = (await owner.get("/audit")).text
    older = re.search(r'rel="next" href="(/audit\?cursor=[^"]+)"', first)
    assert older is not None
    second = (await owner.get(older[1])).text
    of_the_runner = (await owner.get(f"/audit?subject={runner.id}")).text
    of_nothing = (await owner.get("/audit?subject=nothing")).text

    assert first.count('<tr id="event-') == 50
    assert second.count('<tr id="event-') > 10
    assert not set(re.findall(r'id="event-([^"]+)"', first)) & set(re.findall(r'id="event-([^"]+)"', second))
    assert "runner.paused" in of_the_runner
    assert "api_key.created" not in of_the_runner
    assert "Nothing was done to this" in of_nothing
    assert "<i>" not in first
