"""What becomes of a proof of control with time: found, missing, lost; and what in a page or a record is one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from apviso.protocol.states import VerificationMethod, Visibility
from apviso.protocol.wire import OrganizationId, TargetId
from apviso.server.targets.facts import KnownTarget
from apviso.server.targets.proof import (
    FRESH_FOR,
    GRACE,
    LOOK_EVERY,
    NOT_PROVED,
    Change,
    Told,
    after_asking,
    after_look,
    is_needed,
    is_stale,
    lost_at,
    new_token,
)
from apviso.server.verification.challenge import challenge_of, dns_txt
from apviso.server.verification.head import meta_contents
from apviso.server.verification.words import quoted
from tests.unit.known import NOW

DAY = timedelta(days=1)
TXT = VerificationMethod.DNS_TXT
UNPROVED = KnownTarget(
    id=TargetId("target-1"),
    organization_id=OrganizationId("acme"),
    domain="shop.example.com",
    display_url="https://shop.example.com",
    scan_url="https://shop.example.com/app",
    visibility=Visibility.PUBLIC,
    scan_windows=(),
    window_opens_at=None,
    window_closes_at=None,
    verified_at=None,
    last_scan_at=None,
    created_at=NOW - 90 * DAY,
    verification_token="0123456789abcdef",
)
PROVED = replace(UNPROVED, verified_at=NOW - 30 * DAY, verification_method=TXT, verification_checked_at=NOW - DAY, verification_due_at=NOW)


def changed(target: KnownTarget, change: Change) -> KnownTarget:
    values: dict[str, Any] = dict(change.values)
    return replace(target, **values)


def test_proof_that_is_found_holds_and_is_due_about_a_month_later() -> None:
    changes = [after_asking(UNPROVED, TXT, None, NOW, chance) for chance in (0, 0.5, 1)]

    proved = [changed(UNPROVED, change) for change in changes]
    assert {change.told for change in changes} == {Told.VERIFIED}
    assert {(one.verified_at, one.verification_method, one.verification_checked_at) for one in proved} == {(NOW, TXT, NOW)}
    assert [one.verification_due_at for one in proved] == [NOW + LOOK_EVERY * share for share in (0.9, 1, 1.1)]


def test_asking_in_vain_tells_why_and_takes_nothing_from_a_proof_that_holds() -> None:
    first, other = (after_asking(target, VerificationMethod.FILE, "e" * 5000, NOW, 0.5) for target in (UNPROVED, PROVED))

    assert (first.told, first.values) == (Told.FAILED, {"verification_checked_at": NOW, "verification_error": "e" * 1000})
    assert (other.told, other.values) == (Told.FAILED, {})


def test_proof_that_stays_missing_is_told_each_day_and_lost_after_the_grace() -> None:
    target, told, now = PROVED, [], NOW
    while target.verified_at is not None:
        change = after_look(target, "gone", now, 0.5)
        target = changed(target, change)
        told.append(change.told)
        assert target.verified_at is None or lost_at(target) == NOW + GRACE
        now = target.verification_due_at or now

    assert told == [Told.FAILING] * 7 + [Told.LOST]
    assert now == NOW + GRACE
    assert target == replace(UNPROVED, verification_checked_at=now, verification_error="gone")


def test_proof_that_comes_back_within_the_grace_is_told_once() -> None:
    missing = changed(PROVED, after_look(PROVED, "gone", NOW, 0.5))

    back = after_look(missing, None, NOW + 6 * DAY, 0.5)
    again = after_look(changed(missing, back), None, NOW + 36 * DAY, 0.5)

    assert (back.told, again.told) == (Told.RECOVERED, None)
    recovered = changed(missing, back)
    assert (recovered.verification_failing_since, recovered.verification_error, lost_at(recovered)) == (None, None, None)
    assert recovered.verified_at == PROVED.verified_at


@pytest.mark.parametrize(
    ("differences", "stale"),
    [
        ({"verification_checked_at": NOW - FRESH_FOR}, False),
        ({"verification_checked_at": NOW - FRESH_FOR - timedelta(seconds=1)}, True),
        ({"verification_checked_at": NOW + timedelta(seconds=1)}, True),
        ({"verification_checked_at": None}, True),
        ({"verification_checked_at": None, "verified_at": None}, False),
    ],
)
def test_proof_looked_for_more_than_a_day_ago_is_stale(differences: dict[str, Any], stale: bool) -> None:
    assert is_stale(replace(PROVED, **differences), NOW) is stale


@pytest.mark.parametrize("visibility", list(Visibility))
def test_proof_is_needed_for_what_the_internet_can_name(visibility: Visibility) -> None:
    target = replace(UNPROVED, visibility=visibility)

    assert is_needed(target, is_required=True) is (visibility in (Visibility.PUBLIC, Visibility.STAGING_PREVIEW))
    assert not is_needed(target, is_required=False)


def test_columns_of_a_proof_are_all_taken_back_with_it() -> None:
    assert set(NOT_PROVED) == {name for name in vars(PROVED) if name.startswith("verif")} - {"verification_token"}


def test_tokens_of_targets_are_long_and_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) == 32


def test_target_without_a_token_has_nothing_that_could_be_shown() -> None:
    with pytest.raises(ValueError):
        challenge_of(UNPROVED, "")


@pytest.mark.parametrize(
    ("scan_url", "record"),
    [
        ("https://shop.example.com/app", "_apviso-challenge.shop.example.com"),
        # The scanned host counts, whatever the domain says.
        ("https://other.example.net:8443/", "_apviso-challenge.other.example.net"),
        ("https://192.0.2.7/", None),
        ("https://[2001:db8::7]:8443/", None),
    ],
)
def test_record_is_asked_of_the_host_that_is_scanned(scan_url: str, record: str | None) -> None:
    told = dns_txt(challenge_of(replace(UNPROVED, scan_url=scan_url), "abc"))

    assert (told.record_name if told else None) == record


@pytest.mark.parametrize(
    ("content", "is_proof"),
    [
        ("apviso-challenge=abc", True),
        ("apviso-challenge=abc\n", True),
        ("\ufeffapviso-challenge=abc\r\n", True),
        ("apviso-challenge=other\napviso-challenge=abc\n", True),
        ("apviso-challenge=abcd", False),
        ("you asked for apviso-challenge=abc", False),
        ("abc", False),
        ("", False),
    ],
)
def test_file_is_a_proof_by_one_whole_line(content: str, is_proof: bool) -> None:
    assert challenge_of(UNPROVED, "abc").is_file(content) is is_proof


TAG = '<meta name="apviso-challenge" content="abc">'


@pytest.mark.parametrize(
    "page",
    [
        f"<!doctype html><html><head><title>Shop</title>{TAG}</head><body></body></html>",
        f"<HTML><HEAD>\n  <link rel=x><script>if (a < b) {{}}</script>{TAG.replace('meta', 'META')}",
        "<head><meta content=abc name='Apviso-Challenge'/></head>",
        f"<!-- a comment -->{TAG}",
        "<head><meta name='apviso-challenge' content='abc' name='other'></head>",
        f"<head>{TAG}<![nonsense [",
        f"<head>{TAG}{'<a' * 30_000}",
    ],
)
def test_tag_in_the_head_is_found(page: str) -> None:
    assert meta_contents(page, "apviso-challenge") == ["abc"]


@pytest.mark.parametrize(
    "page",
    [
        f"<html><head></head><body>{TAG}</body></html>",
        f"<html><head></head>{TAG}<body></body></html>",
        f"<html><head><!-- {TAG} --></head></html>",
        f"<html><body>{TAG}<head>{TAG}</head></body></html>",
        f"<head><p>a comment of a visitor</p>{TAG}</head>",
        f"<head>words{TAG}</head>",
        f"<head><title>{TAG}</title></head>",
        f"<head><title>a<title/>{TAG}</head>",
        f"<head><noscript>{TAG}</noscript></head>",
        f"<head><template>{TAG}</template></head>",
        f"<head><script>'{TAG}'</script></head>",
        f"<head><style>{TAG}</style></head>",
        "<head><meta name='other' content='abc' name='apviso-challenge'></head>",
        "<head><meta property='apviso-challenge' content='abc'></head>",
        '<head>&lt;meta name="apviso-challenge" content="abc"&gt;</head>',
        TAG.replace("<", "\\<"),
        f"<head><![nonsense [ {TAG}",
        # What would take a minute if each `<` were tried as the beginning of a tag.
        "<a\n" * 20_000,
        f"<head>{TAG[:-1]}",
        "",
    ],
)
def test_tag_anywhere_else_is_not_found(page: str) -> None:
    assert meta_contents(page, "apviso-challenge") == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", '"plain"'),
        ("a\nb\x00\x1b[31m", '"a\\u000ab\\u0000\\u001b[31m"'),
        ("\u202egnp.exe", '"\\u202egnp.exe"'),
        ("x" * 200, f'"{"x" * 120}..."'),
        ("\n" * 200, '"' + "\\u000a" * 20 + '..."'),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_words_of_strangers_are_cut_and_shown_without_control_characters(text: str, shown: str) -> None:
    assert quoted(text) == shown
