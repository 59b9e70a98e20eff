"""Tells the control plane how an attempt ended: all events first, then the end, as often as it takes."""

from __future__ import annotations

import structlog

from apviso.protocol.daemon import Finish
from apviso.protocol.wire import JobId
from apviso.runner.backoff import Backoff, Patience
from apviso.runner.control_plane import ControlPlane
from apviso.runner.endings import without_missing_events
from apviso.runner.records import AttemptFiles
from apviso.runner.refusals import EventsMissing, IdentityRejected, Refused
from apviso.runner.retrying import until_answered
from apviso.runner.uploader import Silenced, Uploader, UploadImpossible

log = structlog.get_logger("apviso.runner.delivery")

FINISH_BACKOFF = Backoff(first=1.0, most=30.0)
# A control plane that says it lacks events after they were acknowledged again and again will not change its mind.
MOST_REPEATS = 3


async def deliver(finish: Finish, job_id: JobId, files: AttemptFiles, uploader: Uploader, plane: ControlPlane) -> None:
    """Returns when the end is told, or when nobody wants to hear it any more. The uploader has to run meanwhile.

    The end is on disk before it is sent, so a process that comes after a crash tells the same one.
    """
    try:
        files.note_finish(finish)
    except OSError as error:
        # A disk that is full must not keep the end from being told.
        log.warning("finish_not_kept", job=job_id, reason=str(error))
    for _ in range(MOST_REPEATS):
        try:
            await uploader.settle()
        except UploadImpossible as error:
            log.warning("events_undeliverable", job=job_id, reason=str(error))
            break
        except Silenced:
            return
        if await _told(finish, job_id, plane):
            return
        uploader.start_over()
    await _told(without_missing_events(finish, uploader.acked), job_id, plane)


async def _told(finish: Finish, job_id: JobId, plane: ControlPlane) -> bool:
    """False where the control plane lacks events."""
    try:
        await until_answered(lambda: plane.finish(job_id, finish), Patience(FINISH_BACKOFF))
    except EventsMissing:
        return False
    except IdentityRejected:
        raise
    except Refused as error:
        # Lost lease, unknown job, or an end that somebody else decided: in each case it has one already.
        log.warning("finish_refused", job=job_id, reason=str(error))
    return True
