"""What a runner may touch, by its local file and without one."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from apviso.protocol.states import Visibility
from apviso.runner.scope import BadScope, Destination, Scope, judge, judge_methods, load_scope, resolve

LISTED = Scope(hosts=("shop.internal", "*.corp.example"), cidrs=(ipaddress.ip_network("10.1.0.0/16"),), ports=(80, 8443))


def to(host: str, *addresses: str, port: int = 80, visibility: Visibility = Visibility.PRIVATE_INTERNAL) -> Destination:
    return Destination(host, port, tuple(ipaddress.ip_address(address) for address in addresses), visibility)


@pytest.mark.parametrize(
    ("destination", "allowed"),
    [
        (to("127.0.0.1", "127.0.0.1"), True),
        (to("::1", "::1"), True),
        (to("::ffff:10.0.0.1", "::ffff:10.0.0.1"), True),
        (to("192.168.3.4", "192.168.3.4"), True),
        (to("intranet", "203.0.113.9"), True),
        (to("app.corp", "203.0.113.9"), True),
        (to("rebound.example", "10.0.0.1"), True),
        (to("rebound.example", "10.0.0.1", "93.184.216.34"), False),
        (to("example.com", "93.184.216.34"), False),
        (to("93.184.216.34", "93.184.216.34"), False),
        (to("example.com", "93.184.216.34", visibility=Visibility.PUBLIC), True),
        (to("staging.example.com", "93.184.216.34", visibility=Visibility.STAGING_PREVIEW), True),
        (to("partner.example.com", "93.184.216.34", visibility=Visibility.PARTNER_CLIENT), False),
        (to("169.254.169.254", "169.254.169.254"), False),
        (to("metadata.internal", "169.254.169.254"), False),
        (to("metadata.example", "169.254.169.254", visibility=Visibility.PUBLIC), False),
        (to("mapped", "::ffff:169.254.169.254"), False),
        (to("0.0.0.0", "0.0.0.0"), False),
        (to("nowhere.internal"), False),
    ],
)
def test_scope_without_a_file_allows_internal_places_and_open_targets(destination: Destination, allowed: bool) -> None:
    assert judge(None, destination).ok is allowed


@pytest.mark.parametrize(
    ("destination", "allowed"),
    [
        (to("shop.internal", "203.0.113.1"), True),
        (to("shop.internal", "203.0.113.1", port=22), False),
        (to("a.corp.example", "203.0.113.1", port=8443), True),
        (to("a.b.corp.example", "203.0.113.1"), True),
        (to("corp.example", "203.0.113.1"), False),
        (to("evilcorp.example", "203.0.113.1"), False),
        (to("shop.internal.evil.example", "203.0.113.1"), False),
        (to("other.example", "10.1.2.3"), True),
        (to("other.example", "10.1.2.3", "10.2.0.1"), False),
        (to("127.0.0.1", "127.0.0.1"), False),
        (to("public.example", "203.0.113.1", visibility=Visibility.PUBLIC), False),
    ],
)
def test_scope_with_a_file_allows_only_what_it_lists(destination: Destination, allowed: bool) -> None:
    assert judge(LISTED, destination).ok is allowed


def test_scope_file_that_is_empty_allows_nothing() -> None:
    assert not judge(Scope(), to("127.0.0.1", "127.0.0.1")).ok


@pytest.mark.parametrize("text", ["hosts = 3", "cidrs = ['300.0.0.0/8']", "ports = [0]", "host = ['typing error']", "not toml at all ="])
def test_scope_file_with_a_mistake_is_refused_rather_than_ignored(text: str, tmp_path: Path) -> None:
    path = tmp_path / "scope.toml"
    path.write_text(text)

    with pytest.raises(BadScope) as caught:
        load_scope(path)

    assert str(path) in str(caught.value)


def test_scope_file_is_read_with_all_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "scope.toml"
    path.write_text('hosts = ["Shop.Internal."]\ncidrs = ["10.0.0.0/8"]\nports = [443]\n')

    scope = load_scope(path)

    assert judge(scope, to("shop.internal", "203.0.113.1", port=443)).ok
    assert load_scope(tmp_path / "absent.toml") is None


async def test_resolve_of_loopback_names_and_addresses_gives_addresses() -> None:
    assert ipaddress.ip_address("127.0.0.1") in await resolve("127.0.0.1", 80)
    assert await resolve("no such name", 80) == ()


@pytest.mark.parametrize(
    ("permitted", "asked", "left", "refused", "is_gap"),
    [
        (None, ["GET", "post"], ("GET", "POST"), (), False),
        (("GET", "HEAD", "OPTIONS"), ["GET", "HEAD", "OPTIONS"], ("GET", "HEAD", "OPTIONS"), (), False),
        (("GET",), ["GET", "HEAD", "OPTIONS"], ("GET",), ("HEAD", "OPTIONS"), False),
        (("GET", "HEAD"), ["GET", "POST", "DELETE"], ("GET",), ("POST", "DELETE"), True),
        (("GET", "POST"), ["GET"], ("GET",), (), False),
    ],
)
def test_methods_of_a_scan_are_those_that_job_and_scope_permit(
    permitted: tuple[str, ...] | None, asked: list[str], left: tuple[str, ...], refused: tuple[str, ...], is_gap: bool
) -> None:
    decision = judge_methods(Scope(methods=permitted), asked)

    assert decision.ok
    assert (decision.methods, decision.refused, decision.is_gap) == (left, refused, is_gap)
    assert bool(decision.remarks) == bool(refused)


@pytest.mark.parametrize(("permitted", "asked"), [(("POST",), ["GET", "POST"]), (("GET",), ["POST"]), (("HEAD",), ["GET"])])
def test_scan_without_the_method_that_it_needs_is_out_of_scope(permitted: tuple[str, ...], asked: list[str]) -> None:
    decision = judge_methods(Scope(methods=permitted), asked)

    assert not decision.ok
    assert "GET" in decision.message


@pytest.mark.parametrize("written", ["[]", '["GET /"]', '"GET"', '[""]', "[5]"])
def test_methods_that_are_none_spoil_the_whole_file(tmp_path: Path, written: str) -> None:
    path = tmp_path / "scope.toml"
    path.write_text(f'hosts = ["shop.internal"]\nmethods = {written}\n')

    with pytest.raises(BadScope, match="methods"):
        load_scope(path)


def test_methods_in_the_file_are_read_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "scope.toml"
    path.write_text('hosts = ["shop.internal"]\nmethods = ["get", "Post"]\n')

    scope = load_scope(path)

    assert scope is not None
    assert scope.methods == ("GET", "POST")
