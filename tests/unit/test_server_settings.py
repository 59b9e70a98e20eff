"""Settings of proofs of control and of the database, as an operator writes them."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from apviso.server.settings import Settings, name_server


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("[2001:DB8::53]", ("2001:db8::53", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_name_server_as_written_is_read_with_its_port(text: str, place: tuple[str, int]) -> None:
    assert name_server(text) == place


@pytest.mark.parametrize("text", ["", "dns.example.com", "192.0.2.53:x", "192.0.2.53/", "a@192.0.2.53", "::1", "https://192.0.2.53"])
def test_name_server_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(data_dir=Path("unused"), dns_servers=[text])


def test_name_servers_and_networks_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APVISO_DNS_SERVERS", '["192.0.2.53", "[::1]:5353"]')
    monkeypatch.setenv("APVISO_VERIFICATION_NETWORKS", '["10.20.0.0/16", "fd00::/8"]')

    settings = Settings()

    assert settings.dns_servers == ["192.0.2.53", "[::1]:5353"]
    assert settings.verification_networks == [ip_network("10.20.0.0/16"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("postgresql://apviso@db.example.com/apviso", "postgresql+asyncpg://apviso@db.example.com/apviso"),
        ("postgres://apviso:p%3Fw@db.example.com/apviso", "postgresql+asyncpg://apviso:p%3Fw@db.example.com/apviso"),
        ("postgresql+asyncpg://apviso@/apviso?host=a:5432&host=b:5432", "postgresql+asyncpg://apviso@/apviso?host=a:5432&host=b:5432"),
        ("postgresql://apviso@db/apviso?sslmode=require&host=a", "postgresql+asyncpg://apviso@db/apviso?ssl=require&host=a"),
        ("sqlite:////var/lib/apviso.db", "sqlite+aiosqlite:////var/lib/apviso.db"),
        ("sqlite+aiosqlite:///apviso.db", "sqlite+aiosqlite:///apviso.db"),
        ("", ""),
    ],
)
def test_database_is_named_with_or_without_its_driver(written: str, used: str) -> None:
    assert Settings(database_url=written).database_url == used


@pytest.mark.parametrize("url", ["mysql://a@b/c", "postgresql+psycopg://a@b/c", "sqlite:apviso.db", "db.example.com"])
def test_database_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Settings(database_url=url)
