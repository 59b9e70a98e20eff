"""Commands for what goes on by itself, as real processes: schedules, webhooks, proof of control."""

from __future__ import annotations

import json

import pytest

from tests.server.client.conftest import Shell
from tests.support.people import Organization

pytestmark = pytest.mark.slow


async def test_schedule_is_added_switched_off_and_deleted_by_commands(shell: Shell, acme: Organization) -> None:
    await acme.target()
    words = ("--frequency", "weekly", "--hour", "3", "--day-of-week", "1", "--time-zone", "Europe/Berlin")

    added = await shell.run("schedules", "add", "localhost:3000", *words, "--json")
    schedule = json.loads(added.out)["schedule"]
    disabled = await shell.run("schedules", "disable", schedule["id"])
    listed = await shell.run("schedules", "list")
    deleted = await shell.run("schedules", "delete", schedule["id"])

    assert (added.code, disabled.code, listed.code, deleted.code) == (0, 0, 0, 0)
    assert len(schedule["nextRuns"]) == 5
    assert "weekly monday 03:00" in listed.out
    assert (await acme.get("/schedules")).json()["schedules"] == []


async def test_webhook_gives_its_secret_once_and_alone(shell: Shell, acme: Organization) -> None:
    added = await shell.run("webhooks", "add", "https://hooks.example.com/apviso", "--event", "scan.completed")
    listed = await shell.run("webhooks", "list", "--json")
    known = json.loads(listed.out)["webhooks"][0]["id"]
    disabled = await shell.run("webhooks", "disable", known)
    enabled = await shell.run("webhooks", "enable", known, "--json")
    strange = await shell.run("webhooks", "add", "https://hooks.example.com/apviso", "--event", "no.such.event")

    assert (added.code, listed.code, strange.code) == (0, 0, 64), added
    assert (added.out.startswith("whsec_"), added.out.count("\n")) == (True, 1)
    assert added.out.strip() not in added.err + listed.out
    assert json.loads(listed.out)["webhooks"][0]["events"] == ["scan.completed"]
    assert "An administrator disabled it." in disabled.out
    assert json.loads(enabled.out)["webhook"]["enabled"]


async def test_target_says_how_control_of_it_is_proved(shell: Shell, acme: Organization) -> None:
    await acme.target("shop.example.com", "public")

    shown = await shell.run("targets", "verify", "shop.example.com")

    assert shown.code == 0, shown
    assert "dns_txt" in shown.out
