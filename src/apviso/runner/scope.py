"""What this runner may ever touch, by a local file that no control plane can change. Outside it, every job is refused."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from apviso.protocol.limits import READ_ONLY_METHODS
from apviso.protocol.states import VISIBILITIES_NEEDING_PROOF, Visibility
from apviso.scanning.guard_rules import InvalidTarget, normal_host

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Names that only resolve inside a network (RFC 6762, RFC 8375, the reserved .internal, and what companies use).
INTERNAL_SUFFIXES = (".localhost", ".local", ".internal", ".intranet", ".lan", ".corp", ".home", ".home.arpa", ".private", ".test")
# Cloud metadata services hand out credentials to anyone who asks; only a scope file that names the address opens it.
LINK_LOCAL = (ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("fd00:ec2::/32"))
RESOLVE_SECONDS = 5.0


Method = Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z]{1,20}$")]
# Without it no page can be looked at.
NEEDED_METHOD = "GET"


class BadScope(Exception):
    """The scope file cannot be used. Nothing is scanned then: a typing error must not open what it was to close."""


class Scope(BaseModel):
    """The file: `hosts` are names or `*.suffix` patterns, `cidrs` networks, `ports` numbers; no ports means any.

    `methods` are those that a scan may use here, whatever its job asks for; None where the file says nothing about them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: tuple[str, ...] = ()
    cidrs: tuple[Network, ...] = ()
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] | None = None


@dataclass(frozen=True)
class Destination:
    """Where a scan would go: host and port as the guard will compare them, and what the host resolves to now."""

    host: str
    port: int
    addresses: tuple[Address, ...]
    visibility: Visibility


@dataclass(frozen=True)
class ScopeDecision:
    ok: bool
    message: str


@dataclass(frozen=True)
class MethodsDecision:
    """`methods` are what is left of those that the job asks for; `refused` the others, in its order."""

    methods: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return NEEDED_METHOD in self.methods

    @property
    def message(self) -> str:
        refused = ", ".join(self.refused)
        if not self.ok:
            return f"a scan needs {NEEDED_METHOD}, which its job or the scope file does not permit (refused: {refused or 'nothing'})"
        return f"the scope file does not permit {refused}" if refused else "all methods of the job are permitted"

    @property
    def remarks(self) -> list[str]:
        """For the coverage, where the scan uses less than was asked for."""
        return [f"methods_out_of_scope: The runner's scope does not permit {', '.join(self.refused)}."] if self.refused else []

    @property
    def is_gap(self) -> bool:
        """Whether something cannot be looked at: pages are seen by GET as well, what changes data by its own method only."""
        return any(method not in READ_ONLY_METHODS for method in self.refused)


def judge_methods(scope: Scope | None, asked: Sequence[str]) -> MethodsDecision:
    """What a scan may use of the methods that its job asks for. Without a word about them in the scope file, all."""
    wanted = tuple(dict.fromkeys(method.upper() for method in asked))
    permitted = wanted if scope is None or scope.methods is None else tuple(method for method in wanted if method in scope.methods)
    return MethodsDecision(permitted, tuple(method for method in wanted if method not in permitted))


def load_scope(path: Path) -> Scope | None:
    """The scope in the file, None where there is none; raises BadScope."""
    try:
        return Scope.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        raise BadScope(f"{path}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise BadScope(f"{path} cannot be read: {error}") from error


def judge(scope: Scope | None, destination: Destination) -> ScopeDecision:
    """Whether this runner may touch the destination. Pure: resolving is the caller's."""
    where = f"{destination.host}:{destination.port}"
    if not destination.addresses:
        return ScopeDecision(False, f"{destination.host} does not resolve on this host")
    if scope is None:
        return _judge_by_default(destination, where)
    if scope.ports and destination.port not in scope.ports:
        return ScopeDecision(False, f"port {destination.port} is not among the ports of the scope file")
    if any(_matches(pattern, destination.host) for pattern in scope.hosts):
        return ScopeDecision(True, f"{where} is listed by name")
    if scope.cidrs and all(any(_within(address, network) for network in scope.cidrs) for address in destination.addresses):
        return ScopeDecision(True, f"{where} lies in the listed networks")
    return ScopeDecision(False, f"{where} is not in the scope file")


def _judge_by_default(destination: Destination, where: str) -> ScopeDecision:
    if any(_within(address, network) for address in destination.addresses for network in LINK_LOCAL):
        return ScopeDecision(False, f"{where} is a link-local address, where metadata services live; only a scope file can allow it")
    if destination.visibility in VISIBILITIES_NEEDING_PROOF:
        return ScopeDecision(True, f"{where} is a {destination.visibility} target and there is no scope file")
    if is_internal_name(destination.host):
        return ScopeDecision(True, f"{where} is an internal name and there is no scope file")
    if all(_is_internal(address) for address in destination.addresses):
        return ScopeDecision(True, f"{where} is an internal address and there is no scope file")
    return ScopeDecision(False, f"{where} is on the Internet, but the target is {destination.visibility}")


def is_internal_name(host: str) -> bool:
    return not _is_literal(host) and ("." not in host or host.endswith(INTERNAL_SUFFIXES))


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_internal(address: Address) -> bool:
    plain = _unmapped(address)
    return plain.is_loopback or (plain.is_private and not plain.is_unspecified)


def _unmapped(address: Address) -> Address:
    # ::ffff:10.0.0.1 reaches 10.0.0.1, so it has to be judged as that.
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _within(address: Address, network: Network) -> bool:
    plain = _unmapped(address)
    return plain.version == network.version and plain in network


def _matches(pattern: str, host: str) -> bool:
    wildcard, bare = pattern.startswith("*."), pattern.removeprefix("*.")
    try:
        wanted = normal_host(bare)
    except InvalidTarget:
        return False
    return host.endswith(f".{wanted}") if wildcard else host == wanted


async def resolve(host: str, port: int) -> tuple[Address, ...]:
    """All addresses of the host, empty where it has none or the resolver does not answer in time."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return ()
    return _unique([ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found])


def _unique(addresses: Sequence[Address]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(addresses))
