"""`apviso doctor`: every failing check names itself and the next step; nothing secret is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from apviso.protocol.tokens import Namespace, new_token
from apviso.runner.doctor import Diagnosis, check_clock, check_transport, diagnose, tls_issuer
from apviso.runner.identity import Identity, store
from apviso.runner.setup import set_up
from apviso.runner.workspace import Workspace
from tests.runner.fake_control_plane import FakeControlPlane, Reply, fake_control_plane
from tests.runner.test_enrollment import apviso
from tests.scanning.certificates import self_signed

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)


async def diagnosis(workspace: Workspace, url: str, **more: object) -> Diagnosis:
    return await diagnose(set_up({"workspace": workspace.root, "api_url": url, **more}, {}))


def registered(workspace: Workspace, plane: FakeControlPlane) -> None:
    store(workspace, Identity(plane.token, "runner-1", "north", plane.url))


async def test_doctor_on_a_healthy_host_finds_nothing_and_exits_with_0(plane: FakeControlPlane, workspace: Workspace) -> None:
    registered(workspace, plane)

    ran = await apviso("doctor", "--json", workspace=workspace)

    told = json.loads(ran.out)
    assert (ran.code, told["healthy"]) == (0, True), ran.out
    names = ["workspace", "disk", "identity", "engine", "scanners", "scope", "target_auth", "model_provider", "transport", "control_plane",
             "clock", "credentials"]  # fmt: skip
    assert names == [check["name"] for check in told["checks"]]
    assert any("No network namespace" in limit for limit in told["engineLimits"])
    assert {setting["name"]: setting["source"] for setting in told["settings"]}["api_url"] == "identity file"


def expose_identity(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    workspace.identity_file.chmod(0o644)
    return {}


def forget_identity(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    workspace.identity_file.unlink()
    return {}


def break_scope(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    workspace.scope_file.write_text("ports = [99999]")
    return {}


def expose_target_auth(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    path = workspace.root / "auth.toml"
    path.write_text("")
    path.chmod(0o666)
    return {"target_auth_config_file": path}


def lose_scanners(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    return {"scanners_dir": "/nonexistent"}


def break_engine(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    return {"scan_command": ("/no/such/program",)}


def fill_disk(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    return {"min_free_disk_bytes": 2**60}


def lose_authority(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    return {"custom_ca_path": "/no/such/ca.pem"}


def move_address(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    return {"api_url": "http://127.0.0.1:9"}


def answer_as_a_proxy(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    plane.script("/healthz", Reply(502, "<html>bad gateway</html>"))
    return {}


def revoke(workspace: Workspace, plane: FakeControlPlane) -> dict[str, object]:
    plane.revoke()
    return {}


@pytest.mark.parametrize(
    ("spoil", "check", "next_step"),
    [
        (expose_identity, "identity", "register --force"),
        (forget_identity, "identity", "apviso onboard"),
        (break_scope, "scope", "scope.toml"),
        (expose_target_auth, "target_auth", "Correct the file"),
        (lose_scanners, "scanners", "apviso scanners install"),
        (break_engine, "engine", "scan_command"),
        (fill_disk, "disk", "APVISO_RUNNER_WORKSPACE"),
        (lose_authority, "control_plane", "APVISO_CUSTOM_CA_PATH"),
        (move_address, "control_plane", "HTTPS_PROXY"),
        (answer_as_a_proxy, "control_plane", "proxy in between"),
        (revoke, "credentials", "register --force"),
    ],
)
async def test_doctor_explains_each_failure_with_a_next_step(
    spoil: Callable[[Workspace, FakeControlPlane], dict[str, object]],
    check: str,
    next_step: str,
    plane: FakeControlPlane,
    workspace: Workspace,
) -> None:
    registered(workspace, plane)
    settings = {"api_url": plane.url, **spoil(workspace, plane)}

    found = await _diagnosed(workspace, settings)

    failed = {one.name: one for one in found.checks if one.state == "failed"}
    assert not found.healthy
    assert list(failed) == [check]
    assert next_step in (failed[check].next_step or "")


async def _diagnosed(workspace: Workspace, settings: dict[str, object]) -> Diagnosis:
    file_only = {name: settings.pop(name) for name in ("scan_command", "min_free_disk_bytes", "scanners_dir") if name in settings}
    workspace.config_file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in file_only.items()))
    return await diagnose(set_up({"workspace": workspace.root, **settings}, {}))


async def test_doctor_without_an_address_says_how_to_give_one(workspace: Workspace) -> None:
    found = await diagnose(set_up({"workspace": workspace.root}, {}))

    [check] = [check for check in found.checks if check.name == "control_plane"]
    assert "APVISO_API_URL" in (check.next_step or "")


async def test_doctor_behind_a_private_authority_names_its_issuer(workspace: Workspace, tmp_path: Path) -> None:
    async with fake_control_plane(self_signed(tmp_path)) as plane:
        without = await diagnosis(workspace, plane.url)
        issuer = await asyncio.to_thread(tls_issuer, plane.url)
        with_it = await diagnosis(workspace, plane.url, custom_ca_path=tmp_path / "server.pem")

    refused = next(check for check in without.checks if check.name == "control_plane")
    assert refused.state == "failed"
    assert "CN=127.0.0.1" in (refused.next_step or "")
    assert issuer == "CN=127.0.0.1"
    assert next(check for check in with_it.checks if check.name == "control_plane").state == "ok"


async def test_doctor_shows_no_secret(plane: FakeControlPlane, workspace: Workspace) -> None:
    registered(workspace, plane)
    auth = workspace.root / "auth.toml"
    auth.write_text(
        '[[targets]]\nid = "t"\ntype = "bearer"\ntoken = "abc"\n[[targets]]\ndomain = "x"\ntype = "bearer"\ntoken = "canary-value"\n'
    )
    auth.chmod(0o600)

    found = await diagnosis(workspace, plane.url, target_auth_config_file=auth)

    shown = found.model_dump_json()
    assert plane.token.secret not in shown
    assert "canary-value" not in shown
    warnings = {check.name for check in found.checks if check.state == "warning"}
    assert {"target_auth_length", "target_auth_pinned"} <= warnings


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (29, "ok"), (31, "warning"), (-31, "warning")])
def test_clock_that_is_far_from_the_control_planes_is_a_warning(seconds: int, state: str) -> None:
    headers = {"date": format_datetime(datetime.fromtimestamp(NOW.timestamp() - seconds, UTC), usegmt=True)}

    assert check_clock(headers, NOW).state == state


def test_clock_without_a_date_to_compare_is_a_warning() -> None:
    assert check_clock({}, NOW).state == "warning"


def test_clock_is_compared_with_a_date_of_an_unknown_zone_as_with_utc() -> None:
    assert check_clock({"date": "Sun, 03 May 2026 09:15:32 -0000"}, NOW).state == "ok"


@pytest.mark.parametrize(
    ("url", "state"),
    [("https://c.example", "ok"), ("http://127.0.0.1:8700", "ok"), ("http://localhost:8700", "ok"), ("http://c.example", "warning")],
)
def test_transport_without_encryption_beyond_this_host_is_a_warning(url: str, state: str) -> None:
    assert check_transport(url).state == state


async def test_doctor_in_words_lists_limits_settings_and_next_steps(workspace: Workspace) -> None:
    ran = await apviso(
        "doctor", workspace=workspace, APVISO_API_URL="http://127.0.0.1:9", APVISO_RUNNER_TOKEN=new_token(Namespace.RUNNER).reveal()
    )

    assert ran.code == 2
    assert "next: " in ran.out
    assert "Limits of the engine:" in ran.out
    assert "api_url = http://127.0.0.1:9  (environment (APVISO_API_URL))" in ran.out


@pytest.mark.parametrize(("variable", "proxy"), [("ALL_PROXY", "socks5://me:canary@127.0.0.1:1"), ("HTTPS_PROXY", "ftp://me:canary@x")])
async def test_commands_with_a_proxy_that_cannot_be_used_name_its_variable_in_one_line(
    variable: str, proxy: str, plane: FakeControlPlane, workspace: Workspace
) -> None:
    registered(workspace, plane)
    token = new_token(Namespace.ENROLLMENT).reveal()

    checked = await apviso("doctor", workspace=workspace, **{variable: proxy})
    joined = await apviso("register", "--token-file", "-", "--force", workspace=workspace, stdin=token, **{variable: proxy})
    ran = await apviso("run", workspace=workspace, **{variable: proxy})
    left = await apviso("unregister", workspace=workspace, **{variable: proxy})

    assert (checked.code, joined.code, ran.code, left.code) == (2, 78, 78, 0)
    assert f"FAILED   control_plane: The proxy that the environment names ({variable})" in checked.out
    assert joined.err.startswith(f"The proxy that the environment names ({variable})")
    assert len(joined.err.splitlines()) == len(left.err.splitlines()[:1]) == 1
    assert not any("Traceback" in one.err or "canary" in one.out + one.err for one in (checked, joined, ran, left))


async def test_doctor_with_a_bad_setting_tells_it_as_json_to_whoever_asked_for_json(workspace: Workspace) -> None:
    ran = await apviso("doctor", "--json", workspace=workspace, APVISO_API_URL="no address")

    told = json.loads(ran.out)
    assert (ran.code, told["healthy"]) == (78, False)
    assert [check["name"] for check in told["checks"]] == ["settings"]
    assert "api_url (from environment)" in told["checks"][0]["message"]
