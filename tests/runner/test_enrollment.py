"""`apviso register` as a person runs it, against a socket: one use, lost answers, crashes, refusals and their exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from dataclasses import dataclass

import pytest

from apviso.protocol.tokens import Namespace, new_token
from apviso.runner.identity import find_identity
from apviso.runner.workspace import Workspace
from tests.runner.fake_control_plane import LOST_ANSWER, PROXY_PAGE, FakeControlPlane, Reply, problem


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


async def apviso(*arguments: str, workspace: Workspace, stdin: str = "", **environ: str) -> Ran:
    """The command line as a real process, with nothing of the outer environment but the path."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from apviso.cli import main; main()",
        *arguments,
        env={"PATH": os.environ["PATH"], "HOME": str(workspace.root), "APVISO_RUNNER_WORKSPACE": str(workspace.root), **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 90)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def register(plane: FakeControlPlane, workspace: Workspace, *more: str, token: str | None = None) -> Ran:
    return await apviso(
        "register",
        "--token-file",
        "-",
        "--name",
        "north",
        *more,
        workspace=workspace,
        stdin=(token or plane.enrollment.reveal()) + "\n",
        APVISO_API_URL=plane.url,
    )


async def test_register_makes_an_identity_and_says_how_to_go_on(plane: FakeControlPlane, workspace: Workspace) -> None:
    ran = await register(plane, workspace, "--label", "dmz", "--label", "eu", "--concurrency", "2")

    identity = find_identity(workspace, {})
    assert (ran.code, "apviso run" in ran.out) == (0, True)
    assert identity is not None
    assert (identity.token, identity.name, identity.api_url) == (plane.token, "north", plane.url)
    assert stat.S_IMODE(workspace.identity_file.stat().st_mode) == 0o600
    sent = plane.of("/register")[0].body
    assert (sent["labels"], sent["configuredConcurrency"], sent["protocolVersion"]) == (["dmz", "eu"], 2, 1)
    assert "concurrency = 2" in workspace.config_file.read_text()
    assert plane.token.secret not in ran.out + ran.err
    assert plane.enrollment.secret not in ran.out + ran.err
    assert not workspace.exchange_file.exists()


async def test_register_shows_words_of_the_control_plane_without_commands_for_a_terminal(
    plane: FakeControlPlane, workspace: Workspace
) -> None:
    runner = {"id": "\x1b[2J", "name": "north\x1b]0;forged\x07"}
    answer = {"token": plane.token.reveal(), "runner": runner, "heartbeatIntervalMs": 15000, "serverTime": "2026-05-03T09:15:32Z"}
    plane.script("/register", problem(402, "limit\x1b[2J"), Reply(201, answer))

    refused, done = await register(plane, workspace), await register(plane, workspace)

    told = refused.out + refused.err + done.out + done.err
    assert "limit\\x1b[2J" in refused.err
    assert "north\\x1b]0;forged\\x07" in done.out
    assert [sign for sign in told if not sign.isprintable() and sign != "\n"] == []


async def test_register_whose_answer_is_lost_asks_again_with_the_same_key_and_burns_nothing(
    plane: FakeControlPlane, workspace: Workspace
) -> None:
    plane.script("/register", LOST_ANSWER, PROXY_PAGE)

    ran = await register(plane, workspace)

    keys = [call.body["exchangeKey"] for call in plane.of("/register")]
    assert ran.code == 0
    assert (len(keys), len(set(keys))) == (3, 1)


async def test_register_after_a_crash_goes_on_with_the_key_on_disk(plane: FakeControlPlane, workspace: Workspace) -> None:
    plane.script("/register", Reply(processed=True, drop=True), Reply(delay=60))
    first = asyncio.ensure_future(register(plane, workspace))
    await plane.until(lambda: len(plane.of("/register")) == 2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    mode = stat.S_IMODE(workspace.exchange_file.stat().st_mode)

    ran = await register(plane, workspace)

    assert (ran.code, mode) == (0, 0o600)
    assert len({call.body["exchangeKey"] for call in plane.of("/register")}) == 1
    assert plane.enrollment.secret not in "".join(path.read_text() for path in workspace.root.glob("*.json"))


async def test_register_with_another_token_uses_another_key(plane: FakeControlPlane, workspace: Workspace) -> None:
    plane.script("/register", problem(409, "enrollment_token_expired"))
    await register(plane, workspace)
    plane.enrollment = new_token(Namespace.ENROLLMENT)

    ran = await register(plane, workspace)

    assert ran.code == 0
    assert len({call.body["exchangeKey"] for call in plane.of("/register")}) == 2


async def test_register_on_a_registered_host_does_nothing_unless_forced(plane: FakeControlPlane, workspace: Workspace) -> None:
    await register(plane, workspace)
    before = find_identity(workspace, {})
    plane.enrollment, plane.used_by = new_token(Namespace.ENROLLMENT), None

    again = await register(plane, workspace)
    kept = find_identity(workspace, {})
    forced = await register(plane, workspace, "--force")

    assert (again.code, "was not used" in again.out, kept) == (0, True, before)
    assert forced.code == 0
    assert find_identity(workspace, {}) != before
    assert len(plane.of("/register")) == 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem(401, "enrollment_token_invalid"), 77),
        (problem(409, "enrollment_token_used"), 77),
        (problem(409, "enrollment_token_expired"), 77),
        (problem(409, "enrollment_token_revoked"), 77),
        (problem(402, "runner_limit_reached"), 2),
        (problem(422, "invalid_fields"), 78),
    ],
)
async def test_register_that_is_refused_says_why_by_sentence_and_exit_code(
    reply: Reply, code: int, plane: FakeControlPlane, workspace: Workspace
) -> None:
    plane.script("/register", reply)

    ran = await register(plane, workspace)

    assert isinstance(reply.body, dict)
    assert (ran.code, str(reply.body["code"]) in ran.err) == (code, True)
    assert not workspace.identity_file.exists()


