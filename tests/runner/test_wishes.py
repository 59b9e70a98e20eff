"""`apviso pause`, `resume` and `drain` as somebody at the host runs them, and the unit of `apviso service install`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apviso.runner.service_unit import BadPath, Service, unit_of
from apviso.runner.workspace import Workspace
from tests.runner.fake_control_plane import FakeControlPlane, problem
from tests.runner.test_enrollment import apviso, register


async def test_host_pauses_its_runner_without_an_api_key(plane: FakeControlPlane, workspace: Workspace) -> None:
    await register(plane, workspace)

    ran = await apviso("pause", "--note", "kernel update", "--until", "2027-01-01T00:00:00Z", "--json", workspace=workspace)

    assert (ran.code, json.loads(ran.out)["adminState"]) == (0, "paused")
    assert plane.of("/pause")[0].body == {"note": "kernel update", "until": "2027-01-01T00:00:00Z"}


async def test_host_drains_and_resumes_its_runner(plane: FakeControlPlane, workspace: Workspace) -> None:
    await register(plane, workspace)

    drained = await apviso("drain", "--deadline", "600", workspace=workspace)
    resumed = await apviso("resume", workspace=workspace)

    assert (drained.code, drained.out) == (0, "This host's runner is draining.\n")
    assert (resumed.code, resumed.out) == (0, "This host's runner is enabled.\n")
    assert plane.of("/drain")[0].body == {"deadlineSeconds": 600, "note": None}


async def test_resume_that_is_refused_says_who_decides(plane: FakeControlPlane, workspace: Workspace) -> None:
    await register(plane, workspace)
    plane.script("/resume", problem(409, "admin_state_held"))

    ran = await apviso("resume", workspace=workspace)

    assert (ran.code, "admin_state_held" in ran.err) == (2, True)


async def test_host_that_is_not_registered_or_hears_nothing_ends_with_the_code_for_it(
    plane: FakeControlPlane, workspace: Workspace
) -> None:
    stranger = await apviso("pause", workspace=workspace, APVISO_API_URL=plane.url)
    await register(plane, workspace)
    plane.revoke()
    revoked = await apviso("pause", workspace=workspace)
    await plane.stop()
    alone = await apviso("pause", workspace=workspace)

    assert (stranger.code, revoked.code, alone.code) == (78, 78, 69)


async def test_service_of_a_host_that_is_not_registered_is_not_installed(workspace: Workspace) -> None:
    refused = await apviso("service", "install", workspace=workspace)
    shown = await apviso("service", "install", "--print", workspace=workspace)

    assert (refused.code, shown.code) == (78, 0)
    assert f"Environment=APVISO_RUNNER_WORKSPACE={workspace.root}\n" in shown.out


def test_unit_of_a_host_is_the_one_that_is_shown_for_it(request: pytest.FixtureRequest) -> None:
    shown = (request.config.rootpath / "deploy" / "runner" / "apviso-runner.service").read_text(encoding="utf-8")

    unit = unit_of(Service(Path("/opt/apviso/bin/apviso"), Path("/var/lib/apviso-runner/workspace"), "apviso-runner"))

    assert unit == shown.replace("ReadWritePaths=/var/lib/apviso-runner\n", "ReadWritePaths=/var/lib/apviso-runner/workspace\n")


def test_unit_of_ones_own_account_names_no_other_and_keeps_odd_paths_whole() -> None:
    unit = unit_of(Service(Path("/opt/a $b/apviso"), Path('/srv/x/50% "more"'), None))

    assert 'ExecStart="/opt/a $$b/apviso" run\n' in unit
    assert 'Environment="APVISO_RUNNER_WORKSPACE=/srv/x/50%% \\"more\\""\n' in unit
    assert ("User=" in unit, "ProtectSystem" in unit, "WantedBy=default.target" in unit) == (False, False, True)


def test_path_that_would_add_a_line_to_the_unit_is_refused() -> None:
    with pytest.raises(BadPath):
        unit_of(Service(Path("/opt/apviso"), Path("/srv/x\nExecStartPre=/bin/evil"), None))
