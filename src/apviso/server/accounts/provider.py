"""Signing in with a provider of identities: OpenID Connect, authorization code with PKCE. What the provider says is checked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, ValidationError

from apviso.server.accounts.errors import Declined
from apviso.server.settings import Settings

# Symmetric algorithms and `none` are not among them: whoever knows the client's secret could sign.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
SECONDS, CLOCK_SECONDS = 10.0, 60
KNOWN_FOR_SECONDS = 3600.0
MAX_BYTES = 1024**2
AWAY = "The provider of identities does not answer as it should. Try again later, or sign in with a password."
UNTRUE = "The provider of identities has not vouched for you. Begin again; if that does not help, tell an admin."


class Description(BaseModel):
    """Of what the provider publishes, the part that is used."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]


@dataclass(frozen=True)
class Errand:
    """What a browser takes along to the provider and must bring back."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)

    @classmethod
    def new(cls) -> Errand:
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class Identity:
    """Somebody whom the provider vouches for. `email` is empty unless the provider has verified it."""

    subject: str
    email: str
    name: str


class Provider:
    """The operator's provider. Its description and its keys are asked for when they are needed, and kept for an hour."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret
        self._known: tuple[float, Description, KeySet] | None = None
        self._asking = asyncio.Lock()

    @property
    def is_there(self) -> bool:
        return bool(self._issuer)

    async def address(self, errand: Errand, back: str) -> str:
        """Where the browser is sent. Raises Declined."""
        described, _ = await self._described()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": back,
            "scope": "openid email profile",
            "state": errand.state,
            "nonce": errand.nonce,
            "code_challenge": errand.challenge,
            "code_challenge_method": "S256",
        }
        return f"{described.authorization_endpoint}{'&' if '?' in described.authorization_endpoint else '?'}{urlencode(query)}"

    async def identity(self, code: str, errand: Errand, back: str, now: datetime) -> Identity:
        """Who came back with this code. Raises Declined."""
        described, _ = await self._described()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": errand.verifier}
        basic = None
        if "client_secret_basic" in described.token_endpoint_auth_methods_supported:
            basic = (self._client_id, self._secret.get_secret_value())
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret.get_secret_value()}
        answer = await _ask("POST", described.token_endpoint, data=form, auth=basic)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Declined(UNTRUE)
        keys = await self._keys_for(token)
        return read_identity(token, keys, described.issuer, self._client_id, errand.nonce, now)

    async def _keys_for(self, token: str) -> KeySet:
        """Asks once more where the token is signed with a key that is not known: providers change theirs."""
        _, keys = await self._described()
        try:
            jwt.decode(token, keys, algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            self._known = None
            _, keys = await self._described()
        return keys

    async def _described(self) -> tuple[Description, KeySet]:
        async with self._asking:
            known = self._known
            if known is None or time.monotonic() - known[0] > KNOWN_FOR_SECONDS:
                known = self._known = (time.monotonic(), *await self._ask_for_description())
        return known[1], known[2]

    async def _ask_for_description(self) -> tuple[Description, KeySet]:
        try:
            described = Description.model_validate(await _ask("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"))
            keys = KeySet.import_key_set(await _ask("GET", described.jwks_uri))  # type: ignore[arg-type]  # it looks itself
        except (ValidationError, JoseError, ValueError, KeyError, TypeError) as error:
            raise Declined(AWAY) from error
        # Whoever could answer for the provider must not speak for another one.
        if described.issuer.rstrip("/") != self._issuer.rstrip("/"):
            raise Declined(AWAY)
        return described, keys


def read_identity(token: str, keys: KeySet, issuer: str, client_id: str, nonce: str, now: datetime) -> Identity:
    """Whom an ID token is about, if it is the provider's, for this client, of this errand and still holds. Raises Declined."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=CLOCK_SECONDS,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    try:
        claims: dict[str, Any] = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        registry.validate(claims)
    except (JoseError, ValueError, TypeError) as error:
        raise Declined(UNTRUE) from error
    if claims.get("azp", client_id) != client_id:
        raise Declined(UNTRUE)
    email = str(claims.get("email", "")) if claims.get("email_verified") is True else ""
    return Identity(str(claims["sub"])[:255], email, str(claims.get("name", "")))


async def _ask(method: str, url: str, **more: Any) -> dict[str, Any]:
    """A JSON object. Redirects are not followed, and an answer has a longest length. Raises Declined."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise Declined(AWAY)
    try:
        async with asyncio.timeout(SECONDS), httpx2.AsyncClient(timeout=SECONDS, follow_redirects=False) as client:
            async with client.stream(method, url, headers={"accept": "application/json"}, **more) as response:
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MAX_BYTES:
                        raise Declined(AWAY)
            # A code that is not taken is the browser's affair, not an outage.
            if response.status_code in (400, 401) and method == "POST":
                raise Declined(UNTRUE)
            if response.status_code != 200:
                raise Declined(AWAY)
            told = httpx2.Response(200, content=bytes(body)).json()
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise Declined(AWAY) from error
    if not isinstance(told, dict):
        raise Declined(AWAY)
    return told
