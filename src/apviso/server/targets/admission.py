"""Decides which target may be kept: its addresses, its visibility and what the license permits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from apviso.protocol.licenses import License
from apviso.protocol.states import Visibility
from apviso.protocol.targets import TargetPatch
from apviso.server.errors import LicenseInactive, LicenseLimitReached, VisibilityNotAllowed, field_refused
from apviso.server.targets.address import BadAddress, HttpUrl, Place, parse_domain, parse_url
from apviso.server.targets.facts import KnownTarget


@dataclass(frozen=True)
class Addresses:
    """A target's domain and URLs in canonical form. `scan_field` is the input that named the scanned host."""

    domain: Place
    display_url: HttpUrl
    scan_url: HttpUrl
    scan_field: str


def read_addresses(domain: str, display_url: str | None, scan_url: str | None) -> Addresses:
    """What was given, and the default for what was not. Raises InvalidFields."""
    place = _domain(domain)
    shown = _url("displayUrl", display_url) if display_url is not None else _default_url(place)
    scanned = _url("scanUrl", scan_url) if scan_url is not None else shown
    named_by = "scanUrl" if scan_url is not None else "displayUrl" if display_url is not None else "domain"
    return Addresses(place, shown, scanned, named_by)


def check_visibility(visibility: Visibility, addresses: Addresses) -> None:
    """A public target is on the Internet, a localhost target on the runner's host. Raises InvalidFields."""
    scanned = addresses.scan_url.place
    match visibility:
        case Visibility.PUBLIC if addresses.domain.is_internal:
            raise field_refused("domain", _not_public(addresses.domain))
        case Visibility.PUBLIC if scanned.is_internal:
            raise field_refused(addresses.scan_field, _not_public(scanned))
        case Visibility.LOCALHOST if not scanned.is_loopback:
            raise field_refused(
                addresses.scan_field,
                f"{scanned.host} is not the runner's own host; a localhost target is at localhost, 127.0.0.1 or [::1] "
                "(for another internal host use the visibility private_internal)",
            )
        case _:
            return


def check_license(license_: License, visibility: Visibility) -> None:
    """Raises LicenseInactive or VisibilityNotAllowed."""
    if not license_.can_start_self_hosted_scan:
        raise LicenseInactive(f"The license is {license_.license_state}: it permits no new target; install a valid license.")
    if visibility not in license_.allowed_target_visibilities:
        allowed = ", ".join(license_.allowed_target_visibilities)
        raise VisibilityNotAllowed(f"The license does not permit targets of visibility {visibility}; it permits {allowed or 'none'}.")


def check_room(license_: License, targets: int) -> None:
    """Whether one more target fits beside `targets`. Raises LicenseLimitReached."""
    if targets >= license_.target_limit:
        raise LicenseLimitReached(
            f"The license permits {license_.target_limit} targets and {targets} exist; delete one or extend the license.",
            limit=license_.target_limit,
            observed=targets,
        )


@dataclass(frozen=True)
class Edit:
    """A target after an edit. `is_other`: another host is scanned or another visibility claimed, so nothing proved before holds."""

    addresses: Addresses
    visibility: Visibility
    is_other: bool


def read_edit(target: KnownTarget, patch: TargetPatch) -> Edit:
    """What the target would be. Raises InvalidFields, by the rules of a new target where it is another one."""
    addresses = read_addresses(target.domain, patch.display_url or target.display_url, patch.scan_url or target.scan_url)
    visibility = patch.visibility or target.visibility
    is_other = addresses.scan_url.place.host != parse_url(target.scan_url).place.host or visibility is not target.visibility
    if is_other:
        check_visibility(visibility, replace(addresses, scan_field="visibility" if patch.scan_url is None else "scanUrl"))
    return Edit(addresses, visibility, is_other)


def _domain(text: str) -> Place:
    try:
        return parse_domain(text)
    except BadAddress as error:
        raise field_refused("domain", str(error)) from error


def _url(field: str, text: str) -> HttpUrl:
    try:
        return parse_url(text)
    except BadAddress as error:
        raise field_refused(field, str(error)) from error


def _default_url(place: Place) -> HttpUrl:
    # What runs on one's own host seldom has a certificate.
    return HttpUrl(f"{'http' if place.is_loopback else 'https'}://{place}", place)


def _not_public(place: Place) -> str:
    kind = "a loopback" if place.is_loopback else "an internal"
    return f"{place.host} is {kind} address; choose the visibility private_internal or localhost for it"
