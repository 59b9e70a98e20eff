"""Turns a one-time enrollment token into an identity. A lost answer burns nothing: the exchange key outlives a crash."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from pydantic import BaseModel, Field, ValidationError

from apviso.protocol.daemon import Registered, Registration
from apviso.protocol.tokens import Namespace, Token, parse_token
from apviso.runner.backoff import Patience
from apviso.runner.control_plane import ControlPlane
from apviso.runner.identity import Identity, store
from apviso.runner.private_files import read_private, write_private
from apviso.runner.refusals import NoAnswer
from apviso.runner.retrying import until_answered
from apviso.runner.workspace import Workspace


class BadEnrollmentToken(Exception):
    """What was given is no enrollment token."""


class BadRunnerToken(Exception):
    """The control plane answered with something that is no runner token."""


class _Exchange(BaseModel):
    """The key of the exchange that is under way, bound to the public prefix of its enrollment token."""

    token_prefix: str
    exchange_key: str = Field(repr=False)


def parse_enrollment_token(text: str) -> Token:
    token = parse_token(text)
    if token is None:
        raise BadEnrollmentToken("this is no enrollment token; one looks like apve_0123456789ab_... and is shown once, when it is made")
    if token.namespace is not Namespace.ENROLLMENT:
        raise BadEnrollmentToken(
            f"a token that starts with {token.namespace}_ cannot register a runner; an enrollment token starts with apve_"
        )
    return token


def exchange_key(workspace: Workspace, token: Token) -> str:
    """The key for exchanging `token`: the one kept from an earlier try with the same token, or a new one, on disk before use."""
    kept = _kept_exchange(workspace)
    if kept is not None and kept.token_prefix == token.prefix:
        return kept.exchange_key
    fresh = _Exchange(token_prefix=token.prefix, exchange_key=secrets.token_urlsafe(32))
    write_private(workspace.exchange_file, fresh.model_dump_json())
    return fresh.exchange_key


def _kept_exchange(workspace: Workspace) -> _Exchange | None:
    try:
        text = read_private(workspace.exchange_file)
        return None if text is None else _Exchange.model_validate_json(text)
    except (UnicodeDecodeError, ValidationError):
        return None


async def enroll(
    workspace: Workspace,
    plane: ControlPlane,
    registration: Registration,
    api_url: str,
    *,
    patience: Patience,
    seconds: float,
    on_failure: Callable[[NoAnswer, float], None],
) -> Identity:
    """Exchange the token, store the identity, then forget the exchange. Raises `refusals`, after `seconds` the last NoAnswer."""
    answer: Registered = await until_answered(lambda: plane.register(registration), patience, seconds=seconds, on_failure=on_failure)
    token = parse_token(answer.token)
    if token is None or token.namespace is not Namespace.RUNNER:
        raise BadRunnerToken("the control plane answered with something that is no runner token")
    identity = Identity(token, answer.runner.id, answer.runner.name, api_url)
    store(workspace, identity)
    workspace.exchange_file.unlink(missing_ok=True)
    return identity
