from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from apviso.scanning.guard import Refusal
from tests.scanning.conftest import SECRET, StartGuard, Target, get, rules_of

TWO = {"admin": {"Authorization": SECRET}, "user": {"Cookie": "session=of-the-user"}}


def credentials_seen(target: Target) -> list[tuple[str | None, str | None]]:
    """Authorization and Cookie of each request."""
    told = [{name.lower(): value for name, value in seen.headers.items()} for seen in target.seen]
    assert all("x-apviso-identity" not in headers for headers in told)
    return [(headers.get("authorization"), headers.get("cookie")) for headers in told]


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("", (SECRET, None)),
        ("X-Apviso-Identity: admin\r\n", (SECRET, None)),
        ("x-apviso-identity:user\r\n", (None, "session=of-the-user")),
        ("X-Apviso-Identity: anonymous\r\n", (None, None)),
        # What an answer to one identity has set is not shown to the target as another one's.
        ("X-Apviso-Identity: anonymous\r\nCookie: session=kept\r\nAuthorization: Basic kept\r\n", (None, None)),
        ("X-Apviso-Identity: admin\r\nCookie: session=kept\r\n", (SECRET, None)),
    ],
)
async def test_request_that_names_an_identity_is_sent_as_that_one(
    asked: str, seen: tuple[str | None, str | None], target: Target, guarded: StartGuard
) -> None:
    guard = await guarded(rules_of(target, identities=TWO))

    reply = await get(guard, f"{target.url}/", headers=asked)

    assert reply.status == 200
    assert credentials_seen(target) == [seen]


@pytest.mark.parametrize(
    "asked",
    ["X-Apviso-Identity: root", "X-Apviso-Identity:", "X-Apviso-Identity: Admin", "X-Apviso-Identity: user\r\nX-Apviso-Identity: admin"],
)
async def test_request_that_names_an_unknown_identity_is_refused_and_counted(asked: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target, identities=TWO))

    reply = await get(guard, f"{target.url}/", headers=f"{asked}\r\n")
    counters = await guard.close()

    assert reply.status == 403
    assert "unknown_identity" in reply.text
    assert (target.connections, counters.refusals) == (0, {Refusal.UNKNOWN_IDENTITY: 1})


@pytest.mark.parametrize("place", ["/of-the-user", "/?of-the-user", "/?a=1&of%2Dthe-user=2", "/x%6Ff-the-user/y", "/s3cret-of-the-target"])
async def test_request_log_holds_no_credential_that_a_target_made_a_name_or_path_of(
    place: str, target: Target, guarded: StartGuard, tmp_path: Path
) -> None:
    log = tmp_path / "requests.ndjson"
    guard = await guarded(rules_of(target, request_log=str(log), identities=TWO))

    await get(guard, target.url + place)
    await guard.close()

    assert [json.loads(line)["path"] for line in log.read_text().splitlines()] == ["(holds a credential)"]


async def test_credentials_are_in_no_argument_environment_repr_or_file(target: Target, guarded: StartGuard, tmp_path: Path) -> None:
    rules = rules_of(target, request_log=str(tmp_path / "log"))
    guard = await guarded(rules)
    await get(guard, f"{target.url}/")

    process = psutil.Process(guard.pid)
    told = [*process.cmdline(), *process.environ().values(), repr(rules)]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]

    assert not any(SECRET in text for text in told)
    assert not any(SECRET.encode() in data for data in files)
