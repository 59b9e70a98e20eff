"""How both clients connect: address, key, authorities, proxies of the environment, limits. A redirect is never followed."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from apviso import __version__
from apviso.client.calls import JSON, Call
from apviso.client.errors import BadSettings, Unreachable
from apviso.protocol.address import control_plane_address
from apviso.protocol.tokens import Namespace, Token, parse_token

CONNECT_SECONDS = 10.0
MAX_CONNECTIONS = 20
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Connection:
    """Whom to call and as whom. Its repr holds no secret."""

    api_url: str
    api_key: Token
    custom_ca: Path | None = None
    user_agent: str = field(default=f"apviso-client/{__version__}", repr=False)

    @classmethod
    def of(cls, api_url: str | None, api_key: str | None, custom_ca: Path | str | None) -> Connection:
        """What is not given comes from APVISO_API_URL, APVISO_API_KEY and APVISO_CUSTOM_CA_PATH. Raises BadSettings."""
        url = api_url or _variable("APVISO_API_URL")
        key = api_key or _variable("APVISO_API_KEY")
        ca = custom_ca or _variable("APVISO_CUSTOM_CA_PATH")
        if not url:
            raise BadSettings("the address of the control plane is missing: set APVISO_API_URL")
        if not key:
            raise BadSettings("the API key is missing: set APVISO_API_KEY")
        token = parse_token(key)
        if token is None or token.namespace is not Namespace.API_KEY:
            raise BadSettings("the API key has not the shape of one (apvk_...): copy it whole")
        try:
            return cls(control_plane_address(url), token, Path(ca).expanduser() if ca else None)
        except ValueError as error:
            raise BadSettings(f"the address of the control plane {error}") from error

    def words(self) -> dict[str, Any]:
        """The arguments of an HTTP client. Raises BadSettings."""
        return {
            "verify": _trust(self.custom_ca),
            "timeout": httpx2.Timeout(CONNECT_SECONDS),
            "limits": httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=4, keepalive_expiry=30.0),
            "follow_redirects": False,
            "trust_env": True,
        }

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """The arguments of one request."""
        headers = {"accept": JSON, "user-agent": self.user_agent, "x-api-key": self.api_key.reveal(), **dict(call.headers)}
        if call.body is not None:
            headers["content-type"] = JSON
        return {
            "method": call.method,
            "url": f"{self.api_url}/api/v1{call.path}",
            "params": list(call.query) or None,
            "content": call.body,
            "headers": headers,
            "timeout": httpx2.Timeout(call.seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        }

    def unreachable(self, error: BaseException) -> Unreachable:
        """One sentence with the deepest cause, where the useful words are."""
        cause = error
        while (inner := cause.__cause__ or cause.__context__) is not None:
            cause = inner
        if isinstance(cause, TimeoutError | httpx2.TimeoutException):
            return Unreachable(f"no answer from {self.api_url} in time")
        return Unreachable(f"{self.api_url} cannot be reached: {str(cause) or type(cause).__name__}")


def bad_proxy(environ: Mapping[str, str] = os.environ) -> BadSettings:
    """The message names the variables and never quotes one, which may hold a password."""
    named = sorted(name for name in environ if name.upper() in _PROXY_VARIABLES and environ[name])
    return BadSettings(f"the proxy that the environment names ({', '.join(named) or 'system settings'}) cannot be used")


def _variable(name: str) -> str:
    """An empty variable counts as not set: that is how containers and units clear one."""
    return os.environ.get(name, "").strip()


def _trust(custom_ca: Path | None) -> ssl.SSLContext:
    """The system's authorities, and `custom_ca` (a PEM file or a folder of hashed ones) beside them."""
    context = ssl.create_default_context()
    if custom_ca is None:
        return context
    try:
        where = {"capath": str(custom_ca)} if custom_ca.is_dir() else {"cafile": str(custom_ca)}
        context.load_verify_locations(**where)
    except (OSError, ssl.SSLError) as error:
        raise BadSettings(f"{custom_ca} holds no certificate that can be read (PEM is expected)") from error
    return context


# What the library raises where an answer did not come, or not whole.
LOST = (httpx2.HTTPError, httpx2.InvalidURL, OSError)
CANNOT_OPEN = (ValueError, ImportError, httpx2.InvalidURL)
