"""The fleet's pages: what they say of each runner, what can be done with one, and how one comes in."""

from __future__ import annotations

import html
import re
from datetime import timedelta

from tests.server.database.crowd import crowd, put
from tests.server.scans.test_quarantine import SAID, quarantined
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner, register
from tests.support.visitors import Visitor, forms_of

HOSTILE = "<img src=x onerror=alert(1)>\u202egnp\x1b[31m"
TOKEN = re.compile(r"apve_[0-9a-f]{12}_[A-Za-z0-9_-]{20,}")


async def test_list_says_how_each_runner_stands_and_finds_by_name_label_and_status(
    acme: Organization, plane: Plane, owner: Visitor, viewer: Visitor, clock: Clock
) -> None:
    clock.pass_by(seconds=200)
    first = await acme.runner("north", labels=["dc-1"], configuredConcurrency=3, containerEngine="docker")
    await acme.runner("south")
    clock.pass_by(seconds=61)
    await first.beat(configuredConcurrency=3, health={"diskFreeBytes": 1}, providerState={"modelProvider": "openai-codex"})
    await plane.settle()

    page, looked = (await owner.get("/runners")).text, (await viewer.get("/runners")).text

    assert "disk nearly full" in page
    assert "0 / 3" in page
    assert "openai-codex" in page
    assert "no contact" in page
    assert 'aria-label="Last 24 h: ' in page
    assert "/pause" in page
    assert "/pause" not in looked
    assert "Add a runner" not in looked
    for query, seen in (("name=NOR", "north"), ("label=dc-1", "north"), ("status=offline", "south"), ("status=nonsense&name=sou", "south")):
        found = (await owner.get(f"/runners?{query}")).text
        assert {name for name in ("north", "south") if f">{name}</bdi>" in found} == {seen}, query
    assert "No runner matches." in (await owner.get("/runners?name=west")).text


async def test_two_thousand_runners_come_by_pages(acme: Organization, plane: Plane, owner: Visitor) -> None:
    async with plane.resources.database.writing() as work:
        await put(work, crowd(acme.id, 2_000))

    second = (await owner.get("/runners?page=2&name=runner")).text

    assert second.count('<tr id="runner-') == 100
    assert "page 2 of 20, 2\u202f000 in all" in second
    assert 'href="/runners?name=runner&amp;page=3"' in second


async def test_page_of_a_runner_says_all_that_is_known_of_it(
    acme: Organization, plane: Plane, owner: Visitor, viewer: Visitor, clock: Clock
) -> None:
    clock.pass_by(seconds=200)
    runner = await acme.runner("north")
    await acme.scan((await acme.target("shop.internal", "private_internal"))["id"])
    await runner.run_whole(await runner.claimed())
    clock.pass_by(seconds=90)
    await plane.settle()
    health = {"diskFreeBytes": 3 * 1024**3, "diskTotalBytes": 80 * 1024**3, "clockSkewMs": -1500, "spoolBacklogBytes": 0}
    await runner.beat(health=health, capabilities={"engine": {"version": "28.0"}, "targetVisibilities": ["localhost"]})
    windows = [{"days": [0], "start": "02:00", "end": "04:00", "timeZone": "Europe/Berlin"}]
    await acme.patch(f"/runners/{runner.id}", {"maintenanceWindows": windows})
    await acme.post(f"/runners/{runner.id}/pause", {"note": "kernel update"})
    await plane.settle()

    page, looked = (await owner.get(f"/runners/{runner.id}?days=1")).text, (await viewer.get(f"/runners/{runner.id}")).text

    for told in (
        *(
            "disk nearly full",
            "Free space in its workspace",
            "3 GiB free of 80 GiB; a fault below 5 GiB",
            "1.5 s behind; a fault beyond 30 s",
        ),
        *("kernel update", "shop.internal", "engine.version", "28.0", "Sun 02:00 to 04:00", "Last 1 day: reachable", "Resume runner"),
    ):
        assert told in page, told
    assert re.search(r"\d heartbeat gaps?", page)
    assert "Who did what to it" in page
    assert "Who did what to it" not in looked
    assert "Resume runner" not in looked


