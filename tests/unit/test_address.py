"""Normalization of hosts and URLs, and which hosts are internal."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.server.targets.address import BadAddress, parse_domain, parse_url


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("shop.example.com", "shop.example.com"),
        ("SHOP.Example.COM", "shop.example.com"),
        ("shop.example.com.", "shop.example.com"),
        ("shop.example.com.:8443", "shop.example.com:8443"),
        ("shop.example.com:", "shop.example.com"),
        ("shop.example.com:443", "shop.example.com:443"),
        ("shop.example.com:080", "shop.example.com:80"),
        ("_service.example.com", "_service.example.com"),
        ("r3---sn.example.com", "r3---sn.example.com"),
        ("intranet", "intranet"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("shop。example．com", "shop.example.com"),
        ("192.0.2.10", "192.0.2.10"),
        ("192.0.2.10:8080", "192.0.2.10:8080"),
        ("192.0.2.10.", "192.0.2.10"),
        ("１９２.0.2.10", "192.0.2.10"),
        ("2001:DB8:0:0:0:0:0:1", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ("[::]:", "[::]"),
        ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]"),
        ("[::FFFF:7F00:1]:80", "[::ffff:127.0.0.1]:80"),
    ],
)
def test_domain_in_any_spelling_has_one_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_domain(text)) == canonical


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "names no host"),
        (".", "empty part"),
        (":80", "names no host"),
        ("https://shop.example.com", "is a URL"),
        ("shop.example.com/path", "holds a path"),
        ("shop.example.com?q=1", "holds a path"),
        ("shop.example.com#top", "holds a path"),
        ("shop.example.com\\x", "holds a path"),
        ("user@shop.example.com", "user information"),
        ("*.example.com", "wildcard"),
        ("shop example.com", "spaces"),
        (" shop.example.com", "spaces"),
        ("shop.example.com\n", "spaces"),
        ("shop\u202e.example.com", "spaces"),
        ("shop..example.com", "empty part"),
        ("shop.example.com..", "empty part"),
        (".example.com", "empty part"),
        ("-shop.example.com", "no hyphen"),
        ("shop-.example.com", "no hyphen"),
        ("a" * 64 + ".example.com", "up to 63"),
        (".".join(["a" * 60] * 5), "longer than"),
        ("shop／admin.example.com", "internationalized|up to 63"),
        ("shop.example.com:0", "valid port"),
        ("shop.example.com:65536", "valid port"),
        ("shop.example.com:http", "valid port"),
        ("shop.example.com:８０", "valid port"),
        ("shop.example.com:-1", "valid port"),
        ("127.1", "not an IPv4"),
        ("2130706433", "not an IPv4"),
        ("0x7f000001", "not an IPv4"),
        ("0x7f.0.0.1", "not an IPv4"),
        ("0177.0.0.1", "not an IPv4"),
        ("192.0.2.256", "not an IPv4"),
        ("1.2.3.4.5", "not an IPv4"),
        ("example.0x1", "not an IPv4"),
        ("fe80::1%eth0", "zone id"),
        ("[fe80::1%25eth0]", "zone id"),
        ("[2001:db8::1", "brackets"),
        ("[2001:db8::1]x", "brackets"),
        ("[192.0.2.10]", "brackets"),
        ("2001:db8::g", "not an IPv6"),
        ("1:2:3:4:5:6:7:8:9", "not an IPv6"),
        ("xn--zz--.example", "internationalized"),
    ],
)
def test_domain_that_is_none_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(BadAddress, match=advice):
        parse_domain(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://shop.example.com", "https://shop.example.com"),
        ("HTTPS://Shop.Example.COM./Cart?Q=A", "https://shop.example.com/Cart?Q=A"),
        ("http://bücher.example:8080/", "http://xn--bcher-kva.example:8080/"),
        ("https://shop.example.com:443/a//b", "https://shop.example.com:443/a//b"),
        ("http://[2001:DB8::1]:3000?x", "http://[2001:db8::1]:3000?x"),
    ],
)
def test_url_has_its_host_normalized_and_the_rest_kept(text: str, canonical: str) -> None:
    assert parse_url(text).text == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop.example.com",
        "//shop.example.com",
        "ftp://shop.example.com",
        "javascript:alert(1)",
        "https:///path",
        "https://user:pass@shop.example.com",
        "https://shop.example.com/#top",
        "https://shop.example.com/a b",
        "https://shop.example.com\\@evil.example",
        "https://0x7f.1/",
        "https://shop.example.com:99999/",
        "https://shop.example.com/" + "a" * 2000,
    ],
)
def test_url_that_is_no_plain_web_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "localhost", "shop.localhost", "printer.local", "db.internal", "nas.lan", "nas.home.arpa", "shop.test", "intranet",
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.53", "169.254.169.254", "172.31.255.255", "192.168.1.1", "224.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "::10.0.0.1",
    ],
)  # fmt: skip
def test_place_on_ones_own_network_is_internal(text: str) -> None:
    assert parse_domain(text).is_internal


@pytest.mark.parametrize(
    "text",
    ["shop.example.com", "localhost.example.com", "mylocal.com", "lan.example", "8.8.8.8", "172.32.0.1",
     "100.128.0.1", "2606:4700::1", "::ffff:8.8.8.8"],
)  # fmt: skip
def test_place_on_the_internet_is_not_internal(text: str) -> None:
    assert not parse_domain(text).is_internal


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("localhost", True),
        ("a.b.localhost:3000", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]:3000", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("notlocalhost", False),
        ("localhost.example.com", False),
    ],
)
def test_place_is_loopback_only_on_the_host_itself(text: str, is_loopback: bool) -> None:
    assert parse_domain(text).is_loopback is is_loopback


@given(st.text(max_size=80) | st.from_regex(r"[a-zA-Z0-9_.:\[\]-]{1,40}", fullmatch=True))
def test_domain_normalized_again_stays_the_same(text: str) -> None:
    try:
        once = str(parse_domain(text))
    except BadAddress:
        return

    assert str(parse_domain(once)) == once
    assert once.isascii()
    assert once == once.lower()


@given(st.text(max_size=60).map(lambda rest: f"https://shop.example.com{rest}") | st.text(max_size=60))
def test_url_normalized_again_stays_the_same(text: str) -> None:
    try:
        once = parse_url(text)
    except BadAddress:
        return

    assert parse_url(once.text) == once


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_ipv4_inside_ipv6_is_judged_like_itself(number: int) -> None:
    plain = IPv4Address(number)

    judged = {parse_domain(text).is_internal for text in (str(plain), f"::ffff:{plain}", f"64:ff9b::{plain}")}

    assert len(judged) == 1
