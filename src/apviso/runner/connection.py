"""The HTTP client that the runner talks through: custom authorities, the environment's proxies, no redirects, no cookies kept."""

from __future__ import annotations

from pathlib import Path

import httpx2

from apviso.runner.trust import trust

# Each job has at most two calls under way; the loops have three.
MAX_CONNECTIONS = 160


def open_client(custom_ca: Path | None) -> httpx2.AsyncClient:
    """HTTPS_PROXY, HTTP_PROXY and NO_PROXY apply. A redirect is never followed: it would carry the token elsewhere.

    The phases of a call have limits of their own only for connecting; the whole call's deadline is the caller's.
    """
    return httpx2.AsyncClient(
        verify=trust(custom_ca),
        timeout=httpx2.Timeout(None, connect=10.0, pool=10.0),
        limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=16, keepalive_expiry=30.0),
        follow_redirects=False,
        trust_env=True,
    )
