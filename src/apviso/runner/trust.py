"""Whom the runner believes over TLS: the system's authorities and, added to them, the operator's own. Never switches checks off."""

from __future__ import annotations

import ssl
from pathlib import Path


class BadAuthority(Exception):
    """The operator's file of certificate authorities cannot be used."""


def trust(custom_ca: Path | None) -> ssl.SSLContext:
    """A client context; `custom_ca` is a PEM file or a folder of hashed ones, added to what the system trusts."""
    context = ssl.create_default_context()
    if custom_ca is None:
        return context
    try:
        if custom_ca.is_dir():
            context.load_verify_locations(capath=str(custom_ca))
        else:
            context.load_verify_locations(cafile=str(custom_ca))
    except (OSError, ssl.SSLError) as error:
        raise BadAuthority(f"{custom_ca} holds no certificate that can be read (PEM is expected): {error}") from error
    return context
