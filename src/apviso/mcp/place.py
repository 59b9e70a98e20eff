"""Where the server listens over HTTP, under which names it may be called, and with which token. Decides; opens nothing."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
MIN_TOKEN_LENGTH = 32
_TOKEN = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Place:
    """`host` without brackets; port 0 is any."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return self.host == "localhost" or _address(self.host).is_loopback

    @property
    def is_every_address(self) -> bool:
        return _address(self.host).is_unspecified


def parse_place(text: str) -> Place:
    """`HOST:PORT`, or the port alone for loopback. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host = LOOPBACK
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f"{text} names no port: write HOST:PORT, as in 127.0.0.1:8710")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{text} names no host: write HOST:PORT, as in 127.0.0.1:8710; an IPv6 address goes into brackets")
    return Place(host.strip("[]"), int(port))


def names_of(place: Place, port: int, further: Iterable[str]) -> list[str]:
    """What may stand in `Host`. A page that has its own name point at this address (DNS rebinding) calls by another one.

    `further` are names by which a proxy is called. Raises ValueError."""
    names = list(further)
    for name in names:
        if not _HOST.fullmatch(name.rpartition(":")[0] if _has_port(name) else name):
            raise ValueError(f"{name} is no name of a host: write HOST or HOST:PORT")
    if place.is_loopback:
        names += [f"{LOOPBACK}:{port}", f"localhost:{port}", f"[::1]:{port}"]
    elif not place.is_every_address:
        names.append(f"[{place.host}]:{port}" if ":" in place.host else f"{place.host}:{port}")
    if not names:
        raise ValueError(f"{place.host} is every address of this host: name those by which it is called with --allow-host")
    return names


def origins_of(names: Iterable[str]) -> list[str]:
    return [f"{scheme}://{name}" for name in names for scheme in ("http", "https")]


def token_of(told: str) -> tuple[str, bool]:
    """The token, and whether it is a new one. Raises ValueError, and quotes nothing."""
    if not told:
        return secrets.token_urlsafe(32), True
    if len(told) < MIN_TOKEN_LENGTH or not _TOKEN.fullmatch(told):
        raise ValueError(f"APVISO_MCP_TOKEN needs at least {MIN_TOKEN_LENGTH} characters, all of them printable ASCII")
    return told, False


def _has_port(name: str) -> bool:
    return _PORT.fullmatch(name.rpartition(":")[2]) is not None and not name.endswith("]") and ":" in name


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        # A name: neither loopback nor every address, as far as anyone can say without asking.
        return ipaddress.IPv4Address("192.0.2.1")
