"""Encrypts at rest what the server must be able to read again, with a key that is not in the database."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

KEY_FILE = "webhooks.key"


class CannotOpen(Exception):
    """What was sealed with another key, or changed since."""


class Vault:
    """Seals with the first key and opens with any of them, so that a key can be replaced."""

    def __init__(self, keys: list[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises CannotOpen."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise CannotOpen from error


def open_vault(keys: list[str], data_dir: Path) -> Vault:
    """With the keys of the settings, or with the key of this installation, which is made when it is first needed."""
    return Vault(keys or [_own_key(data_dir / KEY_FILE)])


def _own_key(place: Path) -> str:
    if not place.exists():
        # Whole or not at all, and only for our own account: another process may be starting on the same folder.
        draft = place.with_name(f"{place.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, place)
        draft.unlink()
    return place.read_text(encoding="ascii").strip()
