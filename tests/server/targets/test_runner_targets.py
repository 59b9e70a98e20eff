"""Targets as a runner sees them."""

from __future__ import annotations

from tests.support.people import Organization, Runner


async def test_runner_targets_are_those_of_its_organization(acme: Organization, other: Organization, runner: Runner) -> None:
    public = await acme.target("shop.example.com", "public")
    local = await acme.target("localhost:3000", "localhost")
    await other.target("blog.example.com", "public")

    listed = (await runner.get("/targets")).json()["targets"]

    shown = ("id", "domain", "displayUrl", "scanUrl", "visibility")
    assert listed == [{name: target[name] for name in shown} for target in (local, public)]


async def test_runner_target_of_another_organization_is_not_found(other: Organization, runner: Runner) -> None:
    target = await other.target()

    refused = await runner.get(f"/targets/{target['id']}")

    assert (refused.status_code, refused.json()["code"]) == (404, "target_not_found")


async def test_runner_targets_are_those_it_says_it_reaches(acme: Organization, runner: Runner) -> None:
    public = await acme.target("shop.example.com", "public")
    local = await acme.target("localhost:3000", "localhost")
    await runner.beat(capabilities={"targetVisibilities": ["localhost"]})

    listed = (await runner.get("/targets")).json()["targets"]
    answers = [(await runner.get(f"/targets/{target['id']}")).status_code for target in (public, local)]

    assert [target["id"] for target in listed] == [local["id"]]
    assert answers == [404, 200]


async def test_runner_target_is_wrapped_in_its_name(acme: Organization, runner: Runner) -> None:
    target = await acme.target()

    answer = (await runner.get(f"/targets/{target['id']}")).json()

    assert answer["target"]["scanUrl"] == "http://localhost:3000"
    assert set(answer["target"]) == {"id", "domain", "displayUrl", "scanUrl", "visibility"}


async def test_runner_targets_for_a_revoked_runner_are_refused(acme: Organization, runner: Runner) -> None:
    await acme.delete(f"/runners/{runner.id}")

    refused = await runner.get("/targets")

    assert (refused.status_code, refused.json()["code"]) == (401, "runner_revoked")
