"""What a license document permits at a moment. Pure: it opens no file and asks no one."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, JsonValue, TypeAdapter

from apviso.protocol.licenses import License
from apviso.protocol.states import LicenseState, Visibility
from apviso.protocol.wire import Instant, Name, Wire

ANY_ORGANIZATION = "*"
COMMUNITY_PLAN = "community"
# The contract's free plan. A partner's or client's systems need a license that names them.
COMMUNITY_VISIBILITIES = (Visibility.PUBLIC, Visibility.STAGING_PREVIEW, Visibility.PRIVATE_INTERNAL, Visibility.LOCALHOST)
COMMUNITY_RUNNERS = 10
COMMUNITY_JOBS = 10
COMMUNITY_TARGETS = 25
# A license is about one kilobyte; what is much longer is not one.
MAX_DOCUMENT_CHARACTERS = 64 * 1024
PUBLIC_KEY_BYTES = 32

Limit = Annotated[int, Field(ge=0, le=1_000_000)]


class Terms(Wire):
    """What was sold: the signed part of a license document. `organization` is a name, or `*` for any."""

    license_id: Name
    organization: Name
    plan: Name
    runner_limit: Limit
    concurrent_job_limit: Limit
    target_limit: Limit
    allowed_target_visibilities: list[Visibility]
    issued_at: Instant
    expires_at: Instant
    grace_days: Annotated[int, Field(ge=0, le=3650)] = 0
    suspended: bool = False


_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def canonical(license_: dict[str, JsonValue]) -> bytes:
    """The bytes that are signed: keys sorted, no blanks, UTF-8."""
    return json.dumps(license_, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def key_id(public_key: bytes) -> str:
    """A short name of an issuer's key: the beginning of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def sign(terms: Terms, issuer: Ed25519PrivateKey) -> str:
    """A license document, ready to be written to a file."""
    license_ = _OBJECT.validate_json(terms.model_dump_json(by_alias=True))
    signature = base64.b64encode(issuer.sign(canonical(license_))).decode()
    public_key = issuer.public_key().public_bytes_raw()
    return json.dumps({"license": license_, "signature": signature, "keyId": key_id(public_key)}, indent=2, ensure_ascii=False) + "\n"


@lru_cache(maxsize=256)  # a readiness answer asks again for the same document; the signature need not be checked each time
def find_terms(document: str, issuer_keys: tuple[str, ...]) -> Terms | None:
    """The terms that one of the issuers (base64 public keys) signed; None for whatever does not verify."""
    if len(document) > MAX_DOCUMENT_CHARACTERS:
        return None
    try:
        outer = json.loads(document)
        license_, signature = _OBJECT.validate_python(outer["license"]), base64.b64decode(outer["signature"], validate=True)
        signed = canonical(license_)
        terms = Terms.model_validate_json(signed)
    # Whatever is wrong with a file that anyone may have written, the answer is the same.
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return terms if any(_verifies(key, outer.get("keyId"), signature, signed) for key in issuer_keys) else None


def _verifies(issuer_key: str, named: Any, signature: bytes, signed: bytes) -> bool:
    public_key = public_key_of(issuer_key)
    if public_key is None or key_id(public_key) != named:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def public_key_of(text: str) -> bytes | None:
    """The 32 bytes of a base64 Ed25519 public key; None where it is not one."""
    try:
        decoded = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return None
    return decoded if len(decoded) == PUBLIC_KEY_BYTES else None


def standing(document: str | None, organization_name: str, issuer_keys: tuple[str, ...], now: datetime) -> License:
    """What the organization may do at `now`. Without a document, the community plan; with a document that is not good, nothing."""
    if document is None:
        return _community()
    terms = find_terms(document, issuer_keys)
    if terms is None or terms.organization not in (organization_name, ANY_ORGANIZATION):
        return _nothing()
    state = state_of(terms, now)
    permits = state in (LicenseState.ACTIVE, LicenseState.GRACE)
    return License(
        plan=terms.plan,
        license_state=state,
        can_register_runner=permits,
        can_start_self_hosted_scan=permits,
        can_scan_private_target=permits and Visibility.PRIVATE_INTERNAL in terms.allowed_target_visibilities,
        runner_limit=terms.runner_limit,
        concurrent_job_limit=terms.concurrent_job_limit,
        target_limit=terms.target_limit,
        allowed_target_visibilities=list(dict.fromkeys(terms.allowed_target_visibilities)),
        expires_at=terms.expires_at,
    )


def state_of(terms: Terms, now: datetime) -> LicenseState:
    if terms.suspended:
        return LicenseState.SUSPENDED
    if now < terms.expires_at:
        return LicenseState.ACTIVE
    if now - terms.expires_at < timedelta(days=terms.grace_days):
        return LicenseState.GRACE
    return LicenseState.EXPIRED


def _community() -> License:
    return License(
        plan=COMMUNITY_PLAN,
        license_state=LicenseState.ACTIVE,
        can_register_runner=True,
        can_start_self_hosted_scan=True,
        can_scan_private_target=True,
        runner_limit=COMMUNITY_RUNNERS,
        concurrent_job_limit=COMMUNITY_JOBS,
        target_limit=COMMUNITY_TARGETS,
        allowed_target_visibilities=list(COMMUNITY_VISIBILITIES),
    )


def _nothing() -> License:
    return License(
        plan="none",
        license_state=LicenseState.NONE,
        can_register_runner=False,
        can_start_self_hosted_scan=False,
        can_scan_private_target=False,
        runner_limit=0,
        concurrent_job_limit=0,
        target_limit=0,
        allowed_target_visibilities=[],
    )
