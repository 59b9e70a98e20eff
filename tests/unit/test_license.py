"""What a license document permits, and that no changed document permits anything."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.states import LicenseState, Visibility
from apviso.server.licensing.license import Terms, find_terms, sign, standing

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
ISSUER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


KEYS = (public(ISSUER),)
TERMS = Terms(
    license_id="license-1",
    organization="Acme",
    plan="team",
    runner_limit=3,
    concurrent_job_limit=2,
    target_limit=4,
    allowed_target_visibilities=[Visibility.PRIVATE_INTERNAL, Visibility.PARTNER_CLIENT],
    issued_at=NOW - timedelta(days=1),
    expires_at=NOW + timedelta(days=30),
    grace_days=7,
)
DOCUMENT = sign(TERMS, ISSUER)


def changed(**values: Any) -> Terms:
    return TERMS.model_copy(update=values)


def test_standing_without_a_document_is_the_community_plan() -> None:
    license_ = standing(None, "Acme", (), NOW)

    assert license_.model_dump(mode="json", by_alias=True) == {
        "plan": "community",
        "licenseState": "active",
        "canRegisterRunner": True,
        "canStartSelfHostedScan": True,
        "canScanPrivateTarget": True,
        "runnerLimit": 10,
        "concurrentJobLimit": 10,
        "targetLimit": 25,
        "allowedTargetVisibilities": ["public", "staging_preview", "private_internal", "localhost"],
        "expiresAt": None,
    }


def test_standing_with_a_good_document_is_what_it_says() -> None:
    license_ = standing(DOCUMENT, "Acme", KEYS, NOW)

    assert (license_.plan, license_.license_state) == ("team", LicenseState.ACTIVE)
    assert (license_.runner_limit, license_.concurrent_job_limit, license_.target_limit) == (3, 2, 4)
    assert license_.allowed_target_visibilities == [Visibility.PRIVATE_INTERNAL, Visibility.PARTNER_CLIENT]
    assert license_.can_register_runner
    assert license_.can_start_self_hosted_scan
    assert license_.can_scan_private_target
    assert license_.expires_at == TERMS.expires_at


def test_standing_without_private_internal_cannot_scan_private_targets() -> None:
    document = sign(changed(allowed_target_visibilities=[Visibility.PUBLIC]), ISSUER)

    license_ = standing(document, "Acme", KEYS, NOW)

    assert license_.can_start_self_hosted_scan
    assert not license_.can_scan_private_target


@pytest.mark.parametrize(
    ("since_end", "state", "permits"),
    [
        (timedelta(seconds=-1), LicenseState.ACTIVE, True),
        (timedelta(), LicenseState.GRACE, True),
        (timedelta(days=7, seconds=-1), LicenseState.GRACE, True),
        (timedelta(days=7), LicenseState.EXPIRED, False),
    ],
)
def test_standing_around_the_end_goes_through_grace(since_end: timedelta, state: LicenseState, permits: bool) -> None:
    license_ = standing(DOCUMENT, "Acme", KEYS, TERMS.expires_at + since_end)

    assert license_.license_state is state
    assert {license_.can_register_runner, license_.can_start_self_hosted_scan, license_.can_scan_private_target} == {permits}


def test_standing_of_suspended_license_permits_nothing() -> None:
    license_ = standing(sign(changed(suspended=True), ISSUER), "Acme", KEYS, NOW)

    assert license_.license_state is LicenseState.SUSPENDED
    assert not license_.can_register_runner
    assert not license_.can_start_self_hosted_scan
    assert not license_.can_scan_private_target


def test_standing_with_license_for_anyone_holds_for_every_organization() -> None:
    document = sign(changed(organization="*"), ISSUER)

    assert standing(document, "Whoever", KEYS, NOW).license_state is LicenseState.ACTIVE


@pytest.mark.parametrize(
    ("document", "organization", "keys"),
    [
        (DOCUMENT, "Other", KEYS),
        (DOCUMENT, "Acme", ()),
        (DOCUMENT, "Acme", (public(STRANGER),)),
        (DOCUMENT, "Acme", ("not base64!", "AAAA")),
        (sign(TERMS, STRANGER), "Acme", KEYS),
        ("", "Acme", KEYS),
        ("[]", "Acme", KEYS),
        ("null", "Acme", KEYS),
        ('{"license": {}, "signature": "", "keyId": ""}', "Acme", KEYS),
        ("[" * 100_000, "Acme", KEYS),
        (DOCUMENT + " " * 70_000, "Acme", KEYS),
    ],
)
def test_standing_with_document_that_is_not_good_permits_nothing(document: str, organization: str, keys: tuple[str, ...]) -> None:
    license_ = standing(document, organization, keys, NOW)

    assert license_.license_state is LicenseState.NONE
    assert not license_.can_register_runner
    assert not license_.can_start_self_hosted_scan
    assert (license_.runner_limit, license_.target_limit, license_.allowed_target_visibilities) == (0, 0, [])


def test_terms_in_another_layout_of_the_same_document_verify() -> None:
    compact = json.dumps(json.loads(DOCUMENT), separators=(",", ":"))

    assert find_terms(compact, KEYS) == TERMS


@given(st.data())
def test_terms_with_any_changed_member_do_not_verify(data: st.DataObject) -> None:
    document = json.loads(DOCUMENT)
    name = data.draw(st.sampled_from(sorted(document["license"])))
    value = data.draw(st.none() | st.booleans() | st.integers(0, 100) | st.text(max_size=30) | st.lists(st.sampled_from(list(Visibility))))
    # JSON tells true from 1, so the comparison must as well.
    unchanged = json.dumps(document["license"][name]) == json.dumps(value)

    document["license"][name] = value

    assert (find_terms(json.dumps(document), KEYS) is None) is not unchanged


@given(st.integers(0, len(DOCUMENT.encode()) - 1), st.integers(0, 255))
def test_terms_with_any_changed_byte_do_not_verify_or_stay_the_same(place: int, byte: int) -> None:
    forged = bytearray(DOCUMENT.encode())
    forged[place] = byte

    terms = find_terms(forged.decode("latin-1"), KEYS)

    # Blanks between members are no part of what was signed; every byte of the license itself is.
    assert terms in (None, TERMS)


@given(st.dictionaries(st.text(min_size=1, max_size=10), st.integers(), min_size=1, max_size=3))
def test_terms_with_added_members_do_not_verify(extra: dict[str, int]) -> None:
    document = json.loads(DOCUMENT)
    added = {name: value for name, value in extra.items() if name not in document["license"]}
    document["license"].update(added)

    assert (find_terms(json.dumps(document), KEYS) is None) is bool(added)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_terms_of_noise_do_not_verify(document: str) -> None:
    assert find_terms(document, KEYS) is None
