"""What an entry of the target auth file can hold: the place it is for, one kind of credentials, and what of it is secret."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from apviso.runner.redaction import MIN_SECRET_LENGTH
from apviso.scanning.guard_rules import ANONYMOUS

DEFAULT_IDENTITY = "default"
# What holds a request together, or speaks to the guard, is no credential.
_NO_CREDENTIALS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "x-apviso-identity", "x-scan-id"})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Long enough to be taken for a secret, but in every second report about authentication.
_SCHEMES = frozenset({"bearer", "digest", "negotiate", "apikey", "api-key", "aws4-hmac-sha256", "scram-sha-1", "scram-sha-256"})


def header_value(text: str) -> str:
    """As it will be sent: without the white space around it, which the target never sees and so never echoes. Raises ValueError."""
    bare = text.strip()
    if not bare:
        raise ValueError("is empty")
    if any(sign < " " or "\x7f" <= sign <= "\x9f" for sign in bare):
        raise ValueError("holds a control character")
    return bare


def _name(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("is no name of a header or cookie")
    return text


def _header_name(text: str) -> str:
    if text.lower() in _NO_CREDENTIALS:
        raise ValueError(f"the header {text} cannot be set here")
    return _name(text)


def _cookie_value(text: str) -> str:
    if ";" in text:
        raise ValueError("holds a semicolon, which no value of a cookie can")
    return header_value(text)


def _identity_name(text: str) -> str:
    if text.lower() == ANONYMOUS:
        raise ValueError(f"{ANONYMOUS} is what a request without credentials is called; choose another name")
    return text


HeaderValue = Annotated[str, AfterValidator(header_value)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
CookieName = Annotated[str, AfterValidator(_name)]
CookieValue = Annotated[str, AfterValidator(_cookie_value)]
IdentityName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"), AfterValidator(_identity_name)]


def pieces(header: str) -> list[str]:
    """What a target may echo alone of a header's value: its words, and the values of `name=value`, with and without their quotes.

    Names and schemes are no secrets: a report has to be able to name them.
    """
    words = [word for word in re.split(r"[;,\s]+", header) if word.lower() not in _SCHEMES]
    # What ends with = is padded base64, not a name without a value.
    values = [word.partition("=")[2] if word.rstrip("=").count("=") else word.rstrip("=") for word in words]
    inner = [part for value in values for part in value.split("=")]
    bare = (piece.strip("\"'") for piece in (*words, *values, *inner))
    return [piece for piece in dict.fromkeys(bare) if len(piece) >= MIN_SECRET_LENGTH]


def header_secrets(value: str) -> list[str]:
    """A header's value and all that may be echoed of it alone; behind a scheme such as Bearer that is the rest."""
    return [value, value.rpartition(" ")[2], *pieces(value)]


