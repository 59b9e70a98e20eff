"""Keys that were used a moment ago: whatever ends or changes one counts from its next call on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx2
import pytest
from sqlalchemy import delete, select

from apviso.server.believed import BELIEVED_SECONDS
from apviso.server.db.schema import ApiKeyRow
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization

SECONDS = 20


class Key:
    """A key of `acme` that this process remembers."""

    def __init__(self, plane: Plane, issued: dict[str, dict[str, str]]) -> None:
        self._plane = plane
        self.id, self.prefix, self.text = issued["apiKey"]["id"], issued["apiKey"]["keyPrefix"], str(issued["key"])

    async def get(self, path: str = "/runners", text: str | None = None) -> httpx2.Response:
        return await self._plane.call("GET", f"/api/v1{path}", text or self.text)

    async def used(self) -> Key:
        assert (await self.get()).status_code == 200
        return self

    async def until_refused(self) -> None:
        async with asyncio.timeout(SECONDS):
            while True:
                if (await self.get()).status_code == 401:
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
async def key(acme: Organization, plane: Plane) -> Key:
    issued = await acme.post("/api-keys", {"name": "ci", "scopes": ["runners:read"], "expiresAt": "2026-05-03T10:00:00Z"})
    return await Key(plane, issued.json()).used()


async def test_key_that_is_revoked_is_refused_at_its_next_call(acme: Organization, key: Key) -> None:
    await acme.delete(f"/api-keys/{key.id}")

    assert (await key.get()).json()["code"] == "credential_invalid"


async def test_key_that_lost_a_scope_is_refused_at_its_next_call_and_one_that_got_it_is_not(acme: Organization, key: Key) -> None:
    answers = []
    for scopes in (["targets:read"], ["runners:read"]):
        await acme.patch(f"/api-keys/{key.id}", {"scopes": scopes})
        answers.append((await key.get()).status_code)

    assert answers == [403, 200]


async def test_key_of_which_nothing_but_its_name_changed_goes_on(acme: Organization, key: Key) -> None:
    await acme.patch(f"/api-keys/{key.id}", {"name": "nightly"})

    assert (await key.get()).status_code == 200


async def test_key_past_its_end_is_refused_at_its_next_call_and_opens_again_when_the_clock_is_set_back(key: Key, clock: Clock) -> None:
    clock.pass_by(minutes=50)
    after = await key.get()
    clock.pass_by(minutes=-10)

    assert [after.status_code, (await key.get()).status_code] == [401, 200]


async def test_key_with_another_secret_is_refused_while_the_right_one_is_remembered(key: Key) -> None:
    wrong = f"apvk_{key.prefix}_{'x' * 43}"

    refused = [(await key.get(text=wrong)).status_code for _ in range(2)]

    assert (refused, (await key.get()).status_code) == ([401, 401], 200)


async def test_key_that_is_gone_without_a_word_is_refused_within_a_second(plane: Plane, key: Key) -> None:
    async with plane.resources.database.writing() as work:
        await work.db.execute(delete(ApiKeyRow).where(ApiKeyRow.id == key.id))

    await key.until_refused()

    assert BELIEVED_SECONDS <= 1


async def test_key_is_read_each_time_while_other_processes_are_not_heard(plane: Plane, key: Key) -> None:
    plane.resources.signals.is_deaf = True
    async with plane.resources.database.writing() as work:
        await work.db.execute(delete(ApiKeyRow).where(ApiKeyRow.id == key.id))

    assert (await key.get()).status_code == 401


async def test_key_tells_when_it_was_used_last_once_a_minute(plane: Plane, key: Key, clock: Clock) -> None:
    began, used = clock.now, []
    for seconds in (0, 59, 2, 58):
        clock.pass_by(seconds=seconds)
        await key.used()
        async with plane.resources.database.reading() as work:
            used.append((await work.db.execute(select(ApiKeyRow.last_used_at).where(ApiKeyRow.id == key.id))).scalar_one())

    assert used == [began + timedelta(seconds=seconds) for seconds in (0, 0, 61, 61)]


class TestLimit:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"requests_per_minute": 4})

    async def test_key_that_is_remembered_counts_each_request(self, key: Key) -> None:
        answers = [await key.get() for _ in range(4)]

        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
