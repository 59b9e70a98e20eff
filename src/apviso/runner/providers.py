"""Model providers and what configures each on this host. Values are handed to scan images that declare the need, and to nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from apviso.runner.private_files import ExposedFile, read_private

NO_PROVIDER = "none"
# The label by which an image says which providers it can use: names with commas between them.
IMAGE_LABEL = "io.apviso.model-provider"
_MOST_NAMES = 20
_NAME = re.compile(r"[a-z0-9-]{1,40}")
# Of a login file only what is as long as a token is taken for one; the rest are words such as the kind of the account.
_SHORTEST_TOKEN = 16
# Handed over with the secrets, but none themselves.
_PLAIN = frozenset({"CLOUDFLARE_GATEWAY_ID", "AWS_REGION"})


@dataclass(frozen=True)
class LoginFile:
    """A file that the provider's own login writes: below a folder of its own variable, else below the home folder."""

    handed_as: str
    folder_variable: str
    folder: str
    name: str

    def place(self, environ: Mapping[str, str]) -> Path | None:
        if named := environ.get(self.folder_variable):
            return Path(named) / self.name
        return Path(home) / self.folder / self.name if (home := environ.get("HOME")) else None


@dataclass(frozen=True)
class Way:
    """One way to configure a provider: by all variables in `needed`, with those in `also` where they are set, or by a file."""

    needed: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    file: LoginFile | None = None


# In the order in which they are reported where several are configured.
PROVIDERS: Mapping[str, tuple[Way, ...]] = {
    "anthropic": (Way(("ANTHROPIC_API_KEY",)),),
    "openai": (Way(("OPENAI_API_KEY",)),),
    "openai-codex": (Way(file=LoginFile("CODEX_AUTH_JSON", "CODEX_HOME", ".codex", "auth.json")),),
    "github-copilot": (
        Way(("COPILOT_GITHUB_TOKEN",)),
        Way(file=LoginFile("GITHUB_COPILOT_APPS_JSON", "XDG_CONFIG_HOME", ".config", "github-copilot/apps.json")),
    ),
    "cloudflare-ai-gateway": (Way(("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_GATEWAY_ID")),),
    "bedrock": (
        Way(("AWS_BEARER_TOKEN_BEDROCK",), ("AWS_REGION",)),
        Way(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SESSION_TOKEN", "AWS_REGION")),
    ),
    "claude-code": (
        Way(("CLAUDE_CODE_OAUTH_TOKEN",)),
        Way(file=LoginFile("CLAUDE_CODE_CREDENTIALS_JSON", "CLAUDE_CONFIG_DIR", ".claude", ".credentials.json")),
    ),
}


def needed_providers(label: str | None) -> tuple[str, ...]:
    """The providers that an image's label names; empty where it needs none. A name that makes no sense stays: nobody can meet it."""
    names = [name.strip().lower() for name in (label or "").split(",")]
    told = [name if _NAME.fullmatch(name) else "?" for name in names if name and name != NO_PROVIDER]
    return tuple(dict.fromkeys(told))[:_MOST_NAMES]


def configured_provider(environ: Mapping[str, str]) -> str:
    """The name of the first provider that is configured, or none. Reads no file."""
    return next((name for name, ways in PROVIDERS.items() if any(_is_there(way, environ) for way in ways)), NO_PROVIDER)


def _is_there(way: Way, environ: Mapping[str, str]) -> bool:
    if way.file is None:
        return all(environ.get(variable) for variable in way.needed)
    place = way.file.place(environ)
    return place is not None and place.is_file()


def environment_secrets(environ: Mapping[str, str]) -> list[str]:
    """Values of all providers' variables, whole or not, for the redactor alone."""
    variables = {variable for ways in PROVIDERS.values() for way in ways for variable in (*way.needed, *way.also)} - _PLAIN
    return [environ[variable] for variable in sorted(variables) if environ.get(variable)]


@dataclass(frozen=True)
class Provider:
    """`credentials` are values by the name of their variable; `secrets` all in them that must not be told."""

    name: str
    credentials: Mapping[str, str]
    secrets: Sequence[str]

    def __repr__(self) -> str:
        return f"Provider({self.name}, {', '.join(self.credentials)})"


class UnusableLogin(Exception):
    """The login file of a provider is there and cannot be read; the message quotes nothing of it."""


def find_provider(name: str, environ: Mapping[str, str]) -> Provider | None:
    """What configures this provider here, None where nothing does. Raises UnusableLogin."""
    way = next((way for way in PROVIDERS.get(name, ()) if _is_there(way, environ)), None)
    if way is None:
        return None
    if way.file is not None:
        return _from_file(name, way.file, environ)
    told = {variable: environ[variable] for variable in (*way.needed, *way.also) if environ.get(variable)}
    return Provider(name, told, [value for variable, value in told.items() if variable not in _PLAIN])


def _from_file(name: str, file: LoginFile, environ: Mapping[str, str]) -> Provider | None:
    place = file.place(environ)
    try:
        text = read_private(place) if place is not None else None
        if text is None:
            return None
        return Provider(name, {file.handed_as: text}, _tokens(json.loads(text)))
    except (ExposedFile, OSError) as error:
        raise UnusableLogin(str(error)) from error
    except (ValueError, RecursionError):
        raise UnusableLogin(f"{place} is no valid JSON") from None


def _tokens(value: JsonValue) -> list[str]:
    match value:
        case str():
            return [value] if len(value) >= _SHORTEST_TOKEN else []
        case list():
            return [token for item in value for token in _tokens(item)]
        case dict():
            return [token for item in value.values() for token in _tokens(item)]
        case _:
            return []
