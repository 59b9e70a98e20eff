"""The HTTP client that the runner talks through: custom authorities, the environment's proxies, no redirects, no cookies kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx2

from apviso.runner.trust import trust

# Each job has at most two calls under way; the loops have three.
MAX_CONNECTIONS = 160
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


class BadProxy(Exception):
    """The environment's proxy cannot be used; the message names the variables and never quotes one, which may hold a password."""


def _bad_proxy(environ: Mapping[str, str]) -> BadProxy:
    named = [name for name in environ if name.upper() in _PROXY_VARIABLES and environ[name]]
    return BadProxy(
        f"The proxy that the environment names ({', '.join(sorted(named)) or 'system settings'}) cannot be used; "
        "it must be an http:// or https:// address"
    )


def open_client(custom_ca: Path | None) -> httpx2.AsyncClient:
    """HTTPS_PROXY, HTTP_PROXY and NO_PROXY apply. A redirect is never followed: it would carry the token elsewhere.

    The phases of a call have limits of their own only for connecting; the whole call's deadline is the caller's.
    Raises BadAuthority or BadProxy.
    """
    authorities = trust(custom_ca)
    try:
        return httpx2.AsyncClient(
            verify=authorities,
            timeout=httpx2.Timeout(None, connect=10.0, pool=10.0),
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=16, keepalive_expiry=30.0),
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            trust_env=True,
        )
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        # Nothing else in these arguments varies: an ImportError is a SOCKS proxy, for which there is no support.
        raise _bad_proxy(os.environ) from error
