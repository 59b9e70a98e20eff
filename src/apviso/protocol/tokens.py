"""Bearer tokens: `<namespace>_<12 hex prefix>_<secret of 256 bits>`. The prefix is public, the secret is kept only as a digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from enum import StrEnum

_SHAPE = re.compile(r"(apv[kerjls])_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
# Also of a token that was cut short, or that something follows.
_ANYWHERE = re.compile(r"(apv[kerjls])_([0-9a-f]{12})_[A-Za-z0-9_-]+")


class Namespace(StrEnum):
    API_KEY = "apvk"
    ENROLLMENT = "apve"
    RUNNER = "apvr"
    JOB = "apvj"
    # Of a person's browser, and of the link that lets one in once; no API takes them.
    SESSION = "apvs"
    LINK = "apvl"


@dataclass(frozen=True)
class Token:
    """A parsed token. Its repr and str never show the secret; `reveal` does."""

    namespace: Namespace
    prefix: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.namespace}_{self.prefix}_[redacted]"

    def reveal(self) -> str:
        """The token in clear, for the one answer or header that carries it."""
        return f"{self.namespace}_{self.prefix}_{self.secret}"

    def digest(self) -> str:
        """What is kept at rest: SHA-256 of the secret, hexadecimal. A 256-bit random secret needs no salt and no stretching."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def matches(self, digest: str) -> bool:
        """Compare with a kept digest in constant time."""
        return hmac.compare_digest(self.digest(), digest)

    def derive(self, namespace: Namespace, purpose: str) -> Token:
        """A token that only the holder of this one can be given again: the same `purpose` derives the same token."""
        seed = hmac.digest(self.secret.encode(), f"{namespace}:{purpose}".encode(), "sha512")
        return Token(namespace, seed[32:38].hex(), urlsafe_b64encode(seed[:32]).decode().rstrip("="))


def new_token(namespace: Namespace) -> Token:
    return Token(namespace, secrets.token_hex(6), secrets.token_urlsafe(32))


def without_secrets(text: str) -> str:
    """`text` with the secret of each token in it left out."""
    return _ANYWHERE.sub(r"\1_\2_[redacted]", text)


def parse_token(text: str) -> Token | None:
    """The token written in `text`, or None where it has not the shape of one."""
    found = _SHAPE.fullmatch(text.strip())
    return Token(Namespace(found[1]), found[2], found[3]) if found else None
