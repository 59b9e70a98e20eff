"""A real OpenID Connect provider, of another make, as a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

START_SECONDS = 30
# The provider asks nobody for a password: whoever names a subject is it.
PEOPLE = [
    {"sub": "ada", "email": "Ada@acme.example", "email_verified": True, "name": "Ada"},
    {"sub": "mallory", "email": "ada@acme.example", "email_verified": False, "name": "Mallory"},
    {"sub": "eve", "email": "ada@acme.example", "email_verified": True, "name": "Eve"},
    {"sub": "new", "email": "new@acme.example", "email_verified": True, "name": "New <b>"},
]


@contextmanager
def identity_provider() -> Iterator[str]:
    """Its issuer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    people = [word for one in PEOPLE for word in ("--user-claims", json.dumps(one))]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true", *people]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    issuer = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(issuer):
            assert process.poll() is None, "the provider has ended"
            assert time.monotonic() < deadline, "the provider does not answer"
            time.sleep(0.1)
        yield issuer
    finally:
        process.terminate()
        process.wait(10)


def _answers(issuer: str) -> bool:
    try:
        return httpx2.get(f"{issuer}/.well-known/openid-configuration", timeout=2, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False
