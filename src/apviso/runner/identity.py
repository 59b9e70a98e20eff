"""Who this runner is: its token and name, from the environment or the identity file. A token is never shown nor logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apviso.protocol.tokens import Namespace, Token, parse_token
from apviso.runner.private_files import read_private, write_private
from apviso.runner.workspace import Workspace

TOKEN_VARIABLE = "APVISO_RUNNER_TOKEN"  # noqa: S105  (the name of a variable)


class BrokenIdentity(Exception):
    """The identity that was given cannot be one."""


class BadToken(BrokenIdentity):
    """What was given as the runner's token is none."""


@dataclass(frozen=True)
class Identity:
    """`replaced` holds the public prefixes of tokens that rotation has replaced by this one."""

    token: Token
    runner_id: str | None = None
    name: str | None = None
    api_url: str | None = None
    source: str = "identity file"
    replaced: tuple[str, ...] = field(default=())


class _StoredIdentity(BaseModel):
    model_config = ConfigDict(extra="ignore")

    token: str = Field(repr=False)
    runner_id: str | None = None
    name: str | None = None
    api_url: str | None = None
    replaced: list[str] = []


def find_stored(workspace: Workspace) -> Identity | None:
    """The identity in the workspace; raises ExposedFile or BrokenIdentity where it cannot be trusted or read."""
    try:
        text = read_private(workspace.identity_file)
        if text is None:
            return None
        stored = _StoredIdentity.model_validate_json(text)
    except (UnicodeDecodeError, ValidationError) as error:
        raise BrokenIdentity(f"{workspace.identity_file} is damaged; register again with --force") from error
    return Identity(
        _runner_token(stored.token, str(workspace.identity_file)),
        stored.runner_id,
        stored.name,
        stored.api_url,
        replaced=tuple(stored.replaced),
    )


def find_identity(workspace: Workspace, environ: Mapping[str, str]) -> Identity | None:
    """The identity to use: the environment's token wins over the file, unless rotation has replaced that very token."""
    stored = find_stored(workspace)
    given = environ.get(TOKEN_VARIABLE, "").strip()
    if not given:
        return stored
    token = _runner_token(given, TOKEN_VARIABLE)
    if stored is not None and (token.prefix in stored.replaced or token == stored.token):
        return stored
    return Identity(token, source=TOKEN_VARIABLE)


def store(workspace: Workspace, identity: Identity) -> None:
    """Replace the identity file in one step, readable by its owner only."""
    stored = _StoredIdentity(
        token=identity.token.reveal(),
        runner_id=identity.runner_id,
        name=identity.name,
        api_url=identity.api_url,
        replaced=list(identity.replaced),
    )
    write_private(workspace.identity_file, stored.model_dump_json(indent=2) + "\n")


def _runner_token(text: str, where: str) -> Token:
    token = parse_token(text)
    if token is None:
        raise BadToken(f"{where} holds no runner token (apvr_...)")
    if token.namespace is not Namespace.RUNNER:
        raise BadToken(f"{where} holds a token of another kind ({token.namespace}_...); a runner token starts with apvr_")
    return token
