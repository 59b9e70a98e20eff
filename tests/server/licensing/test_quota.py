"""The quota over HTTP, and licenses taken up by a control plane that runs."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apviso.protocol.states import Visibility
from apviso.protocol.wire import OrganizationId
from apviso.server.licensing import store
from apviso.server.licensing.license import Terms, sign
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner, register

ISSUER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A control plane that trusts one issuer."""
    public = base64.b64encode(ISSUER.public_key().public_bytes_raw()).decode()
    return settings.model_copy(update={"license_issuer_keys": [public]})


def signed(plane: Plane, **terms: Any) -> str:
    wanted = {
        "license_id": "license-1",
        "organization": "Acme",
        "plan": "team",
        "runner_limit": 1,
        "concurrent_job_limit": 1,
        "target_limit": 1,
        "allowed_target_visibilities": list(Visibility),
        "issued_at": plane.clock.now,
        "expires_at": plane.clock.now + timedelta(days=30),
        "grace_days": 7,
    }
    return sign(Terms(**{**wanted, **terms}), ISSUER)


async def install(plane: Plane, holder: Organization, **terms: Any) -> None:
    async with plane.resources.database.writing() as work:
        await store.install(work, OrganizationId(holder.id), signed(plane, **terms))


async def test_quota_without_a_license_is_the_community_plan(acme: Organization) -> None:
    quota = (await acme.get("/quota")).json()

    assert quota == {
        "tier": "community",
        "source": "self_hosted_license",
        "license": {
            "plan": "community",
            "licenseState": "active",
            "canRegisterRunner": True,
            "canStartSelfHostedScan": True,
            "canScanPrivateTarget": True,
            "runnerLimit": 10,
            "concurrentJobLimit": 10,
            "targetLimit": 25,
            "allowedTargetVisibilities": ["public", "staging_preview", "private_internal", "localhost"],
            "expiresAt": None,
        },
        "usage": {"runners": 0, "concurrentJobs": 0, "targets": 0},
    }


async def test_quota_counts_registered_runners_live_jobs_and_targets(acme: Organization, other: Organization, runner: Runner) -> None:
    gone = await acme.runner("gone")
    await acme.delete(f"/runners/{gone.id}")
    target = await acme.target()
    await acme.scan(target["id"])
    job = await runner.claimed()

    during = (await acme.get("/quota")).json()["usage"]
    (await runner.run_whole(job)).raise_for_status()
    after = (await acme.get("/quota")).json()["usage"]

    assert during == {"runners": 1, "concurrentJobs": 1, "targets": 1}
    assert after == {"runners": 1, "concurrentJobs": 0, "targets": 1}
    assert (await other.get("/quota")).json()["usage"] == {"runners": 0, "concurrentJobs": 0, "targets": 0}


async def test_quota_with_any_scope_is_shown(acme: Organization) -> None:
    limited = await acme.limited_to("findings:read")

    assert (await limited.get("/quota")).status_code == 200


async def test_license_installed_while_running_takes_effect_at_once(acme: Organization, plane: Plane) -> None:
    await install(plane, acme)

    quota = (await acme.get("/quota")).json()

    assert (quota["tier"], quota["license"]["licenseState"], quota["license"]["runnerLimit"]) == ("team", "active", 1)
    assert (await acme.post("/targets", {"domain": "shop.example.com", "visibility": "partner_client"})).status_code == 201


async def test_license_of_another_organization_permits_nothing(acme: Organization, plane: Plane) -> None:
    await install(plane, acme, organization="Other")

    refused = await acme.post("/targets", {"domain": "shop.example.com"})

    assert (refused.status_code, refused.json()["code"]) == (402, "license_inactive")
    assert (await acme.get("/quota")).json()["license"]["licenseState"] == "none"


async def test_license_past_its_grace_permits_no_new_target_and_no_edit_to_another_kind(
    acme: Organization, plane: Plane, clock: Clock
) -> None:
    await install(plane, acme)
    target = await acme.target("shop.example.com", "public")
    clock.pass_by(days=36, hours=23)
    in_grace = await acme.patch(f"/targets/{target['id']}", {"visibility": "staging_preview"})
    clock.pass_by(hours=1)

    refused = await acme.patch(f"/targets/{target['id']}", {"visibility": "public"})

    assert in_grace.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (402, "license_inactive")
    assert (await acme.patch(f"/targets/{target['id']}", {"displayUrl": "https://www.example.com"})).status_code == 200


async def test_license_limits_are_told_with_limit_and_observed(acme: Organization, plane: Plane) -> None:
    await install(plane, acme)
    await acme.runner()
    token = await acme.enrollment_token()

    refused = await register(plane.client, token)

    assert (refused.status_code, refused.json()["code"]) == (402, "license_limit_reached")
    assert (refused.json()["limit"], refused.json()["observed"]) == (1, 1)
