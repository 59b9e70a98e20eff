"""What the runner's commands share before they can work: settings, workspace, identity, a connection. Prints nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from apviso.protocol.targets import JobTarget
from apviso.protocol.tokens import Token
from apviso.runner.clock import Clock
from apviso.runner.config import Config, ConfigProblem, Resolved, load
from apviso.runner.connection import open_client
from apviso.runner.control_plane import ControlPlane
from apviso.runner.identity import BadToken, BrokenIdentity, Identity, find_identity, find_stored
from apviso.runner.private_files import ExposedFile
from apviso.runner.redaction import Redactor
from apviso.runner.workspace import Workspace


@dataclass(frozen=True)
class Setup:
    """`identity_problem` says why the identity that is there cannot be used; `has_bad_token` is whether its token is none."""

    resolved: Resolved
    identity: Identity | None
    identity_problem: str | None
    environ: Mapping[str, str]
    has_bad_token: bool = False

    @property
    def config(self) -> Config:
        return self.resolved.config

    @property
    def workspace(self) -> Workspace:
        return self.resolved.workspace

    @property
    def api_url(self) -> str:
        """Raises ConfigProblem where nobody said it."""
        if self.config.api_url is None:
            raise ConfigProblem("the address of the control plane is not known; set APVISO_API_URL or give --api-url")
        return self.config.api_url


def set_up(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Setup:
    """Read all that is there; raises ConfigProblem."""
    workspace = load(flags, environ).workspace
    identity: Identity | None = None
    problem: str | None = None
    has_bad_token = False
    stored_url: str | None = None
    try:
        stored = find_stored(workspace)
        stored_url = stored.api_url if stored else None
        identity = find_identity(workspace, environ)
    except (ExposedFile, BrokenIdentity, OSError) as error:
        problem, has_bad_token = str(error), isinstance(error, BadToken)
    return Setup(load(flags, environ, stored_url), identity, problem, environ, has_bad_token)


@asynccontextmanager
async def control_plane(
    api_url: str, custom_ca: Path | None, redactor: Redactor, token: Token | None = None
) -> AsyncIterator[ControlPlane]:
    async with open_client(custom_ca) as client:
        yield ControlPlane(api_url, client, redactor, token, Clock())


async def list_targets(setup: Setup) -> list[JobTarget]:
    """The targets that may be sent to this runner; none where it is not registered. Raises CallFailed, BadProxy or BadAuthority."""
    if setup.identity is None or setup.config.api_url is None:
        return []
    token = setup.identity.token
    async with control_plane(setup.api_url, setup.config.custom_ca_path, Redactor([token.reveal()]), token) as plane:
        return (await plane.targets()).targets
