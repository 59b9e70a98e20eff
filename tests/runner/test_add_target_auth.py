"""`apviso add target-auth` as people and scripts run it: what is written, what is asked, and that no secret is shown."""

from __future__ import annotations

import inspect
import json
from typing import get_args

import pytest

from apviso.cli.add import target_auth
from apviso.runner.identity import Identity, store
from apviso.runner.target_auth import entries
from apviso.runner.target_auth.file import load_target_auth
from apviso.runner.target_auth.kinds import KINDS, AuthType
from apviso.runner.workspace import Workspace
from tests.runner.fake_control_plane import FakeControlPlane
from tests.runner.test_enrollment import Ran, apviso

CANARY = 'canary "secret" \\value'


async def add(workspace: Workspace, *words: str, stdin: str = CANARY) -> Ran:
    return await apviso("add", "target-auth", *words, workspace=workspace, stdin=stdin)


async def script(workspace: Workspace, *words: str, stdin: str = CANARY) -> Ran:
    return await add(workspace, "--domain", "shop.internal", "--secret-file", "-", *words, stdin=stdin)


@pytest.mark.parametrize(
    ("words", "stdin", "headers"),
    [
        (("--type", "bearer"), CANARY + "\n", {"Authorization": f"Bearer {CANARY}"}),
        (("--type", "api_key", "--header", "X-Key"), CANARY, {"X-Key": CANARY}),
        (("--type", "api_key", "--cookie", "key"), CANARY, {"Cookie": f"key={CANARY}"}),
        (("--type", "cookie"), f"a={CANARY}; b=2", {"Cookie": f"a={CANARY}; b=2"}),
        (("--type", "cookies"), f"a={CANARY}\n\nb=2=3\n", {"Cookie": f"a={CANARY}; b=2=3"}),
        (("--type", "custom_headers"), f"X-One: {CANARY}\nX-Two: a:b\n", {"X-One": CANARY, "X-Two": "a:b"}),
        (("--type", "none"), "", {}),
    ],
)
async def test_entry_from_a_script_is_written_and_shown_without_its_secret(
    words: tuple[str, ...], stdin: str, headers: dict[str, str], workspace: Workspace
) -> None:
    ran = await script(workspace, *words, "--identity", "admin", stdin=stdin)

    assert (ran.code, ran.err) == (0, "")
    [found] = load_target_auth(workspace.target_auth_file)
    assert (found.domain, found.identity, found.headers()) == ("shop.internal", "admin", headers)
    assert workspace.target_auth_file.stat().st_mode & 0o777 == 0o600
    assert "canary" not in ran.out


async def test_entry_for_a_login_with_its_marker_from_a_script_is_written(workspace: Workspace) -> None:
    marker = ("--logged-in-url", "/account", "--logged-in-text", "Signed in")

    ran = await script(workspace, "--type", "login", "--username", "ada", "--login-url", "/sign-in", *marker)

    assert ran.code == 0, ran.err
    [found] = load_target_auth(workspace.target_auth_file)
    assert isinstance(found, entries.LoginAuth)
    assert (found.password, found.username, found.login_url, found.logged_in_text) == (CANARY, "ada", "/sign-in", "Signed in")


