"""The schedules' pages: made, changed, switched off and deleted by forms, with their runs and reasons."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner
from tests.support.visitors import Visitor, forms_of, visitor

FORM = {"when": "weekly", "at": "02:30", "dayOfWeek": "0", "modelPreset": "medium", "whenUnavailable": "queue", "ifMissed": "skip"}


async def test_schedule_is_made_changed_switched_and_deleted_by_forms(acme: Organization, owner: Visitor, viewer: Visitor) -> None:
    target = await acme.target("shop.internal", "private_internal")
    fields = {**FORM, "targetId": target["id"], "timeZone": "Europe/Berlin"}

    made = await owner.submit("/schedules/add", "/schedules/add", **fields)

    path = made.headers["location"]
    schedule = (await acme.get(path)).json()["schedule"]
    assert (schedule["frequency"], schedule["dayOfWeek"], schedule["dayOfMonth"], schedule["enabled"]) == ("weekly", 0, None, True)
    assert schedule["nextRunAt"] == "2026-05-10T00:30:00Z"
    shown = (await owner.get(path)).text
    assert all(words in shown for words in ("shop.internal", "every Sunday at 02:30", "Sun 2026-05-10 02:30", "No run was due yet."))
    await owner.submit(f"{path}/edit", f"{path}/edit", **{**fields, "when": "cron", "cron": "15 4 * * MON-FRI"})
    assert (await acme.get(path)).json()["schedule"]["cron"] == "15 4 * * MON-FRI"
    await owner.submit(f"{path}/edit", f"{path}/edit", **{**fields, "when": "monthly", "dayOfMonth": "28", "timeZone": "UTC"})
    schedule = (await acme.get(path)).json()["schedule"]
    assert (schedule["cron"], schedule["frequency"], schedule["dayOfMonth"]) == (None, "monthly", 28)
    assert schedule["nextRunAt"] == "2026-05-28T02:30:00Z"
    await owner.submit(path, f"{path}/disable")
    assert (await acme.get(path)).json()["schedule"]["enabled"] is False
    await owner.submit(path, f"{path}/enable")
    assert "on day 28 of each month at 02:30" in (await viewer.get("/schedules")).text
    assert list(forms_of((await viewer.get(path)).text)) == ["/sign-out"]
    await owner.submit(f"{path}/delete", f"{path}/delete")
    assert (await acme.get(path)).status_code == 404


async def test_form_that_is_refused_says_why_beside_its_field(acme: Organization, owner: Visitor) -> None:
    target = await acme.target()
    page, fields = "/schedules/add", {**FORM, "targetId": target["id"], "timeZone": "Europe/Berlin"}

    wrong = {
        "is no time zone": await owner.submit(page, page, **{**fields, "timeZone": "Mars/Olympus"}),
        "five fields": await owner.submit(page, page, **{**fields, "when": "cron", "cron": "<b> *</b>"}),
        "is needed, or cron": await owner.submit(page, page, **{**fields, "when": "cron", "cron": ""}),
        "is needed with a frequency": await owner.submit(page, page, **{**fields, "at": ""}),
        "Input should be": await owner.submit(page, page, **{**fields, "when": ""}),
        "less than or equal to 28": await owner.submit(page, page, **{**fields, "when": "monthly", "dayOfMonth": "31"}),
    }

    for words, answer in wrong.items():
        assert (answer.status_code, words in answer.text) == (422, True), words
    assert 'value="&lt;b&gt; *&lt;/b&gt;"' in wrong["five fields"].text
    gone = await owner.submit(page, page, **{**fields, "targetId": "01a22ae3-0000-7000-8000-000000000000"})
    assert gone.status_code == 404
    assert (await acme.get("/schedules")).json()["total"] == 0


async def test_runs_are_told_with_their_reasons(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    busy = await acme.target("localhost:1")
    made = await acme.post("/schedules", {"targetId": busy["id"], "frequency": "daily", "hour": 2, "whenUnavailable": "reject"})
    schedule = made.json()["schedule"]
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)
    await plane.settle()
    clock.now = datetime(2026, 5, 5, 2, 0, tzinfo=UTC)
    await runner.beat()
    await plane.settle()
    # Whoever had signed in the day before would have to do so again.
    owner = await visitor(plane, acme.id)

    listed, shown = (await owner.get(f"/schedules?target={busy['id']}")).text, (await owner.get(f"/schedules/{schedule['id']}")).text

    assert "every day at 02:00" in listed
    assert ("started" in listed, "skipped" in listed) == (True, False)
    assert all(words in shown for words in ("Started when it was due.", "Open scan", "skipped", "No runner is online", "runner online"))
    assert "This target has no schedule." in (await owner.get("/schedules?target=nobody")).text
