"""Decides where messages may be sent: no address that only this host or its network can reach, unless the operator allows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from apviso.server.errors import field_refused
from apviso.server.targets.address import BadAddress, HttpUrl, Place, parse_url

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Policy:
    """What the operator allows beside public addresses over TLS."""

    networks: tuple[Network, ...] = ()
    allows_http: bool = False


def check_url(text: str, policy: Policy) -> HttpUrl:
    """The URL of a webhook, in canonical form. Raises InvalidFields.

    What a name stands for may change at any time, so that is looked at before each attempt.
    """
    try:
        url = parse_url(text)
    except BadAddress as error:
        raise field_refused("url", str(error)) from error
    if not may_use_scheme(url, policy):
        raise field_refused("url", "is not encrypted; use https (the operator of the server can allow http)")
    place = url.place
    permitted = is_permitted(place.address, policy) if place.address is not None else bool(policy.networks) or not place.is_internal
    if not permitted:
        raise field_refused("url", f"{place.host} is an internal address; the operator of the server has to allow its network first")
    return url


def may_use_scheme(url: HttpUrl, policy: Policy) -> bool:
    return policy.allows_http or url.text.startswith("https://")


def is_permitted(address: Address, policy: Policy) -> bool:
    """Whether messages may go to this address."""
    if any(address in network for network in policy.networks):
        return True
    return not Place(str(address), address, None).is_internal


def are_permitted(addresses: Iterable[Address], policy: Policy) -> bool:
    """Whether a name may be used that stands for these: one internal address among them is a reason to distrust all."""
    return all(is_permitted(address, policy) for address in addresses)