async def test_entry_for_a_browser_state_names_its_file_whole(workspace: Workspace) -> None:
    state = workspace.root / "state.json"
    state.write_text('{"cookies": [], "origins": []}')
    state.chmod(0o600)

    ran = await add(workspace, "--url", "https://shop.internal", "--type", "browser_state", "--state-file", str(state))

    assert ran.code == 0, ran.err
    [found] = load_target_auth(workspace.target_auth_file)
    assert isinstance(found, entries.BrowserStateAuth)
    assert found.state_file == state


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (("--type", "magic"), CANARY, 64, "magic"),
        (("--type", "bearer"), "\n", 64, "empty"),
        (("--type", "bearer"), "canary\x00", 78, "control character"),
        (("--type", "basic"), CANARY, 64, "--username"),
        (("--type", "bearer", "--username", "ada"), CANARY, 64, "does not belong"),
        (("--type", "api_key"), CANARY, 64, "--header"),
        (("--type", "cookies"), "canary", 64, "name and a value"),
        (("--type", "bearer", "--identity", "anonymous"), CANARY, 78, "anonymous"),
        (("--type", "bearer", "--logged-in-url", "/account"), CANARY, 78, "belong together"),
        ((), CANARY, 64, "--type"),
    ],
)
async def test_entry_that_cannot_be_is_refused_in_one_line_and_nothing_is_written(
    words: tuple[str, ...], stdin: str, code: int, said: str, workspace: Workspace
) -> None:
    ran = await script(workspace, *words, stdin=stdin)

    assert ran.code == code, ran.err
    assert said in ran.err
    assert "canary" not in ran.out + ran.err
    assert not workspace.target_auth_file.exists()


async def test_second_entry_for_the_same_identity_is_refused_and_another_identity_is_added(workspace: Workspace) -> None:
    first = await script(workspace, "--type", "bearer")

    again = await script(workspace, "--type", "bearer")
    other = await script(workspace, "--type", "bearer", "--identity", "admin")

    assert (first.code, again.code, other.code) == (0, 78, 0)
    assert [entry.identity for entry in load_target_auth(workspace.target_auth_file)] == ["default", "admin"]


async def test_person_who_is_asked_chooses_a_target_by_number_and_types_the_secret_unseen(
    plane: FakeControlPlane, workspace: Workspace
) -> None:
    store(workspace, Identity(plane.token, "runner-1", "north", plane.url))
    plane.targets = [
        {"id": f"target-{number}", "domain": f"\x1b[2J{name}", "displayUrl": url, "scanUrl": url, "visibility": "private_internal"}
        for number, (name, url) in enumerate([("shop", "https://shop.internal/app"), ("crm", "http://[fd00::1]:8080/")])
    ]

    ran = await add(workspace, stdin=f"2\nbearer\nadmin\n/account\nSigned in\n{CANARY}\n")

    assert ran.code == 0, ran.err
    [found] = load_target_auth(workspace.target_auth_file)
    assert (found.id, found.domain, found.identity, found.logged_in_url) == ("target-1", "[fd00::1]:8080", "admin", "/account")
    assert "shop  https://shop.internal/app" in ran.out
    assert "\x1b" not in ran.out
    assert "canary" not in ran.out + ran.err


async def test_person_on_a_host_that_is_not_registered_names_the_host(workspace: Workspace) -> None:
    ran = await add(workspace, stdin=f"shop.internal\ncookies\n\n\nsession\n{CANARY}\n\n")

    assert ran.code == 0, ran.err
    [found] = load_target_auth(workspace.target_auth_file)
    assert (found.domain, found.headers()) == ("shop.internal", {"Cookie": f"session={CANARY}"})


async def test_doctor_counts_the_entries_that_were_added_and_shows_none(plane: FakeControlPlane, workspace: Workspace) -> None:
    await script(workspace, "--type", "bearer")

    ran = await apviso("doctor", "--json", workspace=workspace, APVISO_API_URL=plane.url)

    [check] = [check for check in json.loads(ran.out)["checks"] if check["name"] == "target_auth"]
    assert (check["state"], check["message"].startswith("1 entry in ")) == ("ok", True)
    assert "canary" not in ran.out


def test_command_knows_every_kind_of_the_file() -> None:
    union, _ = get_args(entries.TargetAuth)

    assert {get_args(model.model_fields["type"].annotation)[0] for model in get_args(union)} == {*AuthType} == {*KINDS}


def test_command_takes_no_secret_as_an_argument() -> None:
    hidden = {kind.hidden.field for kind in KINDS.values() if kind.hidden is not None} - {"cookie"}

    assert hidden & set(inspect.signature(target_auth).parameters) == set()
