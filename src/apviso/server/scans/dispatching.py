"""Brings claims that wait and scans that wait together: one look and one transaction for many claims, organizations in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from apviso.protocol.daemon import ClaimAnswer
from apviso.protocol.wire import OrganizationId, ScanId
from apviso.server.errors import DatabaseUnavailable
from apviso.server.resources import Resources
from apviso.server.scans import store
from apviso.server.scans.claiming import OUTLOOK_KEPT, Outlook, Ticket, look_out, other_since, take
from apviso.server.scans.leases import MAINTENANCE, ROLL_CALL
from apviso.server.scans.matching import Taker, match
from apviso.server.waiting import Line, Outcome, Place

log = structlog.get_logger("apviso.dispatching")
# One transaction assigns at most this many scans: it holds the organization's lock, and others are waiting.
MOST_IN_A_ROUND = 64
# Organizations served at the same time: less than the database has connections, so that calls of people find one.
ROUNDS_AT_ONCE = 4
# A round that hangs must not keep a line waiting for ever.
ROUND_SECONDS = 45.0

Standing = Place[Ticket, ClaimAnswer]


async def serve(plant: Resources, organization_id: OrganizationId) -> bool:
    """Look what the organization's runners can have and give it to those that wait; whether there may be more."""
    line: Line[Ticket, ClaimAnswer, Outlook] = plant.waiting.line(organization_id)
    if not line.places:
        return False
    moment = plant.waiting.moment
    # Whoever comes while we look is told by the next look: what it asks for may be newer than this one.
    asked_for_word = [place for place in line.places if place.wants_word]
    async with plant.database.reading(is_brief=True) as work:
        outlook = await look_out(work, plant, organization_id, min(len(line.places), MOST_IN_A_ROUND))
    plant.waiting.see(organization_id, outlook, moment)
    chosen = _choose(plant, line, outlook)
    await _give(plant, organization_id, chosen)
    for place in asked_for_word:
        if place.is_free:
            place.give(Outcome.NOTHING_NOW)
    return len(chosen) == MOST_IN_A_ROUND


def _choose(plant: Resources, line: Line[Ticket, ClaimAnswer, Outlook], outlook: Outlook) -> list[tuple[ScanId, Standing]]:
    """Who is to get what. Whoever is chosen is in hand: nothing else ends its wait."""
    for place in line.places:
        if not place.asked.is_judged or _is_for_others(place.asked.refusal) or _stands_by_the_clock(place.asked):
            place.asked.judge(plant, outlook, outlook.at)
    takers = (
        Taker(place.runner_id, place.asked.visibilities, place, place.asked.runner.free_slots)
        for place in list(line.places)
        if place.is_free and place.asked.refusal is None
    )
    chosen: list[tuple[ScanId, Standing]] = []
    for scan, place in match(outlook.scans, takers, other_since(plant, outlook.at), MOST_IN_A_ROUND):
        place.is_in_hand = True
        chosen.append((scan.id, place))
    return chosen


def _is_for_others(refusal: str | None) -> bool:
    """Whether others are refused with the runner. Everything else that refuses it is a change of the runner, of which it is told."""
    return refusal is not None and (refusal == ROLL_CALL or refusal.startswith("license_"))


def _stands_by_the_clock(ticket: Ticket) -> bool:
    # Its hours of maintenance begin and end without a word.
    return bool(ticket.runner.maintenance_windows) and ticket.refusal in (None, MAINTENANCE)


async def _give(plant: Resources, organization_id: OrganizationId, chosen: list[tuple[ScanId, Standing]]) -> None:
    answers: dict[Ticket, ClaimAnswer] = {}

    async def unit() -> dict[Ticket, ClaimAnswer]:
        async with plant.database.writing() as work:
            return await take(work, plant, organization_id, wanted)

    try:
        # Where a client is gone, nobody would hear of the job: it is for the next who asks.
        wanted = [(scan_id, place.asked) for scan_id, place in chosen if not await place.asked.is_gone()]
        if wanted:
            answers = await plant.database.again(unit)
    finally:
        # Where the commit's answer was lost, whoever looks again finds what it got by its nonce.
        for _, place in chosen:
            place.give(answers.get(place.asked, Outcome.LOOK_AGAIN))


async def _work(plant: Resources) -> None:
    while (organization_id := await plant.waiting.next_stirred()) is not None:
        again = False
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                again = await serve(plant, organization_id)
        except DatabaseUnavailable as refusal:
            log.warning("round put off", organization_id=organization_id, reason=refusal.detail)
            _send_away(plant, organization_id)
        except Exception:  # the next look does what this one could not
            log.exception("round failed", organization_id=organization_id)
            _send_away(plant, organization_id)
        finally:
            plant.waiting.served(organization_id, again=again)


def _send_away(plant: Resources, organization_id: OrganizationId) -> None:
    """Whoever waits for word looks for itself, and is told what is wrong."""
    for place in plant.waiting.line(organization_id).places:
        if place.wants_word and place.is_free:
            place.give(Outcome.LOOK_AGAIN)


async def _sweep(plant: Resources) -> None:
    """Find what no hint has told of: hints get lost, and delays run out without one."""
    moment = plant.waiting.moment
    async with plant.database.reading(is_brief=True) as work:
        where = await store.list_organizations_with_claimable(work)
        now = work.now
    for organization_id, line in plant.waiting.waiting_in():
        seen: Outlook | None = line.seen
        if organization_id in where or any(map(_is_for_others, {place.asked.refusal for place in line.places})):
            plant.waiting.hint(organization_id)
        elif seen is not None and not seen.scans and not seen.is_roll_call:
            # Still nothing: whoever comes next need not look.
            plant.waiting.see(organization_id, Outlook(now, (), seen.license, seen.live_leases), moment)


async def _sweep_again_and_again(plant: Resources, is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(is_over.wait(), OUTLOOK_KEPT.total_seconds())
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await _sweep(plant)
        except DatabaseUnavailable as refusal:
            log.warning("sweep put off", reason=refusal.detail)
        except Exception:  # the next sweep does what this one could not
            log.exception("sweep failed")


@asynccontextmanager
async def running(plant: Resources) -> AsyncIterator[None]:
    """Hand out scans while the application lives. Rounds that have begun come to their end."""
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(ROUNDS_AT_ONCE):
            group.create_task(_work(plant), name=f"dispatch-{number}")
        group.create_task(_sweep_again_and_again(plant, is_over), name="dispatch-sweep")
        try:
            yield
        finally:
            is_over.set()
            plant.waiting.close()
