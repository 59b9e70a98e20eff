"""Licenses that were looked at a moment ago, in what only shows them."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from sqlalchemy import delete

from apviso.server import operator
from apviso.server.db.schema import LicenseRow
from apviso.server.settings import Settings
from tests.server.licensing.test_quota import ISSUER, install, signed
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization

SECONDS = 20


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A control plane that trusts one issuer."""
    public = base64.b64encode(ISSUER.public_key().public_bytes_raw()).decode()
    return settings.model_copy(update={"license_issuer_keys": [public]})


async def shown(organization: Organization) -> list[dict[str, Any]]:
    """The license wherever it is shown with the runners."""
    answers = [(await organization.get(f"/runners{path}")).json() for path in ("", "/readiness")]
    return [answers[0]["readiness"]["license"], answers[1]["license"]]


async def states(organization: Organization) -> list[tuple[str, str]]:
    return [(one["plan"], one["licenseState"]) for one in await shown(organization)]


async def test_license_that_is_installed_is_shown_at_the_next_look(acme: Organization, plane: Plane) -> None:
    before = await states(acme)

    await install(plane, acme)

    assert before == [("community", "active")] * 2
    assert await states(acme) == [("team", "active")] * 2


async def test_license_past_its_end_is_shown_so_at_the_next_look(acme: Organization, plane: Plane, clock: Clock) -> None:
    await install(plane, acme)
    before = await states(acme)

    clock.pass_by(days=31)
    in_grace = await states(acme)
    clock.pass_by(days=-2)

    assert (before, in_grace) == ([("team", "active")] * 2, [("team", "grace")] * 2)
    assert await states(acme) == before


async def test_license_of_another_organization_is_not_shown(acme: Organization, other: Organization, plane: Plane) -> None:
    await install(plane, acme)

    assert await states(acme) != await states(other)


async def test_license_that_is_gone_without_a_word_is_shown_so_within_a_second(acme: Organization, plane: Plane) -> None:
    await install(plane, acme)
    before = await states(acme)
    async with plane.resources.database.writing() as work:
        await work.db.execute(delete(LicenseRow))

    await until_shown(acme, ("community", "active"))

    assert before == [("team", "active")] * 2


async def test_license_is_read_each_time_while_other_processes_are_not_heard(acme: Organization, plane: Plane) -> None:
    await install(plane, acme)
    before = await states(acme)
    plane.resources.signals.is_deaf = True
    async with plane.resources.database.writing() as work:
        await work.db.execute(delete(LicenseRow))

    assert (before, await states(acme)) == ([("team", "active")] * 2, [("community", "active")] * 2)


async def test_license_that_is_gone_without_a_word_permits_nothing_more_from_then_on(acme: Organization, plane: Plane) -> None:
    await install(plane, acme)
    before = await states(acme)
    async with plane.resources.database.writing() as work:
        await work.db.execute(delete(LicenseRow))

    refused = await acme.post("/targets", {"domain": "shop.example.com", "visibility": "partner_client"})

    assert before == [("team", "active")] * 2
    assert (refused.status_code, (await acme.get("/quota")).json()["tier"]) == (403, "community")


async def test_license_that_an_operator_installed_beside_the_server_is_in_force_there_when_the_command_has_ended(
    acme: Organization, plane: Plane
) -> None:
    before = await states(acme)

    await operator.install_license(plane.resources.settings, signed(plane), None, "Acme")

    assert before == [("community", "active")] * 2
    assert await states(acme) == [("team", "active")] * 2


async def until_shown(organization: Organization, wanted: tuple[str, str]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            if await states(organization) == [wanted] * 2:
                return
            await asyncio.sleep(0.01)
