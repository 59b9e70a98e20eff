"""Signs messages as the Standard Webhooks have it, with every secret that is in force. Pure.

The signature is HMAC-SHA256 over `id.timestamp.body`; see https://www.standardwebhooks.com.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from apviso.server.webhooks.facts import Sealed

PREFIX = "whsec_"
SECRET_BYTES = 32
# Time to bring the new secret to the receiver.
OVERLAP = timedelta(hours=24)
# A rotation whose answer was lost is done again; the receiver still knows the secret before both.
MOST_SECRETS = 4


def secret_of(random: bytes) -> str:
    """A secret as it is shown, from random bytes."""
    return PREFIX + base64.b64encode(random).decode()


def headers(secrets: Iterable[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """What a receiver needs to believe a message; one signature for each secret."""
    timestamp = str(int(at.timestamp()))
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    signatures = [f"v1,{_signature(secret, signed)}" for secret in secrets]
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signatures)}


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def in_force(secrets: Sequence[Sealed], now: datetime) -> list[Sealed]:
    """Those that messages are signed with at `now`, the newest first."""
    return [one for one in secrets if one.until is None or one.until > now]


def rotated(secrets: Sequence[Sealed], new: Sealed, now: datetime) -> list[Sealed]:
    """The secrets after `new` was issued: the one before it is good for a while longer."""
    kept = [Sealed(one.text, one.until or now + OVERLAP) for one in in_force(secrets, now)]
    return [new, *kept][:MOST_SECRETS]


def overlap_until(secrets: Sequence[Sealed], now: datetime) -> datetime | None:
    """Until when messages carry more than one signature; None where they carry one."""
    return max((one.until for one in in_force(secrets, now) if one.until is not None), default=None)
