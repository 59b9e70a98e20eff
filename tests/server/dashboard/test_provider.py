"""Signing in with a provider of identities: against a real one, and against tokens that a bad one could send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from apviso.server.accounts import signing_in
from apviso.server.accounts.errors import Declined
from apviso.server.accounts.provider import read_identity
from apviso.server.accounts.roles import Role
from apviso.server.settings import Settings
from tests.support.clock import Clock, RealClock
from tests.support.control_plane import Plane, running
from tests.support.identity_provider import identity_provider
from tests.support.people import Organization
from tests.support.visitors import Visitor, visitor


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with identity_provider() as issuer:
        yield issuer


@pytest.fixture
def clock() -> Clock:
    """The provider's clock is the real one."""
    return RealClock()


@pytest.fixture
def new_users() -> str:
    return ""


@pytest.fixture
async def plane(settings: Settings, clock: Clock, issuer: str, new_users: str) -> AsyncIterator[Plane]:
    known = {"oidc_issuer": issuer, "oidc_client_id": "apviso", "oidc_client_secret": "secret", "oidc_new_users": new_users}
    with_provider = Settings.model_validate({**settings.model_dump(), **known})
    async with running(with_provider, clock) as plane:
        yield plane


async def come_back_as(browser: Visitor, subject: str, **changed: str) -> httpx2.Response:
    """To the provider, where somebody says who they are, and back."""
    away = await browser.get("/sign-in/oidc?next=/runners")
    assert away.status_code == 303, away.text
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(away.headers["location"], data={"sub": subject})
    back = urlsplit(answer.headers["location"])
    query = {name: values[0] for name, values in parse_qs(back.query).items()} | changed
    return await browser.get(back.path, params=query)


async def test_user_with_the_verified_address_signs_in_and_is_known_by_subject_from_then_on(plane: Plane, acme: Organization) -> None:
    await visitor(plane, acme.id, Role.OPERATOR, "ada@acme.example")
    browser = Visitor(plane.client)
    assert "Sign in with" in (await browser.get("/sign-in")).text

    answer = await come_back_as(browser, "ada")

    assert answer.headers["location"] == "/runners"
    assert "operator" in (await browser.get("/runners")).text
    assert "apviso_errand" not in browser.cookies
    # Another account of the provider with the same address is somebody else.
    stranger = await come_back_as(Visitor(plane.client), "eve")
    assert stranger.status_code == 409
    assert "another account" in stranger.text


async def test_address_that_is_not_verified_names_nobody(plane: Plane, acme: Organization) -> None:
    await visitor(plane, acme.id, Role.OWNER, "ada@acme.example")

    answer = await come_back_as(Visitor(plane.client), "mallory")

    assert answer.status_code == 409
    assert signing_in.UNVERIFIED in answer.text


async def test_whom_nobody_has_let_in_is_refused(plane: Plane, acme: Organization) -> None:
    answer = await come_back_as(Visitor(plane.client), "new")

    assert answer.status_code == 409
    assert "nobody has let you in here" in answer.text


@pytest.mark.parametrize("new_users", ["viewer"])
async def test_whom_the_operator_wants_in_is_let_in_with_that_role(plane: Plane, acme: Organization) -> None:
    browser = Visitor(plane.client)

    answer = await come_back_as(browser, "new")

    assert answer.status_code == 303
    page = (await browser.get("/settings/me")).text
    assert "viewer" in page
    assert "New &lt;b&gt;" in page


async def test_answer_to_another_browsers_errand_is_refused(plane: Plane, acme: Organization) -> None:
    await visitor(plane, acme.id, Role.OWNER, "ada@acme.example")
    for changed in ({"state": "another"}, {"code": "another"}, {"error": "access_denied"}):
        answer = await come_back_as(Visitor(plane.client), "ada", **changed)
        assert answer.status_code == 409, changed
    assert (await Visitor(plane.client).get("/sign-in/oidc/back?code=x&state=y")).status_code == 409


async def test_errands_to_the_provider_are_limited_for_each_address(plane: Plane) -> None:
    answers = [(await Visitor(plane.client).get("/sign-in/oidc")).status_code for _ in range(21)]

    assert answers == [303] * 20 + [429]


KEY = RSAKey.generate_key(2048, {"kid": "one"})
KEYS = KeySet([RSAKey.import_key(KEY.as_dict(private=False))])
NOW = datetime(2026, 5, 3, 9, 0, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "iss": "https://id.example",
    "aud": "apviso",
    "sub": "ada",
    "nonce": "n",
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 300,
    "email": "ada@acme.example",
    "email_verified": True,
}


def read(token: str) -> str:
    return read_identity(token, KEYS, "https://id.example", "apviso", "n", NOW).email


def test_token_that_is_right_names_its_subject() -> None:
    assert read(jwt.encode({"alg": "RS256", "kid": "one"}, GOOD, KEY)) == "ada@acme.example"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["apviso", "another"], "azp": "another"},
        {"nonce": "another"},
        {"exp": int(NOW.timestamp()) - 120},
        {"iat": int(NOW.timestamp()) + 3600},
        {"sub": None},
        {"exp": None},
        {"nonce": None},
    ],
)
def test_token_with_another_claim_names_nobody(changed: dict[str, Any]) -> None:
    claims = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}

    with pytest.raises(Declined):
        read(jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY))


def test_token_of_another_key_or_algorithm_names_nobody() -> None:
    other = RSAKey.generate_key(2048, {"kid": "one"})
    shared = OctKey.import_key("secret of the client, known to it as well")
    good = jwt.encode({"alg": "RS256", "kid": "one"}, GOOD, KEY)
    header, _, signature = good.split(".")
    forged = jwt.encode({"alg": "RS256", "kid": "one"}, {**GOOD, "sub": "eve"}, other).split(".")[1]
    unsigned = "eyJhbGciOiJub25lIn0." + good.split(".")[1] + "."
    tokens = [
        jwt.encode({"alg": "RS256", "kid": "one"}, GOOD, other),
        jwt.encode({"alg": "HS256", "kid": "one"}, GOOD, shared),
        f"{header}.{forged}.{signature}",
        unsigned,
        "no token",
    ]
    for token in tokens:
        with pytest.raises(Declined):
            read(token)
