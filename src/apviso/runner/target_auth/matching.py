"""Which entries of the target auth file are for a target. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from apviso.protocol.targets import JobTarget
from apviso.runner.target_auth.entries import DEFAULT_IDENTITY, TargetAuth
from apviso.scanning.guard_rules import AllowedHost, InvalidTarget, allowed_host


def find_entries(entries: Sequence[TargetAuth], target: JobTarget) -> list[TargetAuth]:
    """One entry for each identity of this target: those by its id, else those by URL, else those by domain.

    The one that a scan uses when it names none comes first: that called default, or else the first in the file.
    Each place that an entry names has to fit. `url` and `domain` are compared with the address that will be scanned, not with the name
    the control plane shows: otherwise a target with a trusted name and a foreign address would be handed the secret.
    """
    fitting = [entry for entry in entries if _fits(entry, target)]
    closest = min((_closeness(entry) for entry in fitting), default=None)
    by_identity: dict[str, TargetAuth] = {}
    for entry in fitting:
        if _closeness(entry) == closest:
            by_identity.setdefault(entry.identity, entry)
    return sorted(by_identity.values(), key=lambda entry: entry.identity != DEFAULT_IDENTITY)


def _closeness(entry: TargetAuth) -> tuple[bool, bool]:
    """Smaller is closer."""
    return entry.id is None, entry.url is None


def _fits(entry: TargetAuth, target: JobTarget) -> bool:
    return (
        (entry.id is None or entry.id == target.id)
        and (entry.url is None or _is_below(entry.url, target.scan_url))
        and (entry.domain is None or _is_host(entry.domain, target.scan_url))
    )


def _is_below(prefix: str, url: str) -> bool:
    folder = urlsplit(prefix).path.rstrip("/")
    path = urlsplit(url).path
    return _address(prefix) == _address(url) and (path == folder or path.startswith(folder + "/") or not folder)


def _is_host(domain: str, url: str) -> bool:
    """`domain` is a host with or without a port."""
    for scheme in ("http", "https"):
        wanted, actual = _address(f"{scheme}://{domain.strip()}"), _address(url)
        if wanted and actual and wanted.host == actual.host and (wanted.port == actual.port or urlsplit(f"//{domain}").port is None):
            return True
    return False


def _address(url: str) -> AllowedHost | None:
    try:
        return allowed_host(url)
    except InvalidTarget:
        return None
