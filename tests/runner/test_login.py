"""Logging in before a scan, and knowing afterwards whether the login held: over real HTTP, through the whole runner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apviso.runner.workspace import Workspace
from tests.runner.conftest import StartDaemon
from tests.runner.fake_control_plane import FakeControlPlane, FakeJob, job_body
from tests.runner.login_application import BEARER, PASSWORD, SESSION, USERNAME, LoginApplication, login_application

FORM = {"type": "login", "login_url": "/sign-in", "username": USERNAME, "password": PASSWORD}
JSON_LOGIN = {
    "type": "login",
    "login_url": "/api/session",
    "username": USERNAME,
    "password": PASSWORD,
    "json": {"user": {"name": "{username}"}, "secret": "{password}"},
    "token_field": "data.token",
}
COOKIE = {"type": "cookies", "cookies": {"session": SESSION}}
MARKER = {"logged_in_url": "/account", "logged_in_text": "Signed in as ada & co"}


@pytest.fixture
def members() -> Iterator[LoginApplication]:
    with login_application() as application:
        yield application


def kept_in(workspace: Workspace, *entries: dict[str, Any]) -> None:
    """In the place where the runner looks without being told."""
    workspace.target_auth_file.write_text(
        "".join(
            '[[targets]]\ndomain = "127.0.0.1"\n' + "".join(f"{name} = {_toml(value)}\n" for name, value in entry.items())
            for entry in entries
        )
    )
    workspace.target_auth_file.chmod(0o600)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


async def scanned(plane: FakeControlPlane, start_daemon: StartDaemon, application: LoginApplication, domain: str = "app") -> FakeJob:
    job = FakeJob(job_body(scan_url=application.url, domain=f"{domain}.localhost"))
    await plane.add_job(job)
    start_daemon()
    await plane.until(lambda: job.state == "ended", 60)
    return job


def codes(job: FakeJob) -> list[str]:
    assert job.finish is not None, job.preflight
    return [reason.partition(":")[0] for reason in job.finish["coverage"]["reasons"]]


@pytest.mark.parametrize(
    ("entry", "secrets"),
    [(FORM, [PASSWORD, SESSION]), (JSON_LOGIN, [PASSWORD, BEARER]), (FORM | MARKER, [PASSWORD, SESSION]), (COOKIE | MARKER, [SESSION])],
    ids=["form", "json", "form with marker", "cookies with marker"],
)
async def test_scan_behind_a_login_sees_what_visitors_see_and_tells_no_secret(
    entry: dict[str, Any],
    secrets: list[str],
    plane: FakeControlPlane,
    start_daemon: StartDaemon,
    members: LoginApplication,
    workspace: Workspace,
) -> None:
    kept_in(workspace, entry)

    job = await scanned(plane, start_daemon, members, "echoes")

    local = "".join(path.read_text() for path in workspace.job_logs.iterdir())
    assert (job.finish or {})["coverage"] == {"complete": True, "reasons": []}
    assert any(message.startswith("the page says Signed in as ada") and "******" in message for message in job.messages())
    assert [secret for secret in [*secrets, "canary"] if secret in plane.received() + local] == []


async def test_login_form_is_filled_in_like_a_browser_does(
    plane: FakeControlPlane, start_daemon: StartDaemon, members: LoginApplication, workspace: Workspace
) -> None:
    kept_in(workspace, FORM)

    await scanned(plane, start_daemon, members)

    assert members.asked[:3] == ["GET /sign-in", "POST /session", "GET /home"]
    assert len(members.posted) == 1


WRONG = FORM | {"password": "canary-of-nobody"}


@pytest.mark.parametrize(
    ("entry", "form", "said"),
    [
        (WRONG, {}, "asks for a password again"),
        (WRONG | MARKER, {}, "leads to its login"),
        (JSON_LOGIN | {"password": "canary-of-nobody"}, {}, "refuses the login"),
        (JSON_LOGIN | {"token_field": "data.key"}, {}, "holds no token at data.key"),
        (FORM | {"login_url": "/public"}, {}, "has no form with a password field"),
        (FORM | {"username_field": "login"}, {}, "has no field named login"),
        (FORM | {"login_url": "http://127.0.0.1:1/sign-in"}, {}, "leads off the target, to http://127.0.0.1:1/sign-in"),
        (FORM, {"action": "http://127.0.0.1:1/steal"}, "leads off the target, to http://127.0.0.1:1/steal"),
        (FORM, {"action": "http://["}, "leads off the target, to an address that cannot be understood"),
        (FORM, {"method": "get"}, "would send the password in an address"),
        (COOKIE | {"cookies": {"session": "canary-outdated"}} | MARKER, {}, "leads to its login"),
        (FORM | MARKER | {"logged_in_text": "canary of nobody"}, {}, "does not show logged_in_text"),
    ],
)
async def test_login_that_does_not_work_is_auth_failed_and_says_why(
    entry: dict[str, Any],
    form: dict[str, str],
    said: str,
    plane: FakeControlPlane,
    start_daemon: StartDaemon,
    members: LoginApplication,
    workspace: Workspace,
) -> None:
    kept_in(workspace, entry)
    for name, value in form.items():
        setattr(members, name, value)

    job = await scanned(plane, start_daemon, members)

    assert job.preflight is not None
    assert job.preflight["errorCode"] == "auth_failed"
    assert said in job.preflight["errorMessage"]
    assert "canary" not in plane.received()
    assert plane.job_calls(job, "start") == []


async def test_marker_that_strangers_see_too_is_refused_because_it_proves_nothing(
    plane: FakeControlPlane, start_daemon: StartDaemon, members: LoginApplication, workspace: Workspace
) -> None:
    kept_in(workspace, FORM | MARKER | {"logged_in_url": "/public"})

    job = await scanned(plane, start_daemon, members)

    assert job.preflight is not None
    assert (job.preflight["errorCode"], job.preflight["checks"]["login"]["ok"]) == ("invalid_config", False)


async def test_login_that_is_lost_during_the_scan_makes_it_partial(
    plane: FakeControlPlane, start_daemon: StartDaemon, members: LoginApplication, workspace: Workspace
) -> None:
    kept_in(workspace, FORM | MARKER)
    members.lasts_for = 1

    job = await scanned(plane, start_daemon, members)

    assert (job.finish or {})["status"] == "completed"
    assert codes(job) == ["login_lost"]
    assert (job.finish or {})["coverage"]["complete"] is False


async def test_login_of_one_identity_that_is_lost_names_that_identity(
    plane: FakeControlPlane, start_daemon: StartDaemon, members: LoginApplication, workspace: Workspace
) -> None:
    kept_in(workspace, {"type": "bearer", "token": BEARER, "identity": "robot"}, FORM | MARKER | {"identity": "person"})
    members.lasts_for = 1

    job = await scanned(plane, start_daemon, members)

    [reason] = (job.finish or {})["coverage"]["reasons"]
    assert reason.startswith("login_lost: ")
    assert "of person" in reason


async def test_login_at_a_target_that_is_gone_is_target_unreachable(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    kept_in(workspace, FORM)

    job = await scanned(plane, start_daemon, LoginApplication(port=9))

    assert job.preflight is not None
    assert job.preflight["errorCode"] == "target_unreachable"


async def test_credentials_that_are_added_while_the_daemon_runs_are_used(
    plane: FakeControlPlane, start_daemon: StartDaemon, members: LoginApplication, workspace: Workspace
) -> None:
    start_daemon()
    await plane.until_connected(1)
    kept_in(workspace, COOKIE)
    job = FakeJob(job_body(scan_url=members.url))

    await plane.add_job(job)
    await plane.until(lambda: job.state == "ended", 60)

    assert (job.finish or {})["coverage"]["complete"] is True, job.preflight


def browser_state(folder: Path, mode: int = 0o600, **changes: Any) -> str:
    """A storage state as a browser leaves it; `changes` are of the cookie that counts."""
    cookie = {"name": "session", "value": SESSION, "domain": "127.0.0.1", "path": "/", "expires": -1, "httpOnly": True, "secure": False}
    others = {"name": "other", "value": "canary-of-another-site", "domain": "other.example", "path": "/", "expires": -1, "secure": False}
    kept = {"cookies": [cookie | {"sameSite": "Lax"} | changes, others], "origins": [{"origin": "http://x", "localStorage": []}]}
    path = folder / "ada.json"
    path.write_text(json.dumps(kept))
    path.chmod(mode)
    return path.name


async def test_browser_state_beside_the_file_is_used_like_a_browser_would(
    plane: FakeControlPlane, start_daemon: StartDaemon, members: LoginApplication, workspace: Workspace
) -> None:
    kept_in(workspace, {"type": "browser_state", "state_file": browser_state(workspace.root)} | MARKER)

    job = await scanned(plane, start_daemon, members, "echoes")

    assert (job.finish or {})["coverage"]["complete"] is True, job.preflight
    assert "canary" not in plane.received()


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"expires": 1_000_000_000}, "auth_failed", "have all expired"),
        ({"domain": "shop.internal"}, "auth_failed", "are not for this target"),
        ({"secure": True}, "auth_failed", "are not for this target"),
        ({"path": "/admin"}, "auth_failed", "are not for this target"),
        ({"mode": 0o644}, "invalid_config", "chmod 600"),
        ({"value": "canary; more"}, "invalid_config", "is no browser state"),
    ],
)
async def test_browser_state_that_cannot_be_used_says_why(
    changes: dict[str, Any],
    code: str,
    said: str,
    plane: FakeControlPlane,
    start_daemon: StartDaemon,
    members: LoginApplication,
    workspace: Workspace,
) -> None:
    kept_in(workspace, {"type": "browser_state", "state_file": browser_state(workspace.root, **changes)})

    job = await scanned(plane, start_daemon, members)

    assert job.preflight is not None
    assert (job.preflight["errorCode"], said in job.preflight["errorMessage"]) == (code, True)
    assert "canary" not in plane.received()
