"""The preflight's checks of credentials: are they configured, do they log in, does the target show that it knows them?"""

from __future__ import annotations

from collections.abc import Sequence

from apviso.protocol.states import EndReason
from apviso.protocol.targets import JobTarget
from apviso.runner.examination import Examination
from apviso.runner.private_files import ExposedFile
from apviso.runner.reachability import leads_to_login
from apviso.runner.station import Station
from apviso.runner.target_auth.entries import DEFAULT_IDENTITY, TargetAuth
from apviso.runner.target_auth.file import BadTargetAuth, find_target_auth_file, load_target_auth
from apviso.runner.target_auth.identities import TargetIdentity, Whereabouts, take_on
from apviso.runner.target_auth.login import NotLoggedIn
from apviso.runner.target_auth.markers import Marker, is_logged_in
from apviso.runner.target_auth.matching import find_entries
from apviso.runner.target_visit import NoAnswer, OffTarget

_CORRECT = "Correct the file, then run `apviso doctor`."
_RENEW = "Renew the credentials in the target auth file."


def check_target_auth(found: Examination, station: Station, target: JobTarget) -> list[TargetAuth]:
    """The entries for this target; the secrets of all entries are kept out of reports from here on."""
    try:
        entries = load_target_auth(find_target_auth_file(station.config))
    except (BadTargetAuth, ExposedFile, OSError) as error:
        found.failed("target_auth", EndReason.INVALID_CONFIG, str(error), _CORRECT)
        return []
    for entry in entries:
        station.redactor.learn(*entry.values())
    fitting = find_entries(entries, target)
    found.api_document = next((entry.api_document for entry in fitting if entry.api_document), None)
    if all(entry.type == "none" for entry in fitting):
        found.passed("target_auth", "No credentials are configured for this target.")
    else:
        found.passed("target_auth", f"Credentials are configured{_names([entry.identity for entry in fitting])}.")
    return fitting


def _names(identities: list[str]) -> str:
    return "" if identities == [DEFAULT_IDENTITY] else f" for {', '.join(identities)}"


async def take_on_identities(found: Examination, station: Station, entries: Sequence[TargetAuth], place: Whereabouts) -> None:
    """Log in where that is configured; `found.identities` are what came of it, none where nobody has credentials."""
    try:
        taken = await take_on(entries, place, station.redactor.learn, station.clock.now())
        found.identities = taken if any(identity.headers for identity in taken) else ()
    except (BadTargetAuth, ExposedFile, OSError) as error:
        found.failed("target_auth", EndReason.INVALID_CONFIG, str(error), _CORRECT)
    except NotLoggedIn as error:
        if error.is_unreachable:
            found.failed("target_auth", EndReason.TARGET_UNREACHABLE, str(error), "Check that the application runs.")
        else:
            found.failed("target_auth", EndReason.AUTH_FAILED, str(error), "Correct the entry in the target auth file.")


async def check_login(found: Examination, place: Whereabouts) -> None:
    """Credentials that have run out are often answered with a redirect to the login instead of a 401."""
    for identity in found.identities:
        if identity.headers and await leads_to_login(place.scan_url, identity.headers, place.exclude_paths, place.addresses):
            message = f"The target leads to its login in spite of the configured credentials{_of(identity)}."
            found.failed("target", EndReason.AUTH_FAILED, message, _RENEW)
            return
    for identity in found.identities:
        if identity.marker is not None and found.ok:
            await _check_marker(found, identity, identity.marker, place)


async def lost_logins(identities: Sequence[TargetIdentity], place: Whereabouts) -> list[str]:
    """Gaps of the coverage for identities whose marker no longer shows; one that cannot be asked for counts as gone."""
    gaps = []
    for identity in identities:
        if identity.marker is None:
            continue
        try:
            if await is_logged_in(identity.marker, place.scan_url, identity.headers, place.exclude_paths, place.addresses):
                continue
            why = "the target no longer showed logged_in_text"
        except (NoAnswer, OffTarget) as error:
            why = f"the page of logged_in_url could not be asked ({error})"
        gaps.append(f"login_lost: After the scan {why}{_of(identity)}; a part of the scan saw what strangers see.")
    return gaps


def _of(identity: TargetIdentity) -> str:
    return "" if identity.name == DEFAULT_IDENTITY else f" of {identity.name}"


async def _check_marker(found: Examination, identity: TargetIdentity, marker: Marker, place: Whereabouts) -> None:
    try:
        shows = await is_logged_in(marker, place.scan_url, identity.headers, place.exclude_paths, place.addresses)
        proves_nothing = shows and await is_logged_in(marker, place.scan_url, {}, place.exclude_paths, place.addresses)
    except NoAnswer as error:
        message = f"The page of logged_in_url cannot be asked: {error}."
        found.failed("login", EndReason.TARGET_UNREACHABLE, message, "Correct logged_in_url.")
    except OffTarget as error:
        found.failed("login", EndReason.INVALID_CONFIG, f"logged_in_url leads off the target, to {error}.", "Name a path on the target.")
    else:
        if not shows:
            message = f"The target does not show logged_in_text to the configured credentials{_of(identity)}."
            found.failed("login", EndReason.AUTH_FAILED, message, _RENEW)
        elif proves_nothing:
            message = "logged_in_text shows to visitors without credentials, too, so that it proves no login."
            found.failed("login", EndReason.INVALID_CONFIG, message, "Choose a text that shows to logged-in visitors only.")
        else:
            found.passed("login", "The target shows what it shows to logged-in visitors only.")
