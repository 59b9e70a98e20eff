"""The license of an organization as it stands now: the installed document, judged by the keys this host trusts."""

from __future__ import annotations

from pathlib import Path

from apviso.protocol.licenses import License
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.licensing import store
from apviso.server.licensing.license import standing
from apviso.server.licensing.store import Installed
from apviso.server.resources import Resources
from apviso.server.settings import Settings

ISSUER_FILE = "issuer.pub"


async def current_license(work: Work, plant: Resources, organization_id: OrganizationId) -> License:
    return _standing(work, plant, await store.installed(work, organization_id))


async def license_in_use(work: Work, plant: Resources, organization_id: OrganizationId) -> tuple[License, int]:
    """The license, and how many leases count against its limit now."""
    found, live_leases = await store.installed_and_used(work, organization_id)
    return _standing(work, plant, found), live_leases


def _standing(work: Work, plant: Resources, found: Installed) -> License:
    keys = () if found.document is None else issuer_keys(plant.settings)
    return standing(found.document, found.organization_name, keys, work.now)


def issuer_keys(settings: Settings) -> tuple[str, ...]:
    """The settings' keys and those that were installed in the data folder; read each time, so that an install needs no restart."""
    return (*settings.license_issuer_keys, *_installed_keys(settings.data_dir / ISSUER_FILE))


def _installed_keys(file: Path) -> tuple[str, ...]:
    try:
        return tuple(file.read_text(encoding="ascii").split())
    # An unreadable file is an untrusted key: the license then counts as none, which the quota shows.
    except (OSError, UnicodeDecodeError):
        return ()
