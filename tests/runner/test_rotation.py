"""A new token is kept before it is used, and nobody sees it."""

from __future__ import annotations

from apviso.runner.identity import TOKEN_VARIABLE, find_identity
from apviso.runner.workspace import Workspace
from tests.runner.conftest import StartDaemon
from tests.runner.fake_control_plane import LOST_ANSWER, FakeControlPlane, problem


async def test_rotation_when_asked_keeps_the_new_token_and_uses_it(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    plane.heartbeat_interval_ms = 300
    old = plane.token
    plane.directives = {"rotateToken": True}
    daemon = start_daemon()
    await plane.until(lambda: bool(plane.of("/token")))
    count = len(plane.of("/heartbeat"))

    await plane.until(lambda: len(plane.of("/heartbeat")) > count + 1)

    kept = find_identity(workspace, {})
    assert kept is not None
    assert kept.token == plane.token != old
    assert kept.runner_id == "runner-1"
    assert not daemon.task.done()
    assert plane.of("/heartbeat")[-1].headers["authorization"] == f"Bearer {plane.token.reveal()}"
    again = find_identity(workspace, {TOKEN_VARIABLE: old.reveal()})
    assert again is not None
    assert again.token == plane.token


async def test_rotation_that_is_busy_is_tried_again(plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace) -> None:
    plane.heartbeat_interval_ms = 300
    plane.script("/token", problem(503, "overloaded", retryable=True))
    plane.directives = {"rotateToken": True}
    start_daemon()

    await plane.until(lambda: len(plane.of("/token")) == 2 and workspace.identity_file.exists())

    kept = find_identity(workspace, {})
    assert kept is not None
    assert kept.token == plane.token


async def test_rotation_whose_answer_was_lost_leaves_the_old_token_in_the_file_until_a_new_one_is_there(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    old = plane.token
    plane.heartbeat_interval_ms = 300
    plane.script("/token", LOST_ANSWER)
    plane.accept_also(old)
    plane.directives = {"rotateToken": True}
    start_daemon()

    await plane.until(lambda: len(plane.of("/token")) == 2 and workspace.identity_file.exists())

    kept = find_identity(workspace, {})
    assert kept is not None
    assert kept.token == plane.token
