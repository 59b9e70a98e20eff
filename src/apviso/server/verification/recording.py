"""Notes what a look for a proof of control came to: the target's columns, the audit trail, the live stream, all in one transaction."""

from __future__ import annotations

from apviso.protocol.states import VerificationMethod
from apviso.protocol.wire import format_instant
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.signals import jobs_topic
from apviso.server.stream import store as stream
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget
from apviso.server.targets.proof import Change, Told, lost_at


async def record(
    work: Work, seen: KnownTarget, method: VerificationMethod, change: Change, error: str | None, actor: str, request_id: str | None
) -> bool:
    """False where the target is not what was looked at any more; then nothing is noted."""
    if change.values and not await targets.keep_look(work, seen, is_proved=change.told is Told.VERIFIED, **change.values):
        return False
    if change.told is None:
        return True
    kept = await targets.get(work, seen.organization_id, seen.id)
    action, until = f"target.{change.told}", lost_at(kept)
    facts = {"domain": seen.domain, "method": method, "error": error, "lostAt": format_instant(until) if until is not None else None}
    details = {name: value for name, value in facts.items() if value is not None}
    await audit.record(work, seen.organization_id, actor, action, ("target", seen.id), request_id, **details)
    stream.publish(work, seen.organization_id, action, targetId=seen.id, **details)
    if change.told in (Told.VERIFIED, Told.LOST):
        # Whether a scan of it may start has changed.
        work.hints.add(jobs_topic(seen.organization_id))
    return True
