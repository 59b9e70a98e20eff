"""The target auth file: where it is, what it holds, and how an entry is added to it. Never quotes a value."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from apviso.runner.config import Config
from apviso.runner.private_files import read_private, write_private
from apviso.runner.target_auth.entries import BrowserStateAuth, TargetAuth
from apviso.runner.workspace import Workspace

_entries: TypeAdapter[list[TargetAuth]] = TypeAdapter(list[TargetAuth])


class BadTargetAuth(Exception):
    """The file cannot be used; the message never quotes a value."""


def find_target_auth_file(config: Config) -> Path | None:
    """The file that the settings name, else the workspace's own where there is one: it may be made while the daemon runs."""
    own = Workspace(config.workspace).target_auth_file
    return config.target_auth_config_file or (own if own.exists() else None)


def load_target_auth(path: Path | None) -> list[TargetAuth]:
    """The entries of a TOML or JSON file (`[[targets]]`); raises BadTargetAuth, or ExposedFile where others may read it."""
    if path is None:
        return []
    text = _read(path)
    if text is None:
        raise BadTargetAuth(f"{path} does not exist")
    return parse_target_auth(path, text)


def parse_target_auth(path: Path, text: str) -> list[TargetAuth]:
    """`path` says which notation it is, and which folder the names of other files begin in. Raises BadTargetAuth."""
    try:
        entries = _entries.validate_python(_parsed(path, text).get("targets", []))
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadTargetAuth(f"{path}: targets.{where}: {first['msg'].removeprefix('Value error, ')}") from None
    _check_unique(path, entries)
    return [_placed(entry, path.parent) for entry in entries]


def _read(path: Path) -> str | None:
    try:
        return read_private(path)
    except UnicodeDecodeError:
        raise BadTargetAuth(f"{path} is no UTF-8 text") from None


def _parsed(path: Path, text: str) -> dict[str, JsonValue]:
    try:
        data = json.loads(text) if _is_json(path) else tomllib.loads(text)
    except (ValueError, RecursionError):
        # The parser's own words may quote the line that holds the secret.
        raise BadTargetAuth(f"{path} is no valid {'JSON' if _is_json(path) else 'TOML'}") from None
    if not isinstance(data, dict):
        raise BadTargetAuth(f"{path} must hold a list named targets")
    return data


def _is_json(path: Path) -> bool:
    return path.suffix == ".json"


def _placed(entry: TargetAuth, folder: Path) -> TargetAuth:
    if isinstance(entry, BrowserStateAuth):
        return entry.model_copy(update={"state_file": folder / entry.state_file.expanduser()})
    return entry


def _check_unique(path: Path, entries: Sequence[TargetAuth]) -> None:
    seen: set[tuple[str | None, ...]] = set()
    for number, entry in enumerate(entries):
        key = (entry.id, entry.url, entry.domain, entry.identity)
        if key in seen:
            raise BadTargetAuth(f"{path}: targets.{number}: there is an entry for this target and the identity {entry.identity} already")
        seen.add(key)


def add_entry(path: Path, entry: Mapping[str, JsonValue]) -> int:
    """Add an entry behind those that are there, and keep all else as it is; how many there are now.

    Raises BadTargetAuth where the file would not be good with it; then nothing is written. Raises ExposedFile, OSError.
    """
    text = _read(path) or ""
    if text:
        parse_target_auth(path, text)
    if _is_json(path):
        data = _parsed(path, text or "{}")
        known = data.get("targets", [])
        longer = json.dumps({**data, "targets": [*(known if isinstance(known, list) else []), dict(entry)]}, indent=2, ensure_ascii=False)
    else:
        longer = (text.rstrip() + "\n\n" if text.strip() else "") + _as_toml(entry)
    entries = parse_target_auth(path, longer)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, longer.rstrip() + "\n")
    return len(entries)


def _as_toml(entry: Mapping[str, JsonValue]) -> str:
    return "[[targets]]\n" + "".join(f"{name} = {_toml_value(value)}\n" for name, value in entry.items())


def _toml_value(value: JsonValue) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_value(name)} = {_toml_value(inner)}" for name, inner in value.items()) + " }"
    # A string of JSON is one of TOML, but for the one control character that only TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
