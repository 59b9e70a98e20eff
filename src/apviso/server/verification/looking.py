"""Looks for a proof of control now, and says what was looked at and seen. Never connects to an internal address that is not permitted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from apviso.protocol.states import VerificationMethod
from apviso.protocol.verification import VerificationCheck
from apviso.server.settings import Settings
from apviso.server.targets.address import Place
from apviso.server.verification.challenge import NAME, Challenge
from apviso.server.verification.head import meta_contents
from apviso.server.verification.names import Address, Names, NameTrouble
from apviso.server.verification.pages import MAX_BODY_BYTES, Page, PageTrouble, fetch
from apviso.server.verification.words import quoted

# Of what was published beside the proof, so many are told.
MOST_TOLD = 3


@dataclass(frozen=True)
class Means:
    """What a look has: name servers, the internal networks that it may enter, and how long one wait may be."""

    names: Names
    networks: Sequence[IPv4Network | IPv6Network]
    seconds: float


@dataclass(frozen=True)
class Look:
    """What was looked at. One place that is right is enough."""

    checks: tuple[VerificationCheck, ...]

    @property
    def error(self) -> str | None:
        """None where the proof was found."""
        return None if any(check.ok for check in self.checks) else " ".join(check.message for check in self.checks)


def means_of(settings: Settings) -> Means:
    seconds = settings.verification_timeout_seconds
    return Means(Names(settings.dns_servers, seconds), settings.verification_networks, seconds)


async def look(means: Means, challenge: Challenge, method: VerificationMethod) -> Look:
    """Takes at most three times the seconds of one wait: names, then encrypted, then not."""
    if method is VerificationMethod.DNS_TXT:
        return Look((await _look_at_record(means, challenge),))
    try:
        addresses = await _judged(means, challenge.place)
    except NameTrouble as trouble:
        fix = (
            f"Let the host be found, from where the control plane runs, at addresses that it may ask; or use {VerificationMethod.DNS_TXT}."
        )
        return Look((_check(f"address of {challenge.place.host}", str(trouble), "a public address", fix),))
    checks: list[VerificationCheck] = []
    for url in challenge.file_urls if method is VerificationMethod.FILE else challenge.page_urls:
        checks.append(await _look_at_page(means, challenge, method, url, addresses))
        if checks[-1].ok:
            break
    return Look(tuple(checks))


async def _look_at_record(means: Means, challenge: Challenge) -> VerificationCheck:
    assert challenge.record_name is not None
    place, fix = f"TXT record {challenge.record_name}", f"Add a TXT record {challenge.record_name} with the value {challenge.value}."
    try:
        texts = await means.names.texts(challenge.record_name)
    except NameTrouble as trouble:
        return _check(place, str(trouble), challenge.value, fix)
    return _check(place, _listed(texts), challenge.value, fix, ok=challenge.is_record(texts))


async def _judged(means: Means, place: Place) -> list[Address]:
    """Looked up once and pinned: a name that means something else a moment later leads nowhere else. Raises NameTrouble."""
    addresses = [place.address] if place.address is not None else await means.names.addresses(place.host)
    refused = [address for address in addresses if not _may_be_asked(means, address)]
    if refused:
        # One is enough: a name that also means an internal host is not to be trusted with the rest.
        raise NameTrouble(f"{refused[0]}, an internal address that the control plane does not ask")
    return addresses


def _may_be_asked(means: Means, address: Address) -> bool:
    return not Place(str(address), address, None).is_internal or any(address in network for network in means.networks)


async def _look_at_page(
    means: Means, challenge: Challenge, method: VerificationMethod, url: str, addresses: Sequence[Address]
) -> VerificationCheck:
    is_file = method is VerificationMethod.FILE
    required = challenge.value if is_file else challenge.tag
    fix = f"Serve a line {challenge.value} at {url}." if is_file else f"Put {challenge.tag} into the <head> of {url}."
    try:
        page = await fetch(url, addresses, means.seconds, has_port=challenge.place.port is not None)
    except PageTrouble as trouble:
        return _check(url, str(trouble), required, fix)
    # A page can be written so that reading it takes long; nobody waits for that.
    seen, ok = await asyncio.to_thread(_seen_in_file if is_file else _seen_in_head, challenge, page)
    return _check(url, seen, required, fix, ok=ok)


def _seen_in_file(challenge: Challenge, page: Page) -> tuple[str, bool]:
    if page.is_cut:
        return f"a file of more than {MAX_BODY_BYTES // 1024} KiB", False
    return f"a file that begins with {quoted(page.text)}", challenge.is_file(page.text)


def _seen_in_head(challenge: Challenge, page: Page) -> tuple[str, bool]:
    contents = meta_contents(page.text, NAME)
    if not contents:
        within = f" within its first {MAX_BODY_BYTES // 1024} KiB" if page.is_cut else ""
        return f"a page without a meta tag {NAME} in its head{within}", False
    return f"meta tags {NAME} with the content {_listed(contents)}", challenge.token in contents


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MOST_TOLD} more" if len(texts) > MOST_TOLD else ""
    return ", ".join(map(quoted, texts[:MOST_TOLD])) + more


def _check(place: str, seen: str, required: str, fix: str, *, ok: bool = False) -> VerificationCheck:
    message = f"{place}: found, as required." if ok else f"{place}: {seen}."
    return VerificationCheck(looked_at=place, ok=ok, seen=seen, required=required, message=message, fix=None if ok else fix)
