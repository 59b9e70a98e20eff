"""What the operator of the host does without the HTTP API: first key, licenses, organization settings. Works beside a running server."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from apviso.protocol.licenses import License
from apviso.server.accounts.signing_in import issue_link, set_up_url
from apviso.server.audit import store as audit
from apviso.server.believed import BELIEVED_SECONDS
from apviso.server.db.engine import Database, Work
from apviso.server.db.upgrade import make_private, upgrade
from apviso.server.licensing import store as licenses
from apviso.server.licensing.current import ISSUER_FILE, issuer_keys
from apviso.server.licensing.license import ANY_ORGANIZATION, find_terms, public_key_of, standing
from apviso.server.organizations import store as organizations
from apviso.server.organizations.bootstrap import WayIn
from apviso.server.organizations.bootstrap import bootstrap as bootstrap_organization
from apviso.server.organizations.store import Organization
from apviso.server.settings import Settings
from apviso.server.signals import Signals


class Declined(Exception):
    """What was asked cannot be done; the message says why and what to do."""


class OrganizationUnclear(Declined):
    """There is none, or more than one and none was named."""


class LicenseDeclined(Declined):
    """The document does not verify, or is another organization's."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def _writing(settings: Settings) -> AsyncIterator[Work]:
    """One transaction on the newest schema."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_file(settings.effective_database_url)
    database = Database(settings.effective_database_url, utc_now, Signals())
    try:
        await upgrade(settings.effective_database_url)
        async with database.writing() as work:
            yield work
    finally:
        await database.close()


def _check_file(url: str) -> None:
    """Raises sqlite3.Error where the file cannot be opened: the asynchronous driver would leave a thread behind that outlives its loop."""
    if url.startswith("sqlite"):
        make_private(url)
        sqlite3.connect(make_url(url).database or "").close()


async def bootstrap(settings: Settings, name: str) -> tuple[WayIn, str]:
    """Create or find the organization; issue a key with every scope, and an address that makes whoever opens it an owner."""
    async with _writing(settings) as work:
        way_in = await bootstrap_organization(work, name)
        return way_in, set_up_url(_address(settings), await issue_link(work, way_in.organization_id))


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return settings.public_url or f"http://{host}:{settings.port}"


async def show_license(settings: Settings, name: str | None) -> License:
    """The license of an organization as it stands now."""
    async with _writing(settings) as work:
        organization = await _organization(work, name)
        return await _standing(work, settings, organization)


async def install_license(settings: Settings, document: str, issuer_key: str | None, name: str | None) -> License:
    """Put a license in force, in running servers as well once this has returned. `issuer_key` (base64) is trusted from now on too.

    Raises LicenseDeclined, and then changes nothing.
    """
    if issuer_key is not None and public_key_of(issuer_key) is None:
        raise LicenseDeclined("The issuer's key is not an Ed25519 public key in base64.")
    async with _writing(settings) as work:
        organization = await _organization(work, name)
        terms = find_terms(document, (*issuer_keys(settings), *([issuer_key.strip()] if issuer_key else [])))
        if terms is None:
            raise LicenseDeclined("The license does not verify: it was changed, or its issuer's key is not known here (--issuer-key).")
        if terms.organization not in (organization.name, ANY_ORGANIZATION):
            raise LicenseDeclined(f"The license is for the organization {terms.organization!r}, not for {organization.name!r}.")
        if issuer_key is not None:
            _trust(settings.data_dir / ISSUER_FILE, issuer_key.strip())
        await licenses.install(work, organization.id, document)
        subject, facts = ("license", terms.license_id), {"plan": terms.plan, "expiresAt": terms.expires_at.isoformat()}
        await audit.record(work, organization.id, audit.OPERATOR, "license.installed", subject, **facts)
        installed = await _standing(work, settings, organization)
    # Until no server believes any longer what it has read before.
    await asyncio.sleep(BELIEVED_SECONDS)
    return installed


async def set_verification(settings: Settings, name: str | None, required: bool | None) -> Organization:
    """Switch the proof of control of targets on or off (None: leave it), and show the organization."""
    async with _writing(settings) as work:
        organization = await _organization(work, name)
        if required is not None and await organizations.set_requires_verification(work, organization.id, required):
            subject = ("organization", organization.id)
            await audit.record(
                work, organization.id, audit.OPERATOR, "organization.verification_changed", subject, requiresVerification=required
            )
        return await organizations.get(work, organization.id)


async def _organization(work: Work, name: str | None) -> Organization:
    """The named one, or the only one there is."""
    known = await organizations.list_organizations(work)
    if not known:
        raise OrganizationUnclear("There is no organization yet; create one with: apviso admin bootstrap")
    if name is None and len(known) == 1:
        return known[0]
    found = next((one for one in known if one.name == name), None)
    if found is None:
        raise OrganizationUnclear(f"Name one organization with --organization: {', '.join(one.name for one in known)}")
    return found


async def _standing(work: Work, settings: Settings, organization: Organization) -> License:
    installed = await licenses.installed(work, organization.id)
    return standing(installed.document, organization.name, issuer_keys(settings), work.now)


def _trust(file: Path, issuer_key: str) -> None:
    """Add a key to those that are trusted already: other organizations' licenses may hang on them."""
    kept = file.read_text(encoding="ascii").split() if file.exists() else []
    if issuer_key not in kept:
        fresh = file.with_suffix(".new")
        fresh.write_text("\n".join([*kept, issuer_key]) + "\n", encoding="ascii")
        fresh.replace(file)  # a reader sees the old keys or the new ones, never half a file
