"""Asks name servers for a host's addresses and for the texts of a record. Every wait and every answer has a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from dns.asyncresolver import Resolver
from dns.exception import DNSException
from dns.name import Name, from_text
from dns.nameserver import Do53Nameserver
from dns.resolver import NXDOMAIN, LifetimeTimeout, NoNameservers, NoResolverConfiguration

from apviso.server.settings import name_server

Address = IPv4Address | IPv6Address
# What an honest name needs: a chain of a few aliases, a handful of records.
MAX_ALIASES, MAX_RECORDS = 8, 100
# One try of one server; a lost datagram is asked for again.
TRY_SECONDS = 2.0


class NameTrouble(Exception):
    """The name servers gave no such records; the message says what they said instead."""


class Names:
    """`servers` as in the settings; without them, those of the host. `seconds` is for one question with all its aliases."""

    def __init__(self, servers: Sequence[str], seconds: float) -> None:
        self._servers = [name_server(server) for server in servers]
        self._seconds = seconds

    async def texts(self, name: str) -> list[str]:
        """The TXT records of a name, each put together from its strings. Raises NameTrouble."""
        return [b"".join(record.strings).decode(errors="replace") for record in await self._records(name, "TXT")]

    async def addresses(self, host: str) -> list[Address]:
        """IPv4 first: more hosts that have both are reached by it. Raises NameTrouble where there are none."""
        kinds = await asyncio.gather(*(self._records(host, kind) for kind in ("A", "AAAA")), return_exceptions=True)
        found = [ip_address(record.address) for records in kinds if isinstance(records, list) for record in records]
        if found:
            return found
        for trouble in kinds:
            if isinstance(trouble, BaseException):
                raise trouble
        raise NameTrouble("the name has no address")

    async def _records(self, name: str, kind: str) -> list[Any]:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(self._resolver(), from_text(name), kind)
        except (NXDOMAIN, NoNameservers, LifetimeTimeout, NoResolverConfiguration, TimeoutError) as error:
            raise NameTrouble(self._words(error)) from error
        except (DNSException, OSError, ValueError) as error:
            raise NameTrouble(f"the name servers could not be asked ({type(error).__name__})") from error

    async def _follow(self, resolver: Resolver, name: Name, kind: str) -> list[Any]:
        """Through aliases also where a server answers only for its own zone and leaves the next question to us."""
        for _ in range(MAX_ALIASES):
            answer = await resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
            if answer.rrset is not None:
                return list(answer.rrset)[:MAX_RECORDS]
            if answer.canonical_name == name:
                raise NameTrouble(f"the name has no {kind} record")
            name = answer.canonical_name
        raise NameTrouble(f"its aliases lead through more than {MAX_ALIASES} names")

    def _resolver(self) -> Resolver:
        # Made for each question: a host's configuration changes, and nothing is to be remembered of an earlier answer.
        resolver = Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers = [Do53Nameserver(address, port) for address, port in self._servers]
        resolver.lifetime, resolver.timeout = self._seconds, min(TRY_SECONDS, self._seconds)
        return resolver

    def _words(self, error: Exception) -> str:
        match error:
            case NXDOMAIN():
                return "there is no such name"
            case NoNameservers():
                return "the name servers failed or refused to answer"
            case NoResolverConfiguration():
                return "this host knows no name server (APVISO_DNS_SERVERS names some)"
            case _:
                return f"the name servers did not answer within {self._seconds:g} s"