async def test_page_shows_the_evidence_against_a_runner_that_is_kept_from_scans(acme: Organization, owner: Visitor, clock: Clock) -> None:
    clock.pass_by(seconds=200)
    runner = await acme.runner("hole")
    await quarantined(acme, runner, clock)
    twin = Runner(acme.client, runner.id, runner.token)
    for machine in (runner, twin, runner, twin):
        clock.pass_by(seconds=8)
        await machine.beat()

    page = html.unescape((await owner.get(f"/runners/{runner.id}")).text)
    asked = (await owner.get(f"/runners/{runner.id}/resume")).text

    assert "it failed its scans at once" in page
    assert "Its last 3 scans failed at once; if the cause is still there, so does the next." in asked
    assert page.count(SAID) >= 3
    assert "Several machines use its identity" in page
    assert twin.boot_id in page
    assert "What was wanted of it" in page


async def test_questions_say_with_numbers_what_will_happen_and_do_it(acme: Organization, runner: Runner, owner: Visitor) -> None:
    await acme.runner("other")
    await acme.scan((await acme.target())["id"], runnerId=runner.id)
    await runner.claimed()
    at = f"/runners/{runner.id}"

    asked = {action: html.unescape((await owner.get(f"{at}/{action}")).text) for action in ("pause", "drain", "rotate", "revoke", "edit")}
    window: dict[str, str | list[str]] = {"days0": ["6", "0"], "start0": "22:00", "end0": "04:00", "zone0": "Europe/Berlin"}
    edited = await owner.submit(f"{at}/edit", f"{at}/edit", name="north", labels="dc-1\n\ndc-2", maxConcurrency="1", **window)
    kept = (await acme.get(at)).json()["runner"]["maintenanceWindows"]
    await owner.submit(f"{at}/edit", f"{at}/edit", labels="dc-1\ndc-2", start0="", end0="")
    paused = await owner.submit(f"{at}/pause", f"{at}/pause", hours="4", note="for now")
    shown = (await acme.get(at)).json()["runner"]
    await owner.submit(f"{at}/drain", f"{at}/drain", minutes="30", note="")
    drained = (await acme.get(at)).json()["runner"]
    rotated = await owner.submit(f"{at}/rotate", f"{at}/rotate")

    assert all("1 scan is running on it" in text for text in asked.values())
    assert "1 other runner is there to take them" in asked["drain"]
    assert [answer.status_code for answer in (edited, paused, rotated)] == [303] * 3
    assert (shown["name"], shown["labels"], shown["maxConcurrency"]) == ("north", ["dc-1", "dc-2"], 1)
    assert kept == [{"days": [0, 6], "start": "22:00", "end": "04:00", "timeZone": "Europe/Berlin"}]
    assert shown["maintenanceWindows"] == []
    assert (shown["adminState"], shown["adminNote"], shown["adminUntil"] is None) == ("paused", "for now", False)
    assert (drained["adminState"], drained["drainDeadline"] is None) == ("draining", False)


REFUSED = (
    ("edit", {"name": "x" * 121}, "at most 120"),
    ("edit", {"name": "north", "maxConcurrency": "many"}, "a whole number"),
    ("edit", {"name": "north", "start0": "09:30", "zone0": "Mars/Olympus"}, "Each window needs at least one day"),
    ("pause", {"until": "yesterday"}, "a time of UTC"),
    ("pause", {"until": "2001-01-01T00:00"}, "is in the past"),
    ("drain", {"minutes": "1e9"}, "whole number of minutes"),
    ("drain", {"minutes": "999999"}, "less than or equal"),
    ("revoke", {"name": "another"}, "not its name"),
)


async def test_form_that_is_refused_says_why_beside_the_field(runner: Runner, owner: Visitor) -> None:
    for action, fields, told in REFUSED:
        address = f"/runners/{runner.id}/{action}"

        answer = await owner.submit(address, address, **fields)

        assert answer.status_code == 422, told
        assert told in answer.text, told
        assert ('aria-invalid="true"' in answer.text) or ('role="alert"' in answer.text), told
        written = forms_of(answer.text)[address]
        assert {name: written[name] for name in fields} == fields, told


async def test_runner_is_revoked_by_its_name_as_a_page_shows_it(acme: Organization, owner: Visitor) -> None:
    runner = await acme.runner("left\u202eright")
    address = f"/runners/{runner.id}/revoke"

    answer = await owner.submit(address, address, name="left⟨U+202E⟩right")

    assert answer.status_code == 303
    assert (await acme.get(f"/runners/{runner.id}")).json()["runner"]["status"] == "revoked"
    assert "Revoke runner" not in (await owner.get(f"/runners/{runner.id}")).text


