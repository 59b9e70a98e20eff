"""The license of an organization as it stands now: the installed document, judged by the keys this host trusts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from apviso.protocol.licenses import License
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.licensing import store
from apviso.server.licensing.license import standing
from apviso.server.resources import Resources
from apviso.server.settings import Settings

ISSUER_FILE = "issuer.pub"


@dataclass(frozen=True)
class Held:
    """What was installed for an organization, and the keys that this host trusted then."""

    installed: store.Installed
    keys: tuple[str, ...]

    def at(self, now: datetime) -> License:
        return standing(self.installed.document, self.installed.organization_name, self.keys, now)


async def current_license(work: Work, plant: Resources, organization_id: OrganizationId) -> License:
    """For what may begin: as the caller's transaction sees it."""
    return _held(plant, await store.installed(work, organization_id)).at(work.now)


async def license_in_use(work: Work, plant: Resources, organization_id: OrganizationId) -> tuple[License, int]:
    """The same, and how many leases count against its limit now."""
    found, live_leases = await store.installed_and_used(work, organization_id)
    return _held(plant, found).at(work.now), live_leases


async def shown_license(plant: Resources, organization_id: OrganizationId) -> License:
    """For what only shows it: as it was installed when this process last looked, within the last second."""
    held = believed_license(plant, organization_id)
    if held is None:
        moment = plant.licenses.moment
        async with plant.database.reading(aside=True) as work:
            held = _held(plant, await store.installed(work, organization_id))
        plant.licenses.believe(organization_id, held, moment)
    return held.at(plant.database.clock())


def believed_license(plant: Resources, organization_id: OrganizationId) -> Held | None:
    """None where it has to be read."""
    held: Held | None = None if plant.signals.is_deaf else plant.licenses.find(organization_id)
    return held


def _held(plant: Resources, found: store.Installed) -> Held:
    return Held(found, () if found.document is None else issuer_keys(plant.settings))


def issuer_keys(settings: Settings) -> tuple[str, ...]:
    """The settings' keys and those that were installed in the data folder; read each time, so that an install needs no restart."""
    return (*settings.license_issuer_keys, *_installed_keys(settings.data_dir / ISSUER_FILE))


def _installed_keys(file: Path) -> tuple[str, ...]:
    try:
        return tuple(file.read_text(encoding="ascii").split())
    # An unreadable file is an untrusted key: the license then counts as none, which the quota shows.
    except (OSError, UnicodeDecodeError):
        return ()
