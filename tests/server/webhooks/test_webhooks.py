"""Webhooks over HTTP: make, look, change, rotate, delete."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from sqlalchemy import select

from apviso.server.db.schema import WebhookRow
from apviso.server.settings import Settings
from apviso.server.vault import CannotOpen, Vault, open_vault
from tests.server.webhooks.hooks import hook
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization

URL = "https://hooks.example.com/apviso"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As the product comes: nothing internal is allowed."""
    return settings.model_copy(update={"webhook_allowed_networks": [], "webhook_allow_http": False})


async def test_create_webhook_shows_the_secret_once(acme: Organization, plane: Plane) -> None:
    made = await acme.post("/webhooks", {"url": URL, "events": ["scan.failed", "scan.failed", "*"], "description": "pager"})

    assert made.status_code == 201
    secret, shown = made.json()["secret"], made.json()["webhook"]
    assert (secret[:6], len(base64.b64decode(secret[6:]))) == ("whsec_", 32)
    assert (shown["url"], shown["events"], shown["description"], shown["enabled"]) == (URL, ["scan.failed", "*"], "pager", True)
    assert (await acme.get(f"/webhooks/{shown['id']}")).json()["webhook"] == shown
    assert (await acme.get("/webhooks")).json()["webhooks"] == [shown]
    async with plane.resources.database.reading() as work:
        row = (await work.db.execute(select(WebhookRow.__table__))).one()
    assert secret[6:] not in repr(row)
    assert plane.resources.vault.open(row.secrets[0]["sealed"]) == secret


async def test_create_webhook_repeated_with_idempotency_key_makes_no_second_one(acme: Organization) -> None:
    body, headers = {"url": URL, "events": ["*"]}, {"Idempotency-Key": "once"}
    await acme.post("/webhooks", body, headers=headers)

    again = await acme.post("/webhooks", body, headers=headers)

    assert (again.status_code, again.json()["code"]) == (409, "already_issued")
    assert (await acme.get("/webhooks")).json()["total"] == 1


async def test_create_webhook_with_bad_body_names_the_field(acme: Organization) -> None:
    bodies: dict[str, dict[str, object]] = {
        "url of nothing": {"events": ["*"]},
        "url without tls": {"url": "http://hooks.example.com/", "events": ["*"]},
        "url inside": {"url": "https://169.254.169.254/", "events": ["*"]},
        "events of none": {"url": URL, "events": []},
    }

    refused = {name: await acme.post("/webhooks", body) for name, body in bodies.items()}

    assert {answer.status_code for answer in refused.values()} == {422}
    assert [answer.json()["errors"][0]["field"] for answer in refused.values()] == [name.split()[0] for name in refused]


async def test_edit_webhook_to_an_internal_address_is_refused(acme: Organization) -> None:
    made = await hook(acme, URL)

    refused = await acme.patch(f"/webhooks/{made.id}", {"url": "https://10.0.0.1/"})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
    assert (await made.shown())["url"] == URL


async def test_edit_webhook_changes_what_is_given_and_leaves_a_trail_without_the_path(acme: Organization) -> None:
    made = await hook(acme, URL, "scan.failed", description="pager")

    edited = await acme.patch(f"/webhooks/{made.id}", {"url": "https://b.example.com/token-1", "description": None, "enabled": False})

    shown = edited.json()["webhook"]
    assert (shown["url"], shown["description"], shown["events"]) == ("https://b.example.com/token-1", None, ["scan.failed"])
    assert (shown["enabled"], shown["disabledReason"]) == (False, "An administrator disabled it.")
    trail = await acme.get(f"/audit-events?subjectId={made.id}")
    assert [event["action"] for event in trail.json()["auditEvents"]] == ["webhook.edited", "webhook.created"]
    assert "token-1" not in trail.text


async def test_rotate_secret_shows_another_one_and_until_when_both_are_good(acme: Organization, clock: Clock) -> None:
    made = await hook(acme, URL)

    rotated = (await acme.post(f"/webhooks/{made.id}/rotate-secret")).json()

    assert rotated["secret"] != made.secret
    assert rotated["webhook"]["previousSecretsUntil"] == "2026-05-04T09:15:32Z"
    clock.pass_by(hours=24)
    assert (await made.shown())["previousSecretsUntil"] is None


async def test_delete_webhook_forgets_it_with_its_deliveries(acme: Organization, plane: Plane) -> None:
    made = await hook(acme, URL, enabled=False)
    await made.tried()

    gone = [(await acme.delete(f"/webhooks/{made.id}")).status_code for _ in range(2)]

    assert gone == [204, 404]
    assert (await acme.get("/webhooks")).json()["total"] == 0


async def test_delivery_of_another_webhook_is_not_found(acme: Organization) -> None:
    first, second = await hook(acme, URL), await hook(acme, URL)
    delivery = await first.tried()

    refused = await acme.post(f"/webhooks/{second.id}/deliveries/{delivery['id']}/replay")

    assert (refused.status_code, refused.json()["code"]) == (404, "webhook_delivery_not_found")


async def test_webhooks_without_admin_are_refused(acme: Organization) -> None:
    limited = await acme.limited_to("runners:*", "targets:*", "scans:*", "findings:*")

    refused = [await limited.get("/webhooks"), await limited.post("/webhooks", {"url": URL, "events": ["*"]})]

    assert [(answer.status_code, answer.json()["required"]) for answer in refused] == [(403, "admin")] * 2


def test_vault_makes_its_key_once_for_its_own_account_alone(tmp_path: Path) -> None:
    sealed = open_vault([], tmp_path).seal("whsec_x")

    assert open_vault([], tmp_path).open(sealed) == "whsec_x"
    assert [(file.name, stat.S_IMODE(file.stat().st_mode)) for file in tmp_path.iterdir()] == [("webhooks.key", 0o600)]


def test_vault_with_a_new_key_before_the_old_one_opens_what_either_sealed() -> None:
    old, new = "A" * 43 + "=", "B" * 42 + "A="
    sealed = Vault([old]).seal("whsec_x")

    assert Vault([new, old]).open(sealed) == "whsec_x"
    with pytest.raises(CannotOpen):
        Vault([new]).open(sealed)