@pytest.mark.parametrize("token", ["hello", "apve_short", "apvk_0123456789ab_" + "k" * 43])
async def test_register_with_something_else_than_an_enrollment_token_is_refused_here(
    token: str, plane: FakeControlPlane, workspace: Workspace
) -> None:
    ran = await register(plane, workspace, token=token)

    assert (ran.code, plane.calls) == (77, [])
    assert token not in ran.err


async def test_register_with_the_token_as_an_argument_works_and_warns(plane: FakeControlPlane, workspace: Workspace) -> None:
    ran = await apviso("register", "--token", plane.enrollment.reveal(), workspace=workspace, APVISO_API_URL=plane.url)

    assert (ran.code, "--token-file -" in ran.err) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("register", "--no-such-flag"), 64),
        (("no-such-command",), 64),
        (("register",), 64),
        (("register", "--concurrency", "0"), 64),
        (("run",), 78),
        (("status",), 2),
        (("logs",), 2),
        (("version",), 0),
    ],
)
async def test_command_ends_with_the_exit_code_of_the_contract(arguments: tuple[str, ...], code: int, workspace: Workspace) -> None:
    ran = await apviso(*arguments, workspace=workspace)

    assert ran.code == code, ran.err


async def test_version_as_json_names_version_and_protocol(workspace: Workspace) -> None:
    ran = await apviso("version", "--json", workspace=workspace)

    assert json.loads(ran.out) == {"version": "0.1.0", "protocolVersion": 1}


async def test_unregister_says_goodbye_and_forgets_the_identity(plane: FakeControlPlane, workspace: Workspace) -> None:
    await register(plane, workspace)

    ran = await apviso("unregister", workspace=workspace)

    assert (ran.code, len(plane.of("/goodbye"))) == (0, 1)
    assert not workspace.identity_file.exists()


async def test_unregister_without_a_control_plane_forgets_all_the_same(plane: FakeControlPlane, workspace: Workspace) -> None:
    await register(plane, workspace)
    await plane.stop()

    ran = await apviso("unregister", workspace=workspace)

    assert (ran.code, "was not told" in ran.err) == (0, True)
    assert not workspace.identity_file.exists()


async def test_onboard_asks_registers_looks_and_says_how_to_run(plane: FakeControlPlane, workspace: Workspace) -> None:
    answers = f"{plane.url}\n{plane.enrollment.reveal()}\nsouth\n"

    ran = await apviso("onboard", workspace=workspace, stdin=answers)

    identity = find_identity(workspace, {})
    assert identity is not None
    assert identity.name == "south"
    assert "apviso run" in ran.out
    assert "control_plane" in ran.out
    assert plane.enrollment.secret not in ran.out + ran.err


@pytest.mark.parametrize("flags", [("--name", ""), ("--name", "n" * 121), ("--label", "l" * 65), ("--label", " ")])
async def test_register_with_a_name_or_label_that_cannot_be_says_the_limits_in_one_line(
    flags: tuple[str, str], plane: FakeControlPlane, workspace: Workspace
) -> None:
    ran = await register(plane, workspace, *flags)

    assert (ran.code, len(ran.err.splitlines())) == (64, 1)
    assert "characters" in ran.err
    assert not plane.of("/register")


async def test_register_over_a_kept_exchange_that_is_no_text_starts_a_new_one(plane: FakeControlPlane, workspace: Workspace) -> None:
    workspace.exchange_file.write_bytes(b"\xff")
    workspace.exchange_file.chmod(0o600)

    ran = await register(plane, workspace)

    assert ran.code == 0
