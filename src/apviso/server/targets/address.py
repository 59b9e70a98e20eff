"""The one way to write a host, a domain and a URL, and which hosts are internal. Pure: it asks no name server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import idna

# RFC 1035: 255 octets on the wire are 253 characters in writing.
MAX_NAME_CHARACTERS = 253
MAX_URL_CHARACTERS = 2000
MAX_PORT = 65535

# Underscores are no host names by RFC 952, but service labels and internal systems have them, and resolvers answer.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What ends like this is read as an IPv4 address by browsers and resolvers, in forms that hide which one (0x7f.1, 017700000001).
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)

# IANA's special-purpose registries: what only a host or network of one's own answers for.
_INTERNAL_V4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_INTERNAL_V6 = [IPv6Network(text) for text in ("::/127", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8")]
# Addresses that carry an IPv4 address in their last 32 bits: mapped, compatible, translated (RFC 4291, 6052).
_CARRIES_V4 = [IPv6Network(text) for text in ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")]
# RFC 6761, 6762 (appendix G), 8375 and ICANN's `internal`: names that no public name server answers for.
_INTERNAL_SUFFIXES = (
    "localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa", "test",
)  # fmt: skip


class BadAddress(ValueError):
    """The text is not what was asked for; the message says what to write instead."""


@dataclass(frozen=True)
class Place:
    """Where requests go: a canonical host (IPv6 without brackets) and the port, where one was given."""

    host: str
    address: IPv4Address | IPv6Address | None
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """The runner's own host, written as a literal or as `localhost`."""
        if self.address is not None:
            carried = _carried(self.address)
            return self.address.is_loopback or (carried is not None and carried.is_loopback)
        return _is_below(self.host, "localhost")

    @property
    def is_internal(self) -> bool:
        """Loopback, private, link-local, shared, multicast or unspecified addresses; reserved and single-label names."""
        if self.address is not None:
            return _is_internal_address(self.address)
        return "." not in self.host or any(_is_below(self.host, suffix) for suffix in _INTERNAL_SUFFIXES)


@dataclass(frozen=True)
class HttpUrl:
    """A URL with its host in canonical form and the rest as it was given."""

    text: str
    place: Place


def parse_domain(text: str) -> Place:
    """`host`, `host:port`, IPv4, `[IPv6]`, `[IPv6]:port` or bare IPv6. Raises BadAddress."""
    if "://" in text:
        raise BadAddress("is a URL; write the host alone (shop.example.com) and give the URL as scanUrl")
    _refuse_blanks(text)
    if "@" in text:
        raise BadAddress("holds user information; write the host alone (credentials stay on the runner)")
    if any(sign in text for sign in "/?#\\"):
        raise BadAddress("holds a path; write the host alone (shop.example.com) and give the path in scanUrl")
    return _parse_place(text)


def parse_url(text: str) -> HttpUrl:
    """An absolute http or https URL without user information and fragment. Raises BadAddress."""
    _refuse_blanks(text)
    found = _URL.fullmatch(text)
    if found is None:
        raise BadAddress("is not a web address; write it whole, as in https://shop.example.com/path")
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if "@" in authority:
        raise BadAddress("holds user information; leave it out (credentials stay on the runner)")
    if "#" in rest:
        raise BadAddress("holds a fragment; leave out # and what follows")
    if "\\" in text:
        raise BadAddress("holds a backslash; write / instead")
    place = _parse_place(authority)
    normal = f"{scheme}://{place}{rest}"
    if len(normal) > MAX_URL_CHARACTERS:
        raise BadAddress(f"is longer than {MAX_URL_CHARACTERS} characters")
    return HttpUrl(normal, place)


def _refuse_blanks(text: str) -> None:
    if any(sign.isspace() or not sign.isprintable() for sign in text):
        raise BadAddress("holds spaces or control characters; leave them out")


def _parse_place(text: str) -> Place:
    host, port = _split(text)
    if "*" in host:
        raise BadAddress("holds a wildcard; name one host (www.example.com), each one is a target of its own")
    if "%" in host:
        raise BadAddress("holds a zone id or an escaped character; write a plain host or address")
    if ":" in host:
        return _ipv6(host, port)
    return _name_or_ipv4(host, port)


def _split(text: str) -> tuple[str, int | None]:
    """Host and port; an empty port is none."""
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or ":" not in host or (rest and not rest.startswith(":")):
            raise BadAddress("has unmatched brackets; write an IPv6 address as [2001:db8::1] or [2001:db8::1]:8443")
        return host, _port(rest[1:])
    if text.count(":") > 1:
        return text, None
    host, _, port = text.partition(":")
    return host, _port(port)


def _port(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_PORT:
        raise BadAddress(f"has no valid port; write a number from 1 to {MAX_PORT} after the colon")
    return int(text)


def _ipv6(host: str, port: int | None) -> Place:
    try:
        address = IPv6Address(host)
    except ValueError as error:
        raise BadAddress("is not an IPv6 address; write it as in 2001:db8::1, with a port as in [2001:db8::1]:8443") from error
    # Written the same by every version of the standard library (RFC 5952, section 5).
    written = str(address) if address.ipv4_mapped is None else f"::ffff:{address.ipv4_mapped}"
    return Place(written, address, port)


def _name_or_ipv4(text: str, port: int | None) -> Place:
    if not text:
        raise BadAddress("names no host; write one, as in shop.example.com")
    host = _mapped(text).removesuffix(".")
    if _NUMERIC_END.fullmatch(host):
        return _ipv4(host, port)
    name = ".".join(_a_label(label) for label in host.split("."))
    if len(name) > MAX_NAME_CHARACTERS:
        raise BadAddress(f"is longer than the {MAX_NAME_CHARACTERS} characters that a host name may have")
    return Place(name, None, port)


def _mapped(text: str) -> str:
    """UTS 46: one spelling for upper case, full-width signs and other dots. Judged afterwards, so that nothing hides behind it."""
    try:
        return idna.uts46_remap(text, std3_rules=False, transitional=False)
    except idna.IDNAError as error:
        raise BadAddress("holds a character that no host name may have") from error


def _ipv4(host: str, port: int | None) -> Place:
    try:
        address = IPv4Address(host)
    except ValueError as error:
        raise BadAddress("is not an IPv4 address; write four decimal numbers from 0 to 255, as in 192.0.2.10") from error
    return Place(str(address), address, port)


def _a_label(label: str) -> str:
    if not label:
        raise BadAddress("has an empty part between its dots")
    try:
        written = label if label.isascii() and not label.startswith("xn--") else idna.alabel(label).decode("ascii")
    except idna.IDNAError as error:
        raise BadAddress(f"has the part '{label[:63]}', which is not a valid internationalized name") from error
    if not _LABEL.fullmatch(written):
        raise BadAddress(
            f"has the part '{label[:63]}'; a part has up to 63 letters, digits, underscores and hyphens, with no hyphen at its ends"
        )
    return written


def _is_below(host: str, suffix: str) -> bool:
    return host == suffix or host.endswith("." + suffix)


def _is_internal_address(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _INTERNAL_V4)
    carried = _carried(address)
    return any(address in network for network in _INTERNAL_V6) or (carried is not None and _is_internal_address(carried))


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 one; 6to4 (RFC 3056) has it after its first 16 bits."""
    if isinstance(address, IPv4Address):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFFFFFF) if any(address in network for network in _CARRIES_V4) else None
