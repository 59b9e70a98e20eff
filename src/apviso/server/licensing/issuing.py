"""The issuer's side of licenses: a key pair in files, and signed documents. Only whoever sells licenses needs it."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

KEY_MODE = 0o600


class BadKeyFile(Exception):
    """The file is there and holds no unencrypted Ed25519 private key."""


def open_issuer_key(file: Path) -> Ed25519PrivateKey:
    """The key in `file` (PEM); with the first use a new one is made. The public key is written beside it, as `<name>.pub`."""
    key = _read(file) if file.exists() else _make(file)
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    file.with_suffix(".pub").write_text(public + "\n", encoding="ascii")
    return key


def _read(file: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKeyFile(f"{file} holds no unencrypted private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKeyFile(f"{file} holds a key of another kind than Ed25519")
    return key


def _make(file: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Born private: no moment in which others could read it, and never over a file that is there.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE), "wb") as opened:
        opened.write(written)
    return key
