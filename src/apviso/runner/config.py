"""The settings of a runner and where each value comes from: flag, then environment, then file, then identity file, then default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from apviso.protocol.address import ApiUrl
from apviso.protocol.runners import MAX_CONCURRENCY
from apviso.runner.workspace import Workspace

CONFIG_VARIABLE = "APVISO_RUNNER_CONFIG"
# Where the enrollment page tells people to set a runner up.
DEFAULT_WORKSPACE = "~/Documents/apviso-runner"


class ConfigProblem(Exception):
    """A setting that cannot be used; the message names it and its source."""


def _absolute(value: Path) -> Path:
    try:
        return value.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{value} names the home folder of an account that does not exist") from error


LocalPath = Annotated[Path, AfterValidator(_absolute)]


class Config(BaseModel):
    """What a runner can be told. Secrets are no settings: they have files and variables of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_url: ApiUrl | None = Field(None, description="Address of the control plane")
    workspace: LocalPath = Field(Path(DEFAULT_WORKSPACE), validate_default=True, description="Folder for identity, spool, logs and scans")
    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] = Field(1, description="Scans at the same time")
    target_auth_config_file: LocalPath | None = Field(None, description="File with the credentials for targets")
    custom_ca_path: LocalPath | None = Field(None, description="Certificate authorities (PEM) trusted beside the system's")
    shutdown_grace_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(20, description="How long running scans may finish after a stop")
    min_free_disk_bytes: Annotated[int, Field(ge=0)] = Field(1024**3, description="Free bytes in the workspace below which no scan starts")
    engine: Literal["auto", "docker", "podman", "process"] = Field(
        "auto", description="What runs scans; `auto` takes a container engine where there is one and `scan_image` is set"
    )
    engine_socket: LocalPath | None = Field(None, description="Socket of the container engine, where it is not at its usual place")
    scan_image: str | None = Field(None, description="Scan image by its digest: `registry/name@sha256:...`, or `sha256:...` of a local one")
    image_policy: Literal["require", "allow-unsigned-dev"] = Field(
        "require", description="Whether an image of a registry needs a signature by `image_key`"
    )
    image_key: LocalPath | None = Field(None, description="Public key (PEM) that signs scan images, of a cosign key pair")
    scanners_dir: LocalPath | None = Field(None, description="Environment that holds the scanners")
    scan_command: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="Program that runs a scan in place of the built-in one: order on standard input, NDJSON on standard output"
    )


ENVIRONMENT: Mapping[str, str] = {
    "api_url": "APVISO_API_URL",
    "workspace": "APVISO_RUNNER_WORKSPACE",
    "concurrency": "APVISO_RUNNER_CONCURRENCY",
    "target_auth_config_file": "APVISO_TARGET_AUTH_CONFIG_FILE",
    "custom_ca_path": "APVISO_CUSTOM_CA_PATH",
}


@dataclass(frozen=True)
class Layer:
    """Values from one source. `source` is the words that `doctor` shows."""

    source: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Resolved:
    """The settings and, for each, the source that decided."""

    config: Config
    sources: Mapping[str, str]

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.config.workspace)


def merge(*layers: Layer) -> Resolved:
    """The first layer that names a setting decides it. Raises ConfigProblem with the setting and its source."""
    values: dict[str, object] = {}
    sources = dict.fromkeys(Config.model_fields, "default")
    for layer in layers:
        for name, value in layer.values.items():
            if name not in values and value is not None:
                values[name] = value
                sources[name] = layer.source
    try:
        return Resolved(Config.model_validate(values), sources)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigProblem(f"{name} (from {sources.get(name, 'unknown source')}): {first['msg']}") from error


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """An empty variable counts as not set: that is how containers and units clear one."""
    return Layer("environment", {name: environ[variable] for name, variable in ENVIRONMENT.items() if environ.get(variable, "").strip()})


def file_layer(path: Path, *, required: bool) -> Layer:
    """The settings in a TOML file; a missing one is an error only where somebody named it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if required:
            raise ConfigProblem(f"{path} ({CONFIG_VARIABLE}) does not exist") from error
        return Layer(str(path), {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigProblem(f"{path} cannot be read: {error}") from error
    unknown = sorted(set(values) - set(Config.model_fields))
    if unknown:
        raise ConfigProblem(f"{path} names unknown settings: {', '.join(unknown)}")
    return Layer(str(path), values)


def load(flags: Mapping[str, object], environ: Mapping[str, str], identity_api_url: str | None = None) -> Resolved:
    """All layers in their order. Without a named file, `runner.toml` in the workspace is read where there is one."""
    flag, env = Layer("flag", flags), environment_layer(environ)
    named = environ.get(CONFIG_VARIABLE, "").strip()
    path = _named_file(named) if named else Workspace(merge(flag, env).config.workspace).config_file
    return merge(flag, env, file_layer(path, required=bool(named)), Layer("identity file", {"api_url": identity_api_url}))


def _named_file(name: str) -> Path:
    try:
        return _absolute(Path(name))
    except ValueError as error:
        raise ConfigProblem(f"{CONFIG_VARIABLE}: {error}") from error