async def test_token_is_on_one_page_alone_and_in_no_command(acme: Organization, owner: Visitor) -> None:
    empty = (await owner.get("/runners")).text
    made = await owner.submit("/runners", "/runners/add", name="north", labels="dc-1", expiresInSeconds="300")
    [token] = set(TOKEN.findall(made.text))
    prefix = token.split("_")[1]
    again, listed = (await owner.get(f"/runners/tokens/{prefix}")).text, (await owner.get("/runners/add")).text

    assert "No runner yet" in empty
    assert "apviso register --api-url http://control-plane --token-file -" in made.text
    assert made.text.count(token) == 1
    assert made.headers["cache-control"] == "no-store"
    assert token not in again + listed
    assert "was shown once" in again
    assert prefix in listed
    refused = await owner.submit("/runners/add", "/runners/add", name="x" * 121)
    assert (refused.status_code, "at most 120" in refused.text) == (422, True)


async def test_page_of_a_token_turns_into_the_runner_that_came_with_it(
    acme: Organization, owner: Visitor, clock: Clock, plane: Plane
) -> None:
    token = await acme.enrollment_token(name="north")
    address = f"/runners/tokens/{token.split('_')[1]}"
    waiting = (await owner.get(address)).text
    told = (await register(acme.client, token, containerEngine="docker", configuredConcurrency=2)).json()
    registered = (await owner.get(address)).text
    runner = Runner(acme.client, told["runner"]["id"], told["token"])
    clock.pass_by(seconds=5)
    await runner.beat(containerEngine="docker", configuredConcurrency=2, capabilities={"engine": {"version": "28.0"}})
    await plane.settle()
    clock.pass_by(seconds=4)
    arrived = re.sub(r"<[^>]+>", "", (await owner.get(address)).text)

    assert "data-waiting" in waiting
    assert "does not run yet" in registered
    assert "north came online 4 s ago, docker 28.0, 2 slots." in arrived
    assert "runner online" in arrived


async def test_token_that_ended_says_how(acme: Organization, owner: Visitor, clock: Clock) -> None:
    revoked, expired = [(await acme.enrollment_token(expiresInSeconds=300)).split("_")[1] for _ in range(2)]

    answer = await owner.submit(f"/runners/tokens/{revoked}/revoke", f"/runners/tokens/{revoked}/revoke")
    clock.now += timedelta(seconds=301)

    assert answer.headers["location"] == "/runners/add"
    assert "was revoked 5 min ago" in re.sub(r"<[^>]+>", "", (await owner.get(f"/runners/tokens/{revoked}")).text)
    assert "ran out 1 s ago" in re.sub(r"<[^>]+>", "", (await owner.get(f"/runners/tokens/{expired}")).text)
    assert "nothing to revoke" in (await owner.get(f"/runners/tokens/{expired}/revoke")).text


async def test_hostile_words_of_a_runner_are_text_on_every_page(acme: Organization, owner: Visitor) -> None:
    long = "A" * 10_000
    facts = {"modelProvider": HOSTILE, HOSTILE: long, "deep": {"er": [HOSTILE, None, True]}}
    runner = await acme.runner(HOSTILE, labels=[HOSTILE], os=HOSTILE, arch=HOSTILE, containerEngine=HOSTILE, version=HOSTILE)
    told = {"health": {"diskFreeBytes": 1e300, "clockSkewMs": True, "spoolBacklogBytes": "much"}, "version": HOSTILE, "os": HOSTILE}
    (
        await runner.beat(providerState=facts, capabilities={"engine": {"version": HOSTILE}, **facts}, containerEngine=HOSTILE, **told)
    ).raise_for_status()
    await acme.post(f"/runners/{runner.id}/pause", {"note": HOSTILE + long[:900]})
    token = (await acme.enrollment_token(name=HOSTILE, labels=[HOSTILE])).split("_")[1]
    at = f"/runners/{runner.id}"

    addresses = ("/runners", at, *(f"{at}/{action}" for action in ("edit", "pause", "resume", "drain", "rotate", "revoke")))
    for address in (*addresses, "/runners/add", f"/runners/tokens/{token}", f"/runners/tokens/{token}/revoke"):
        answer = await owner.get(address)
        assert answer.status_code == 200, address
        assert "<img" not in answer.text, address
        assert not {"\u202e", "\x1b"}.intersection(answer.text), address
        assert long not in answer.text, address
