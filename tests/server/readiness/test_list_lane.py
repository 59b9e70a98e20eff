"""Lists of runners that are answered before the framework: the same answers as on the documented way, and every doubt takes that one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from sqlalchemy import delete

from apviso.protocol.wire import OrganizationId
from apviso.server.db.schema import ApiKeyRow, LicenseRow
from apviso.server.licensing import store as licenses
from apviso.server.settings import Settings
from apviso.server.signals import ACCESS
from tests.support.clock import Clock
from tests.support.control_plane import Plane, answered_from_memory
from tests.support.people import Organization, Runner

PATHS = ["/runners", "/runners?page=1", "/runners?limit=100", "/runners?page=2&limit=1&brief=false", "/runners?brief=true"]
PATHS += ["/runners/readiness", "/runners/readiness?brief=true"]
OTHER_WORDS = ["limit=1&page=2", "page=2limit=1", "page=1&page=2", "limit=0", "limit=101", "page=x", "page=1&", "status=online"]
TIMES = 10


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """On PostgreSQL other processes are asked for their writes once in a flush interval, which no test here outlasts."""
    return settings.model_copy(update={"presence_flush_seconds": 1000})


class Reader:
    """A key of `acme` that reads runners, by whichever way."""

    def __init__(self, plane: Plane, organization: Organization) -> None:
        self.plane, self.organization = plane, organization

    async def get(self, path: str = "/runners", **headers: str) -> httpx2.Response:
        return await self.organization.get(path, headers=headers)

    async def fast(self, path: str = "/runners", **headers: str) -> httpx2.Response:
        """The second of two calls, of which it is certain that the framework did not answer it; a key is believed for a second alone."""
        call = "readiness" if "readiness" in path else "list"
        for _ in range(TIMES):
            await self.get(path)
            before = await answered_from_memory(self.plane, call)
            answer = await self.get(path, **headers)
            if await answered_from_memory(self.plane, call) == before + 1:
                return answer
        raise AssertionError("the framework answers each time")

    async def documented(self, path: str = "/runners", **headers: str) -> httpx2.Response:
        self.plane.app.has_fast_lane = False
        try:
            return await self.get(path, **headers)
        finally:
            self.plane.app.has_fast_lane = True


@pytest.fixture
async def reader(plane: Plane, acme: Organization, runner: Runner) -> Reader:
    await acme.runner("runner-2")
    return Reader(plane, await acme.limited_to("runners:read"))


def comparable(answer: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    """Without what is another one in each answer."""
    varying = {"x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"}
    return answer.status_code, answer.content, {name: value for name, value in answer.headers.items() if name not in varying}


async def test_list_and_readiness_are_the_same_on_both_ways(reader: Reader) -> None:
    answers = [(await reader.fast(path), await reader.documented(path)) for path in PATHS]

    assert [comparable(fast) for fast, _ in answers] == [comparable(documented) for _, documented in answers]
    assert {fast.status_code for fast, _ in answers} == {200}
    assert {"x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(answers[0][0].headers)


async def test_list_that_a_client_has_is_told_so_as_on_the_documented_way(reader: Reader) -> None:
    tag = (await reader.get()).headers["etag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        fast = await reader.fast(**{"if-none-match": known})
        assert (fast.status_code, fast.content) == (304, b"")
        assert comparable(fast) == comparable(await reader.documented(**{"if-none-match": known}))
    assert (await reader.fast(**{"if-none-match": '"other"'})).status_code == 200


async def test_offered_request_id_is_kept_and_an_odd_one_is_not(reader: Reader) -> None:
    assert (await reader.fast(**{"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
    assert (await reader.fast(**{"x-request-id": "not mine/#"})).headers["x-request-id"] != "not mine/#"


async def test_key_as_a_bearer_token_is_answered_likewise(reader: Reader, plane: Plane) -> None:
    expected = await reader.fast()

    answer = await plane.call("GET", "/api/v1/runners", reader.organization.key)

    assert comparable(answer) == comparable(expected)


async def test_list_that_is_asked_for_in_other_words_is_the_framework_s(reader: Reader) -> None:
    for query in OTHER_WORDS:
        answers = [await reader.get(f"/runners?{query}") for _ in range(2)]
        answers.append(await reader.documented(f"/runners?{query}"))

        told = [(answer.status_code, {**answer.json(), "requestId": ""}) for answer in answers]
        assert told[0] == told[1] == told[2]


async def test_head_and_a_body_are_the_framework_s(reader: Reader) -> None:
    await reader.fast()
    before = await answered_from_memory(reader.plane, "list")

    head = await reader.organization.call("HEAD", "/runners")
    with_body = await reader.organization.call("GET", "/runners", json={})

    assert (head.status_code, head.content, with_body.status_code) == (200, b"", 200)
    assert await answered_from_memory(reader.plane, "list") == before


async def test_each_organization_is_shown_its_own(reader: Reader, plane: Plane, other: Organization) -> None:
    theirs = await other.runner("theirs")
    mine = (await reader.fast()).json()["runners"]

    shown = (await Reader(plane, other).fast()).json()["runners"]

    assert [one["id"] for one in shown] == [theirs.id]
    assert theirs.id not in {one["id"] for one in mine}


async def test_key_that_opens_no_list_any_more_is_refused_at_once(reader: Reader, acme: Organization, plane: Plane, clock: Clock) -> None:
    async def after(deed: Callable[[str], Awaitable[object]]) -> list[int]:
        scoped = {"name": "short", "scopes": ["runners:read"], "expiresAt": "2026-05-03T09:16:00Z"}
        issued = (await acme.post("/api-keys", scoped)).json()
        short = Reader(plane, Organization(acme.client, acme.id, issued["key"]))
        await short.fast()
        await deed(issued["apiKey"]["id"])
        first = await short.get()
        # Others who may see it have the list made ready to be sent again.
        await reader.get()
        return [first.status_code, (await short.get()).status_code]

    async def vanish(key_id: str) -> None:
        plane.resources.signals.is_deaf = True
        async with plane.resources.database.writing() as work:
            await work.db.execute(delete(ApiKeyRow).where(ApiKeyRow.id == key_id))

    async def run_out(_: str) -> None:
        clock.pass_by(seconds=28)

    assert await after(lambda key_id: acme.delete(f"/api-keys/{key_id}")) == [401, 401]
    assert await after(lambda key_id: acme.patch(f"/api-keys/{key_id}", {"scopes": ["targets:read"]})) == [403, 403]
    assert await after(vanish) == [401, 401]
    plane.resources.signals.is_deaf = False
    assert await after(run_out) == [401, 401]


async def test_wrong_secret_of_a_key_that_is_remembered_is_refused(reader: Reader, plane: Plane) -> None:
    await reader.fast()
    prefix = reader.organization.key.split("_")[1]

    refused = await plane.call("GET", "/api/v1/runners", f"apvk_{prefix}_{'x' * 43}")

    assert (refused.status_code, refused.json()["code"]) == (401, "credential_invalid")


async def test_change_is_in_the_very_next_list(reader: Reader, acme: Organization, runner: Runner, clock: Clock, plane: Plane) -> None:
    async def check(deed: Awaitable[object]) -> None:
        before = (await reader.fast()).json()
        await deed
        after = (await reader.get()).json()
        assert after == (await reader.documented()).json() != before

    async def lose_license() -> None:
        async with plane.resources.database.writing() as work:
            await licenses.install(work, OrganizationId(acme.id), "not signed by anyone")

    async def fall_silent() -> None:
        clock.pass_by(seconds=50)

    await check(acme.post(f"/runners/{runner.id}/pause"))
    await check(acme.patch(f"/runners/{runner.id}", {"name": "renamed"}))
    await check(acme.delete(f"/runners/{runner.id}"))
    await check(lose_license())
    async with plane.resources.database.writing() as work:
        await work.db.execute(delete(LicenseRow))
        work.hints.add(ACCESS)
    await check(fall_silent())


class TestLimit:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"requests_per_minute": 8})

    async def test_each_list_counts_and_those_beyond_the_limit_are_refused(self, reader: Reader) -> None:
        answers = [await reader.get() for _ in range(7)]
        answers.append(await reader.documented())
        answers += [await reader.get(), await reader.documented()]

        assert [answer.status_code for answer in answers] == [200] * 8 + [429] * 2
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == [str(left) for left in (7, 6, 5, 4, 3, 2, 1, 0, 0, 0)]
