"""What lives as long as the application, and the two ways a route gets a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from sqlalchemy import SelectBase

from apviso.server.believed import Believed
from apviso.server.db.census import Census
from apviso.server.db.credentials import KnownKey
from apviso.server.db.engine import Database, Work
from apviso.server.db.replica import Replica
from apviso.server.db.roll_call import RollCall
from apviso.server.memory import Memory
from apviso.server.metrics import Flushes
from apviso.server.pace import Pace
from apviso.server.parking import Parking
from apviso.server.passwords import Passwords
from apviso.server.settings import Settings
from apviso.server.signals import Signals
from apviso.server.snapshots import Snapshots
from apviso.server.throttle import Throttle
from apviso.server.timekeeping import Timekeeper
from apviso.server.typesetting.process import Typesetter
from apviso.server.vault import Vault
from apviso.server.waiting import Waiting


@dataclass(frozen=True)
class Resources:
    """Plugged together in `app`; reached by routes through the dependencies below."""

    settings: Settings
    database: Database
    # Tells when the host's clock was set; None where the time comes from elsewhere.
    timekeeper: Timekeeper | None
    signals: Signals
    key_throttle: Throttle
    daemon_throttle: Throttle
    enrollment_throttle: Throttle
    # Tries to sign in, and pages of somebody who has.
    sign_in_throttle: Throttle
    page_throttle: Throttle
    passwords: Passwords
    # Where people may sign in besides; `accounts` knows of what form.
    provider: Any
    parking: Parking
    # Requests that wait for a look at a target.
    verifying: Parking
    replica: Replica
    # Whether runners have to say what they run before scans are handed out.
    roll_call: RollCall
    # Runners by their last heartbeat, and heartbeats that are not written yet; `fastlane` and the heartbeat's route know of what form.
    beats: Memory[Any, Any]
    # API keys by their prefix.
    keys: Believed[KnownKey]
    # Installed licenses by organization; `licensing` knows of what form.
    licenses: Believed[Any]
    # Runners as they are shown, by organization; `runners` knows of what form.
    snapshots: Snapshots[Any]
    # How often runners report, and how long they may be silent.
    pace: Pace
    # Claims that are held open; `scans` knows of what form.
    waiting: Waiting[Any, Any, Any]
    flushes: Flushes
    census: Census
    typesetter: Typesetter
    # Opens the secrets that webhooks are signed with.
    vault: Vault
    # Rounds of the timed duties follow each other in one process, whoever asks for them.
    round: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def amnesty_until(self) -> datetime:
        """Until then nothing is marked offline and no lease expires: everyone gets time to reach a restarted server."""
        return self.replica.amnesty_until


async def _resources_of(request: Request) -> Resources:
    return cast(Resources, request.app.state.resources)


Plant = Annotated[Resources, Depends(_resources_of)]


async def _write(plant: Plant) -> AsyncIterator[Work]:
    async with plant.database.writing() as work:
        yield work


async def _read(plant: Plant) -> AsyncIterator[Work]:
    async with plant.database.reading() as work:
        yield work


# Begins a transaction of a timed duty, which takes as many as it needs, one after the other.
Turn = Callable[[], AbstractAsyncContextManager[Work]]
# What a timed duty has to do at a moment: where none of these finds a row, nothing.
Wanted = Callable[[datetime, Resources], Sequence[SelectBase]]
# Committed before the answer leaves. Pages never queue behind the writer: a route that only looks asks for `Reading`.
Writing = Annotated[Work, Depends(_write, scope="function")]
Reading = Annotated[Work, Depends(_read, scope="function")]
