"""Bodies that are small to send and large to read: each is refused for what it is, at once, and the server goes on."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

DEEP = 100_000
BEAT = b'{"bootId": "b", "beatSeq": 1, "version": "1", "health": %b}'
HOSTILE = {
    "lists in lists": b"[" * DEEP,
    "closed lists in lists": b"[" * DEEP + b"]" * DEEP,
    "objects in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "depth in a field": BEAT % (b"[" * DEEP + b"]" * DEEP),
    "depth in facts": BEAT % (b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    "a number of many digits": BEAT % (b'{"a": ' + b"9" * 500_000 + b"}"),
    "a number of many digits for a number": b'{"bootId": "b", "version": "1", "beatSeq": ' + b"9" * 500_000 + b"}",
    "many names": BEAT % (b"{" + b",".join(b'"%d":0' % number for number in range(80_000)) + b"}"),
    "compressed": gzip.compress(b" " * 50 * 1024**2),
}
PLACES = ("/api/runner/heartbeat", "/api/runner/jobs/claim", "/api/runner/jobs/unknown/events", "/api/runner/register")


async def test_body_that_is_deep_long_or_compressed_is_refused(plane: Plane, acme: Organization, runner: Runner) -> None:
    statuses: dict[str, set[int]] = {}

    for name, body in HOSTILE.items():
        headers = {"content-type": "application/json", **({"content-encoding": "gzip"} if name == "compressed" else {})}
        answers = [await plane.call("POST", path, runner.token, content=body, headers=headers) for path in PLACES]
        answers.append(await plane.call("POST", "/api/v1/targets", acme.key, content=body, headers=headers))
        statuses[name] = {answer.status_code for answer in answers}

    assert {name: found for name, found in statuses.items() if not found <= {400, 422}} == {}
    assert (await runner.beat()).status_code == 200


async def test_body_without_a_length_is_cut_off_at_the_limit(acme: Organization) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 65536
            yield b" " * 65536

    answer = await acme.call("POST", "/targets", content=endless(), headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert taken <= 1024**2 + 2 * 65536


async def test_deflated_body_is_no_json(acme: Organization) -> None:
    headers = {"content-type": "application/json", "content-encoding": "deflate"}

    answer = await acme.call("POST", "/targets", content=zlib.compress(b'{"domain": "a.example"}'), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
