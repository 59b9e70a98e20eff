"""The identity file: who may read it, and when it wins over the environment."""

from __future__ import annotations

import stat

import pytest

from apviso.protocol.tokens import Namespace, new_token
from apviso.runner.identity import TOKEN_VARIABLE, BrokenIdentity, Identity, find_identity, store
from apviso.runner.private_files import ExposedFile, write_private
from apviso.runner.workspace import Workspace


def stored(workspace: Workspace, **more: object) -> Identity:
    identity = Identity(new_token(Namespace.RUNNER), "runner-1", "north", "https://c.example", **more)  # type: ignore[arg-type]
    store(workspace, identity)
    return identity


def test_identity_file_is_written_for_its_owner_only_and_read_back(workspace: Workspace) -> None:
    identity = stored(workspace)

    assert stat.S_IMODE(workspace.identity_file.stat().st_mode) == 0o600
    assert find_identity(workspace, {}) == identity


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_identity_file_that_others_can_reach_is_refused_with_the_command_that_helps(mode: int, workspace: Workspace) -> None:
    stored(workspace)
    workspace.identity_file.chmod(mode)

    with pytest.raises(ExposedFile, match="chmod 600"):
        find_identity(workspace, {})


def test_identity_in_the_environment_wins_over_the_file(workspace: Workspace) -> None:
    stored(workspace)
    token = new_token(Namespace.RUNNER)

    identity = find_identity(workspace, {TOKEN_VARIABLE: token.reveal() + "\n"})

    assert identity is not None
    assert (identity.token, identity.source) == (token, TOKEN_VARIABLE)


def test_identity_in_the_environment_that_rotation_replaced_gives_way_to_the_file(workspace: Workspace) -> None:
    old = new_token(Namespace.RUNNER)
    newer = stored(workspace, replaced=(old.prefix,))

    identity = find_identity(workspace, {TOKEN_VARIABLE: old.reveal()})

    assert identity is not None
    assert identity.token == newer.token


@pytest.mark.parametrize("namespace", [Namespace.API_KEY, Namespace.ENROLLMENT, Namespace.JOB])
def test_identity_with_a_token_of_another_kind_is_refused_without_showing_it(namespace: Namespace, workspace: Workspace) -> None:
    token = new_token(namespace)

    with pytest.raises(BrokenIdentity) as caught:
        find_identity(workspace, {TOKEN_VARIABLE: token.reveal()})

    assert token.secret not in str(caught.value)


@pytest.mark.parametrize("content", [b'{"token": ', b"\xff\xfe{}"])
def test_identity_file_that_is_damaged_says_what_to_do(content: bytes, workspace: Workspace) -> None:
    workspace.identity_file.write_bytes(content)
    workspace.identity_file.chmod(0o600)

    with pytest.raises(BrokenIdentity, match="register again"):
        find_identity(workspace, {})


def test_identity_shows_no_secret_in_its_repr(workspace: Workspace) -> None:
    identity = stored(workspace)

    assert identity.token.secret not in repr(identity)


def test_write_that_fails_leaves_the_old_file(workspace: Workspace) -> None:
    identity = stored(workspace)

    with pytest.raises(UnicodeEncodeError):
        write_private(workspace.identity_file, "\ud800")

    assert find_identity(workspace, {}) == identity
    assert [path.name for path in workspace.root.iterdir() if path.name.startswith(".")] == []
