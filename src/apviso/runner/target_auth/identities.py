"""From the entries for a target to the identities a scan can have there: whatever has to be read or logged in for it is done here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apviso.runner.target_auth.browser_state import fits, is_current, read_browser_state
from apviso.runner.target_auth.entries import BrowserStateAuth, LoginAuth, TargetAuth, cookie_header, header_secrets
from apviso.runner.target_auth.login import NotLoggedIn, Obtained, log_in
from apviso.runner.target_auth.markers import Marker
from apviso.runner.target_visit import NoAnswer, OffTarget, visit


@dataclass(frozen=True)
class TargetIdentity:
    """As whom a target is looked at: the headers that the guard adds, and how to tell that they still hold."""

    name: str
    headers: Mapping[str, str] = field(repr=False)
    marker: Marker | None = None


@dataclass(frozen=True)
class Whereabouts:
    """Where a target is: the address that is scanned, the addresses it was judged by, what must not be asked for there."""

    scan_url: str
    addresses: Sequence[str]
    exclude_paths: Sequence[str]


async def take_on(
    entries: Sequence[TargetAuth], place: Whereabouts, learn: Callable[..., None], now: datetime
) -> tuple[TargetIdentity, ...]:
    """The identities of these entries; `learn` is told every secret before it is used.

    Raises NotLoggedIn, and BadTargetAuth, ExposedFile or OSError where a browser state cannot be read."""
    taken = []
    for entry in entries:
        obtained = await _obtain(entry, place, now)
        learn(*obtained.secrets)
        marker = Marker(entry.logged_in_url, entry.logged_in_text) if entry.logged_in_url and entry.logged_in_text else None
        taken.append(TargetIdentity(entry.identity, obtained.headers, marker))
    return tuple(taken)


async def _obtain(entry: TargetAuth, place: Whereabouts, now: datetime) -> Obtained:
    match entry:
        case LoginAuth():
            return await _log_in(entry, place)
        case BrowserStateAuth():
            return _kept(entry, place.scan_url, now)
        case _:
            return Obtained(entry.headers(), entry.values())


async def _log_in(entry: LoginAuth, place: Whereabouts) -> Obtained:
    try:
        async with visit(place.scan_url, place.addresses, place.exclude_paths) as made:
            return await log_in(entry, made)
    except NoAnswer as error:
        raise NotLoggedIn(f"The login could not be done: {error}.", is_unreachable=True) from error
    except OffTarget as error:
        raise NotLoggedIn(f"The login leads off the target, to {error}; credentials are sent to the target only.") from error


def _kept(entry: BrowserStateAuth, url: str, now: datetime) -> Obtained:
    fitting = [cookie for cookie in read_browser_state(entry.state_file) if fits(cookie, url)]
    current = {cookie.name: cookie.value for cookie in fitting if is_current(cookie, now)}
    if not current:
        why = "have all expired" if fitting else "are not for this target"
        raise NotLoggedIn(f"The cookies in {entry.state_file.name} {why}; log in with the browser and save its state again.")
    header = cookie_header(current)
    return Obtained({"Cookie": header}, header_secrets(header))
