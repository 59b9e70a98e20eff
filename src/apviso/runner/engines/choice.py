"""Decides which engine runs this runner's scans: what the settings name, else containers where they are possible, else processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from apviso.runner.config import Config
from apviso.runner.engines import Engine
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.runner.engines.kept_signatures import KeptSignatures
from apviso.runner.engines.process import BUILT_IN_SCAN, ProcessEngine
from apviso.runner.engines.signatures import Trust
from apviso.runner.workspace import Workspace

ContainerKind = Literal["docker", "podman"]
_VARIABLES: Mapping[ContainerKind, str] = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
_SYSTEM_SOCKETS: Mapping[ContainerKind, str] = {"docker": "/var/run/docker.sock", "podman": "/run/podman/podman.sock"}
_USER_SOCKETS: Mapping[ContainerKind, str] = {"docker": "docker.sock", "podman": "podman/podman.sock"}


def choose_engine(config: Config, installation: str, environ: Mapping[str, str] = os.environ) -> Engine:
    """Without a scan image there is nothing to run in a container, so `auto` then means processes."""
    kind = config.engine
    if kind == "auto":
        found = find_container_engine(environ) if config.scan_image is not None and config.scan_command is None else None
        kind = found or "process"
    if kind == "process":
        return ProcessEngine(config.scan_command or BUILT_IN_SCAN)
    socket_file = config.engine_socket or socket_of(kind, environ)
    trust = Trust(config.image_policy, config.image_key, KeptSignatures(Workspace(config.workspace).signatures_file))
    return ContainerEngine(kind, socket_file, config.scan_image, installation, trust, config.custom_ca_path)


def find_container_engine(environ: Mapping[str, str] = os.environ) -> ContainerKind | None:
    """The first whose socket is there."""
    kinds: tuple[ContainerKind, ...] = ("docker", "podman")
    return next((kind for kind in kinds if socket_of(kind, environ).is_socket()), None)


def socket_of(kind: ContainerKind, environ: Mapping[str, str]) -> Path:
    """Where the environment says, else the account's own socket where there is one, else the system's."""
    named = environ.get(_VARIABLES[kind], "")
    if named.startswith("unix://"):
        return Path(named.removeprefix("unix://"))
    own = Path(environ.get("XDG_RUNTIME_DIR", "/nonexistent")) / _USER_SOCKETS[kind]
    return own if own.is_socket() else Path(_SYSTEM_SOCKETS[kind])
