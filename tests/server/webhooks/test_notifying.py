"""The operator's own services, through Apprise: the same events, and no word of their addresses anywhere."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from apviso.server.db.schema import DeliveryRow, WebhookRow
from apviso.server.settings import Settings
from apviso.server.webhooks.notifying import CannotNotify, Services, title_and_text
from tests.support.clock import Clock
from tests.support.control_plane import Plane, running
from tests.support.receiver import SECONDS, Receiver, status


async def _written_down(plane: Plane) -> None:
    """Until the log knows how an attempt went."""
    async with asyncio.timeout(SECONDS):
        while True:
            async with plane.resources.database.reading() as work:
                if await work.db.scalar(select(DeliveryRow.error).where(DeliveryRow.error.is_not(None))):
                    return
            await asyncio.sleep(0.01)


async def test_service_of_the_operator_is_told_of_every_organization_again_where_it_fails(
    settings: Settings, clock: Clock, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    service = SecretStr(receiver.url("user:pass-word@127.0.0.1", "/told").replace("http://", "json://"))
    receiver.answers = [status(500)]
    async with running(settings.model_copy(update={"notify_urls": [service], "notify_events": ["runner.enrolled"]}), clock) as plane:
        acme, other = await plane.organization("Acme"), await plane.organization("Other")
        await plane.settle()
        await acme.runner("mine")
        await plane.settle()
        refused = await receiver.next()
        await _written_down(plane)
        clock.pass_by(seconds=7)
        await other.runner("theirs")
        await plane.settle()

        got = await receiver.take(2)
        shown = (await acme.get("/webhooks")).json()["total"]
        async with plane.resources.database.reading() as work:
            rows = (await work.db.execute(select(WebhookRow.__table__))).all()

    titles = [json.loads(one.body)["title"] for one in (refused, *sorted(got, key=lambda one: one.body))]
    assert titles[0] == "runner.enrolled: mine"
    assert sorted(titles[1:]) == ["runner.enrolled: mine", "runner.enrolled: theirs"]
    assert (shown, len(rows)) == (0, 2)
    assert "pass-word" not in repr(rows) + caplog.text + repr(settings)

    async with running(settings, clock) as plane:
        await plane.settle()
        async with plane.resources.database.reading() as work:
            assert (await work.db.execute(select(WebhookRow.id))).all() == []


def test_service_that_is_not_understood_is_refused_without_its_address() -> None:
    with pytest.raises(CannotNotify) as refused:
        Services(["json://127.0.0.1/", "nonsense://pass-word@host"], ["*"])

    assert "Entry 2" in str(refused.value)
    assert "pass-word" not in str(refused.value)


def test_words_of_a_message_are_short_and_plain() -> None:
    body = {"type": "finding.created", "timestamp": "2026-05-03T09:15:32Z", "data": {"title": "x" * 10_000, "severity": "high"}}

    title, text = title_and_text(json.dumps(body))

    assert title.startswith("finding.created: xxx")
    assert (len(title), text.splitlines()[0], text.splitlines()[-1]) == (500, "at: 2026-05-03T09:15:32Z", "severity: high")
