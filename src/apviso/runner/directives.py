"""What the control plane wants of this runner, taken from any answer that carries it. Obeys at once; decides nothing of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from apviso import __version__
from apviso.protocol.daemon import Directives
from apviso.protocol.states import AdminState
from apviso.runner.attempts import Roster, Stop
from apviso.runner.pulse import Pulse

log = structlog.get_logger("apviso.runner.directives")


@dataclass
class Obedience:
    """`rotation_wanted` wakes the rotation loop."""

    roster: Roster
    pulse: Pulse
    rotation_wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def obey(self, directives: Directives, server_time: datetime | None = None) -> bool:
        """Apply them; tells whether a scan was told to stop. `server_time` is on the same answer, where it has one."""
        stopped = self.roster.cancel(directives.cancel_jobs)
        for attempt in stopped:
            log.info("scan_cancelled", job=attempt.key)
        if directives.admin_state is not self.pulse.admin_state:
            log.info("admin_state_changed", before=self.pulse.admin_state, now=directives.admin_state)
        self.pulse.admin_state = directives.admin_state
        self.pulse.drain_deadline = directives.drain_deadline
        if server_time is not None and is_drain_over(directives, server_time):
            self.roster.halt_all(Stop.DRAINED)
        if directives.rotate_token:
            self.rotation_wanted.set()
        self._note_minimum(directives.minimum_version, directives.minimum_version_from)
        return bool(stopped)

    def _note_minimum(self, minimum: str | None, since: datetime | None) -> None:
        is_news = (minimum, since) != (self.pulse.minimum_version, self.pulse.minimum_version_from)
        if is_news and minimum is not None and is_older(__version__, minimum):
            told = {"version": __version__, "minimum": minimum, "next_step": "install a newer version of apviso"}
            log.warning("version_too_old", no_scans_from=since.isoformat() if since else "now", **told)
        self.pulse.minimum_version, self.pulse.minimum_version_from = minimum, since


def is_drain_over(directives: Directives, server_time: datetime) -> bool:
    """Both times are the server's, so the host's clock plays no part."""
    deadline = directives.drain_deadline
    return directives.admin_state is AdminState.DRAINING and deadline is not None and server_time >= deadline


def is_older(version: str, minimum: str) -> bool:
    """Compares the leading numbers only; a version that is no numbers is not called old."""
    ours, theirs = _numbers(version), _numbers(minimum)
    return bool(ours) and bool(theirs) and ours < theirs


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