class Entry(BaseModel):
    """`id`, `url` and `domain` say which target this is for; `url` and `domain` also pin where the secret may be sent.

    `logged_in_text` is what the page at `logged_in_url` shows to nobody but a visitor who is logged in. `api_document` is where the target
    has its OpenAPI document.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    id: str | None = None
    url: str | None = None
    domain: str | None = None
    identity: IdentityName = DEFAULT_IDENTITY
    logged_in_url: str | None = Field(None, min_length=1)
    logged_in_text: str | None = Field(None, min_length=1)
    api_document: str | None = Field(None, min_length=1, max_length=2000)

    @model_validator(mode="after")
    def _is_whole(self) -> Entry:
        if not (self.id or self.url or self.domain):
            raise ValueError("an entry needs id, url or domain")
        if (self.logged_in_url is None) != (self.logged_in_text is None):
            raise ValueError("logged_in_url and logged_in_text belong together")
        return self

    def headers(self) -> dict[str, str]:
        """What the guard adds. Empty for kinds that must first be looked up or logged in."""
        return {}

    def values(self) -> list[str]:
        """Everything secret in this entry, for the redactor."""
        return []


class NoAuth(Entry):
    type: Literal["none"]


class BearerAuth(Entry):
    type: Literal["bearer"]
    token: HeaderValue = Field(repr=False, min_length=1)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def values(self) -> list[str]:
        return [self.token, *pieces(self.token)]


class BasicAuth(Entry):
    type: Literal["basic"]
    username: str
    password: str = Field(repr=False, min_length=1)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Basic {self._pair()}"}

    def values(self) -> list[str]:
        return [self.password, self._pair()]

    def _pair(self) -> str:
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class CookieAuth(Entry):
    type: Literal["cookie"]
    cookie: HeaderValue = Field(repr=False, min_length=1, description="name=value; name2=value2")

    def headers(self) -> dict[str, str]:
        return {"Cookie": self.cookie}

    def values(self) -> list[str]:
        return [self.cookie, *(part.partition("=")[2].strip() for part in self.cookie.split(";")), *pieces(self.cookie)]


class NamedCookie(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    name: CookieName
    value: CookieValue = Field(repr=False)


class CookiesAuth(Entry):
    """`cookies` is a table of names and values, or a list of them."""

    type: Literal["cookies"]
    cookies: dict[CookieName, CookieValue] | list[NamedCookie] = Field(repr=False, min_length=1)

    def headers(self) -> dict[str, str]:
        return {"Cookie": cookie_header(self._pairs())}

    def values(self) -> list[str]:
        return [secret for value in self._pairs().values() for secret in (value, *pieces(value))]

    def _pairs(self) -> dict[str, str]:
        return self.cookies if isinstance(self.cookies, dict) else {cookie.name: cookie.value for cookie in self.cookies}


class ApiKeyAuth(Entry):
    """The key in one header or one cookie. Not in an address: addresses are logged, shown and followed everywhere."""

    type: Literal["api_key"]
    key: CookieValue = Field(repr=False)
    header: HeaderName | None = None
    cookie: CookieName | None = None
    query: str | None = Field(None, repr=False)

    @model_validator(mode="after")
    def _has_one_place(self) -> ApiKeyAuth:
        if self.query is not None:
            raise ValueError("a key in a query parameter would stand in addresses, and so in logs; name a header or a cookie instead")
        if (self.header is None) == (self.cookie is None):
            raise ValueError("an api_key needs the name of its header or of its cookie")
        return self

    def headers(self) -> dict[str, str]:
        return {self.header: self.key} if self.header is not None else {"Cookie": f"{self.cookie}={self.key}"}

    def values(self) -> list[str]:
        return header_secrets(self.key)


class CustomHeadersAuth(Entry):
    type: Literal["custom_headers"]
    headers_to_send: dict[HeaderName, HeaderValue] = Field(repr=False, min_length=1, alias="headers")

    def headers(self) -> dict[str, str]:
        return dict(self.headers_to_send)

    def values(self) -> list[str]:
        return [secret for value in self.headers_to_send.values() for secret in header_secrets(value)]


class LoginAuth(Entry):
    """A form that is filled in, or with `json` a body that is posted, before each scan.

    In the strings of `json`, `{username}` and `{password}` stand for the two. `token_field` (`data.token`) is where its answer has a token.
    """

    type: Literal["login"]
    login_url: str = Field(min_length=1)
    username: str
    password: str = Field(repr=False, min_length=1)
    username_field: str | None = None
    password_field: str | None = None
    json_body: dict[str, JsonValue] | None = Field(None, alias="json")
    token_field: str | None = None

    @model_validator(mode="after")
    def _can_be_done(self) -> LoginAuth:
        if self.json_body is None and self.token_field is not None:
            raise ValueError("token_field belongs to a login with json")
        if self.json_body is not None and "{password}" not in json.dumps(self.json_body):
            raise ValueError('json must say where the password goes, such as json = { user = "{username}", password = "{password}" }')
        return self

    def values(self) -> list[str]:
        return [self.password]


class BrowserStateAuth(Entry):
    """Cookies that a browser has kept, in a file of their own: a storage state as Playwright writes it."""

    type: Literal["browser_state"]
    state_file: Path


TargetAuth = Annotated[
    NoAuth | BearerAuth | BasicAuth | CookieAuth | CookiesAuth | ApiKeyAuth | CustomHeadersAuth | LoginAuth | BrowserStateAuth,
    Field(discriminator="type"),
]


def cookie_header(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())
