"""Credentials for targets, from a local file: read, matched to a target, turned into headers for the guard. They never go anywhere else."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from apviso.protocol.targets import JobTarget
from apviso.runner.private_files import read_private
from apviso.runner.redaction import MIN_SECRET_LENGTH
from apviso.scanning.guard_rules import AllowedHost, InvalidTarget, allowed_host


class BadTargetAuth(Exception):
    """The file cannot be used; the message never quotes a value."""


def _header_value(text: str) -> str:
    """As it will be sent: without the white space around it, which the target never sees and so never echoes."""
    bare = text.strip()
    if not bare:
        raise ValueError("is empty")
    if any(sign < " " or "\x7f" <= sign <= "\x9f" for sign in bare):
        raise ValueError("holds a control character")
    return bare


HeaderValue = Annotated[str, AfterValidator(_header_value)]
# Long enough to be taken for a secret, but in every second report about authentication.
_SCHEMES = frozenset({"bearer", "digest", "negotiate", "apikey", "api-key", "aws4-hmac-sha256", "scram-sha-1", "scram-sha-256"})


def _pieces(header: str) -> list[str]:
    """What a target may echo alone of a header's value: its words, and the values of `name=value`, with and without their quotes.

    Names and schemes are no secrets: a report has to be able to name them.
    """
    words = [word for word in re.split(r"[;,\s]+", header) if word.lower() not in _SCHEMES]
    # What ends with = is padded base64, not a name without a value.
    values = [word.partition("=")[2] if word.rstrip("=").count("=") else word.rstrip("=") for word in words]
    inner = [part for value in values for part in value.split("=")]
    bare = (piece.strip("\"'") for piece in (*words, *values, *inner))
    return [piece for piece in dict.fromkeys(bare) if len(piece) >= MIN_SECRET_LENGTH]


class _Entry(BaseModel):
    """`id`, `url` and `domain` say which target this is for; `url` and `domain` also pin where the secret may be sent."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    id: str | None = None
    url: str | None = None
    domain: str | None = None

    @model_validator(mode="after")
    def _names_a_target(self) -> _Entry:
        if not (self.id or self.url or self.domain):
            raise ValueError("an entry needs id, url or domain")
        return self

    def headers(self) -> dict[str, str]:
        return {}

    def values(self) -> list[str]:
        """Everything secret in this entry, for the redactor."""
        return []


class NoAuth(_Entry):
    type: Literal["none"]


class BearerAuth(_Entry):
    type: Literal["bearer"]
    token: HeaderValue = Field(repr=False, min_length=1)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def values(self) -> list[str]:
        return [self.token, *_pieces(self.token)]


class BasicAuth(_Entry):
    type: Literal["basic"]
    username: str
    password: str = Field(repr=False, min_length=1)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Basic {self._pair()}"}

    def values(self) -> list[str]:
        return [self.password, self._pair()]

    def _pair(self) -> str:
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class CookieAuth(_Entry):
    type: Literal["cookie"]
    cookie: HeaderValue = Field(repr=False, min_length=1, description="name=value; name2=value2")

    def headers(self) -> dict[str, str]:
        return {"Cookie": self.cookie}

    def values(self) -> list[str]:
        return [self.cookie, *(part.partition("=")[2].strip() for part in self.cookie.split(";")), *_pieces(self.cookie)]


class CustomHeadersAuth(_Entry):
    type: Literal["custom_headers"]
    headers_to_send: dict[str, HeaderValue] = Field(repr=False, min_length=1, alias="headers")

    def headers(self) -> dict[str, str]:
        return dict(self.headers_to_send)

    def values(self) -> list[str]:
        # "Bearer xyz": the part behind the scheme may be echoed alone.
        return [piece for value in self.headers_to_send.values() for piece in (value, value.rpartition(" ")[2], *_pieces(value))]


TargetAuth = Annotated[NoAuth | BearerAuth | BasicAuth | CookieAuth | CustomHeadersAuth, Field(discriminator="type")]
_entries: TypeAdapter[list[TargetAuth]] = TypeAdapter(list[TargetAuth])


def load_target_auth(path: Path | None) -> list[TargetAuth]:
    """The entries of a TOML or JSON file (`[[targets]]`); raises BadTargetAuth, or ExposedFile where others may read it."""
    if path is None:
        return []
    try:
        text = read_private(path)
    except UnicodeDecodeError:
        raise BadTargetAuth(f"{path} is no UTF-8 text") from None
    if text is None:
        raise BadTargetAuth(f"{path} does not exist")
    try:
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError:
        # The parser's own words may quote the line that holds the secret.
        raise BadTargetAuth(f"{path} is no valid {'JSON' if path.suffix == '.json' else 'TOML'}") from None
    if not isinstance(data, dict):
        raise BadTargetAuth(f"{path} must hold a list named targets")
    try:
        return _entries.validate_python(data.get("targets", []))
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadTargetAuth(f"{path}: targets.{where}: {first['msg']}") from None


def find_auth(entries: Sequence[TargetAuth], target: JobTarget) -> TargetAuth | None:
    """The entry for this target: by id, else by URL, else by domain. Each place that an entry names has to fit.

    `url` and `domain` are compared with the address that will be scanned, not with the name the control plane shows:
    otherwise a target with a trusted name and a foreign address would be handed the secret.
    """
    fitting = [entry for entry in entries if _fits(entry, target)]
    return min(fitting, key=lambda entry: (entry.id is None, entry.url is None), default=None)


def _fits(entry: TargetAuth, target: JobTarget) -> bool:
    return (
        (entry.id is None or entry.id == target.id)
        and (entry.url is None or _is_below(entry.url, target.scan_url))
        and (entry.domain is None or _is_host(entry.domain, target.scan_url))
    )


def _is_below(prefix: str, url: str) -> bool:
    folder = urlsplit(prefix).path.rstrip("/")
    path = urlsplit(url).path
    return _address(prefix) == _address(url) and (path == folder or path.startswith(folder + "/") or not folder)


def _is_host(domain: str, url: str) -> bool:
    """`domain` is a host with or without a port."""
    for scheme in ("http", "https"):
        wanted, actual = _address(f"{scheme}://{domain.strip()}"), _address(url)
        if wanted and actual and wanted.host == actual.host and (wanted.port == actual.port or urlsplit(f"//{domain}").port is None):
            return True
    return False


def _address(url: str) -> AllowedHost | None:
    try:
        return allowed_host(url)
    except InvalidTarget:
        return None
