"""What the start page, and a few pages behind it, say about the scan when they are seen again at its end.

Pure; the looks are taken by `first_look`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from apviso.scanning.first_look import Look, Sight, bare, is_other_path
from apviso.scanning.links import is_excluded

# Pages behind the start page that are seen twice: a public start page does not tell that a login was lost.
WITNESSES = 3


def login_gap(asked_url: str, first: Look) -> list[str]:
    """A start page that sends to a login was asked without credentials, or with some that no longer hold."""
    if not first.asks_password or not is_other_path(first.url, asked_url):
        return []
    return [f"login_required: The start page leads to a login at {bare(first.url)}; what lies behind it was not looked at."]


def changes(asked_url: str, first: Look, last: Look) -> list[str]:
    """Gaps, as `code: sentence`: a target that is another one at the end was perhaps another one for most of the scan."""
    if last.sight in (Sight.UNREACHABLE, Sight.ACCESS_REFUSED):
        return ["target_lost: The target no longer answered as before at the end of the scan."]
    if last.sight is Sight.LEADS_AWAY:
        return [f"target_changed: At the end of the scan: {last.message}"]
    if last.asks_password and not first.asks_password:
        return [f"login_lost: At the end of the scan the start page showed a login, at {bare(last.url)}."]
    # Refused at its beginning, a look says nothing of the target; the guard's counters tell what happened.
    known = {bare(first.url), bare(asked_url)} if last.sight is Sight.REFUSED_BY_GUARD else {bare(first.url)}
    if bare(last.url) not in known:
        return [f"target_changed: At the end of the scan the start page led to {bare(last.url)}."]
    if last.status >= 400 > first.status:
        return [f"target_changed: At the end of the scan the start page had the status {last.status}."]
    return []


def witnesses(start: Look, exclude_paths: Iterable[str]) -> list[str]:
    """A few pages to which the start page links, from its beginning, middle and end, all of them pages that the scan may crawl."""
    patterns, folder = list(exclude_paths), start.url.partition("?")[0].rpartition("/")[0] + "/"
    pages = [link for link in start.links if link.startswith(folder) and link != start.url and not is_excluded(link, patterns)]
    return list(dict.fromkeys(pages[number * (len(pages) - 1) // (WITNESSES - 1)] for number in range(WITNESSES))) if pages else []


def lost_pages(first: Mapping[str, Look], last: Mapping[str, Look]) -> list[str]:
    """Gaps for pages, by address, that were there at first and show a login, refuse access or lead away at the end.

    One that does not answer tells nothing of a login; the guard counts such answers."""
    return [gap for url, seen in last.items() if _was_open(first[url]) and (gap := _closed(url, seen))]


def _was_open(seen: Look) -> bool:
    return seen.sight is Sight.USABLE and seen.status < 400 and not seen.asks_password


def _closed(url: str, seen: Look) -> str | None:
    if seen.sight is Sight.LEADS_AWAY:
        return f"target_changed: At the end of the scan {bare(url)} led away from the target."
    if seen.asks_password or seen.sight is Sight.ACCESS_REFUSED:
        return f"login_lost: At the end of the scan {bare(url)} asked for a login."
    return None
