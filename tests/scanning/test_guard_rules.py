from __future__ import annotations

from pathlib import Path

import pytest

from apviso.scanning.guard import AllowedHost, InvalidTarget, allowed_host, rules_for
from tests.scanning.orders import limits_of, target_at


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://shop.example/", ("http", "shop.example", 80)),
        ("https://Shop.Example./a?b", ("https", "shop.example", 443)),
        ("HTTPS://shop.example:8443", ("https", "shop.example", 8443)),
        ("http://127.0.0.1:8080/x", ("http", "127.0.0.1", 8080)),
        ("http://[0:0:0:0:0:0:0:1]:81/", ("http", "::1", 81)),
        ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_allowed_host_is_the_exact_address_of_the_url(url: str, expected: tuple[str, str, int]) -> None:
    allowed = allowed_host(url)

    assert (allowed.scheme, allowed.host, allowed.port) == expected


@pytest.mark.parametrize(
    "url", ["", "ftp://h/", "http:///x", "http://u:p@h/", "http://u@h/", "http://h:99999/", "http://[::1/", "shop.example"]
)
def test_allowed_host_of_no_exact_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidTarget):
        allowed_host(url)


def test_rules_carry_limits_and_hide_credentials() -> None:
    limits = limits_of(methods=["get"], max_requests=7)

    rules = rules_for(
        "scan-1",
        target_at("http://h:81/"),
        limits,
        {"admin": {"Cookie": "session=hidden"}, "user": {"Cookie": "hidden-2"}},
        Path("/somewhere/log"),
    )

    assert rules.allowed == [AllowedHost(scheme="http", host="h", port=81)]
    assert (rules.methods, rules.max_requests, rules.request_log) == (["GET"], 7, "/somewhere/log")
    assert rules.headers == {"Cookie": "session=hidden"}
    assert list(rules.identities) == ["admin", "user"]
    assert "hidden" not in repr(rules)
