"""The timed duty of findings: accepted risks whose end has come are open again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import SelectBase

from apviso.protocol.states import HistoryCause, UserStatus
from apviso.server.audit import store as audit
from apviso.server.db import triage
from apviso.server.findings import store
from apviso.server.resources import Resources, Turn
from apviso.server.stream import store as stream

# A round takes so many; the next one comes in a second.
RISKS_AT_ONCE = 100


def risks_to_end(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.accepted_no_longer(now),)


async def end_accepted_risks(turn: Turn, plant: Resources) -> None:
    """Open what was accepted for a time, once it has passed."""
    async with turn() as work:
        ended = await store.end_accepted_risks(work, RISKS_AT_ONCE)
        await triage.write_history(
            work,
            [
                triage.Change(
                    finding_id, UserStatus.ACCEPTED_RISK, UserStatus.OPEN, HistoryCause.EXPIRY, audit.SYSTEM, "The accepted risk has ended."
                )
                for _, finding_id in ended
            ],
        )
        for organization_id, finding_id in ended:
            told = {"cause": HistoryCause.EXPIRY}
            details = {"from": UserStatus.ACCEPTED_RISK, "to": UserStatus.OPEN, "note": None, **told}
            await audit.record(work, organization_id, audit.SYSTEM, "finding.status_changed", ("finding", finding_id), None, **details)
            stream.publish(work, organization_id, "finding.status_changed", findingId=finding_id, userStatus=UserStatus.OPEN, **told)
