"""Makes this host a runner: the whole of `register` apart from asking and printing. Leaves a valid identity alone unless forced."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from apviso import __version__
from apviso.protocol.daemon import Goodbye, Registration
from apviso.protocol.runners import Labels
from apviso.protocol.tokens import Token
from apviso.protocol.wire import Name
from apviso.runner.backoff import Patience
from apviso.runner.config import ConfigProblem
from apviso.runner.connection import BadProxy
from apviso.runner.engines import Engine
from apviso.runner.engines.choice import choose_engine
from apviso.runner.enrollment import enroll, exchange_key, parse_enrollment_token
from apviso.runner.facts import capabilities, machine_name, provider_state, scanner_facts, system_name
from apviso.runner.identity import Identity
from apviso.runner.redaction import Redactor
from apviso.runner.refusals import CallFailed, NoAnswer
from apviso.runner.setup import Setup, control_plane
from apviso.runner.target_auth.file import find_target_auth_file
from apviso.runner.trust import BadAuthority
from apviso.runner.workspace import Workspace
from apviso.scanning.environment import default_dir, status

REGISTER_SECONDS = 60.0
_name: TypeAdapter[str | None] = TypeAdapter(Name | None)
_labels: TypeAdapter[list[str]] = TypeAdapter(Labels)


class AlreadyRegistered(Exception):
    """There is an identity; the enrollment token was not used."""


class BadWish(Exception):
    """A name or label that no runner can have; the token was not used."""


@dataclass(frozen=True)
class Wish:
    """What the person at the host asks for. `name` None: the name that the enrollment token suggests."""

    token: str = field(repr=False)
    name: str | None = None
    labels: Sequence[str] = ()
    force: bool = False


async def join(setup: Setup, wish: Wish, on_failure: Callable[[NoAnswer, float], None]) -> Identity:
    """Exchange the token for an identity in the workspace.

    Raises AlreadyRegistered, BadWish, BadEnrollmentToken, ConfigProblem, `refusals`.
    """
    if setup.identity is not None and not wish.force:
        raise AlreadyRegistered(f"this host is a runner already ({setup.identity.name or setup.identity.token.prefix})")
    check_wish(wish)
    token = parse_enrollment_token(wish.token)
    setup.workspace.prepare()
    engine = choose_engine(setup.config, setup.workspace.installation(), setup.environ)
    await engine.problem()
    registration = _registration(setup, wish, token, engine)
    redactor = Redactor([token.reveal(), token.secret])
    async with control_plane(setup.api_url, setup.config.custom_ca_path, redactor) as plane:
        return await enroll(
            setup.workspace, plane, registration, setup.api_url, patience=Patience(), seconds=REGISTER_SECONDS, on_failure=on_failure
        )


def check_wish(wish: Wish) -> None:
    """Raises BadWish in one sentence where the control plane would not take the name or the labels."""
    for value, kind, limits in (
        (wish.name, _name, "The name of a runner needs 1 to 120 characters of valid text."),
        (wish.labels, _labels, "A runner has at most 32 labels, each of 1 to 64 characters of valid text."),
    ):
        try:
            kind.validate_python(value)
        except ValidationError as error:
            raise BadWish(limits) from error


def _registration(setup: Setup, wish: Wish, token: Token, engine: Engine) -> Registration:
    return Registration(
        enrollment_token=token.reveal(),
        exchange_key=exchange_key(setup.workspace, token),
        name=wish.name,
        version=__version__,
        os=system_name(),
        arch=machine_name(),
        container_engine=engine.name,
        configured_concurrency=setup.config.concurrency,
        provider_state=provider_state(setup.environ),
        capabilities=capabilities(
            setup.environ,
            has_target_auth=find_target_auth_file(setup.config) is not None,
            engine=engine.describe(),
            scanners=scanner_facts(status(setup.config.scanners_dir or default_dir())),
        ),
        labels=list(wish.labels),
    )


def remember_concurrency(workspace: Workspace, concurrency: int) -> None:
    """Keep the wish of `register` for `run`, unless the settings file has its own."""
    path = workspace.config_file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if "concurrency" in tomllib.loads(text):
        return
    draft = path.with_suffix(".draft")
    # At the top: below a table it would belong to that.
    draft.write_text(f"concurrency = {concurrency}\n{text}", encoding="utf-8")
    draft.replace(path)


async def leave(setup: Setup) -> str | None:
    """Say goodbye and forget the identity; answers why the goodbye was not heard, None where it was."""
    problem: str | None = None
    if setup.identity is not None:
        redactor = Redactor([setup.identity.token.reveal()])
        try:
            async with control_plane(setup.api_url, setup.config.custom_ca_path, redactor, setup.identity.token) as plane:
                await plane.goodbye(Goodbye(reason="the runner was unregistered on its host"))
        except (CallFailed, ConfigProblem, BadAuthority, BadProxy) as error:
            problem = str(error)
    setup.workspace.identity_file.unlink(missing_ok=True)
    setup.workspace.exchange_file.unlink(missing_ok=True)
    return problem
