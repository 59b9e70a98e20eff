"""What the model asks again, and for how long."""

from __future__ import annotations

from collections import Counter

import httpx2
import pytest

from tests.model.patience import AGAIN, TRIES, Patient


@pytest.mark.parametrize(
    ("refusals", "code", "asked", "status"),
    [
        (2, "database_unavailable", 3, 200),
        (TRIES, "database_unavailable", TRIES, 503),
        (1, "overloaded", 1, 503),
    ],
)
async def test_call_is_asked_again_while_the_database_is_too_busy_and_not_for_ever(
    refusals: int, code: str, asked: int, status: int
) -> None:
    bodies: list[bytes] = []
    met = Counter[str]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        bodies.append(request.content)
        return httpx2.Response(503, json={"code": code}) if len(bodies) <= refusals else httpx2.Response(200, json={})

    async with httpx2.AsyncClient(transport=Patient(httpx2.MockTransport(answer), met), base_url="http://control-plane") as client:
        heard = await client.post("/scans", json={"targetId": "one"})

    assert (heard.status_code, len(bodies), met[AGAIN]) == (status, asked, asked - 1)
    assert set(bodies) == {b'{"targetId":"one"}'}
