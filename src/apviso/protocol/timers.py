"""Every timer of the contract in one place, with its default and the reason of its size."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


class Timers(BaseModel):
    """Durations that decide states. Each one is a setting of the server; the defaults are the contract's."""

    model_config = ConfigDict(frozen=True)

    heartbeat_interval: timedelta = _seconds(15)
    # Two beats and their jitter may be late before anyone is told.
    heartbeat_late_after: timedelta = _seconds(35)
    offline_after: timedelta = _seconds(60)
    claim_loop_stalled_after: timedelta = _seconds(90)
    # After a restart every runner is given time to report before silence counts.
    restart_amnesty: timedelta = _seconds(120)

    lease: timedelta = _seconds(120)
    # A quarter of the lease: three renewals may be lost before it runs out.
    renew_after: timedelta = _seconds(30)
    # Safety: self_stop_after + kill_within + 30 s margin <= stale_end_after, so two attempts never touch a target together.
    self_stop_after: timedelta = _seconds(240)
    kill_within: timedelta = _seconds(30)
    stale_end_after: timedelta = _seconds(300)
    assigned_silent_after: timedelta = _seconds(60)
    cancel_forced_after: timedelta = _seconds(120)
    queue_timeout: timedelta = _seconds(24 * 3600)
    run_timeout: timedelta = _seconds(3 * 3600)
    max_attempts: int = 3
    first_retry_after: timedelta = _seconds(30)
    next_retry_after: timedelta = _seconds(120)
    # How long a scan that just left a runner waits for another one before the same runner may take it again.
    prefer_other_runner_for: timedelta = _seconds(30)

    # A scan that could look takes longer, or ends otherwise.
    fast_failure_within: timedelta = _seconds(120)
    # One failure may be an accident, two may share it.
    fast_failures_limit: Annotated[int, Field(ge=1)] = 3
    # Failures that are further apart have nothing to do with each other.
    fast_failures_remembered: timedelta = _seconds(3600)
    # Doubled each time, because a scan is risked to find out.
    first_quarantine: timedelta = _seconds(900)
    longest_quarantine: timedelta = _seconds(24 * 3600)

    # A server that is restarted or fails over is back before that.
    schedule_grace: timedelta = _seconds(300)
    # A year can be looked back on.
    schedule_runs_kept: timedelta = _seconds(400 * 24 * 3600)

    exchange_retry_window: timedelta = _seconds(600)
    token_overlap: timedelta = _seconds(24 * 3600)
    idempotency_kept: timedelta = _seconds(24 * 3600)
    stream_kept: timedelta = _seconds(24 * 3600)
    duplicate_identity_remembered: timedelta = _seconds(300)

    disk_floor_bytes: int = 5 * 1024**3
    clock_skew_limit: timedelta = _seconds(30)
    spool_backlog_bytes: int = 64 * 1024**2

    @property
    def silent_after(self) -> timedelta:
        """How long after it sent its last accepted renewal a runner may still send traffic: it stops itself, then kills."""
        # A runner under a short lease stops itself after twice the lease.
        return min(self.self_stop_after, 2 * self.lease) + self.kill_within

    @model_validator(mode="after")
    def _attempts_never_overlap(self) -> Self:
        if self.silent_after > self.stale_end_after:
            raise ValueError(
                f"stale_end_after ({self.stale_end_after}) must be at least {self.silent_after}: the smaller of self_stop_after and twice "
                "the lease, plus kill_within. Otherwise a new attempt could begin while the old one still sends traffic"
            )
        if not self.renew_after < self.lease < self.stale_end_after:
            raise ValueError("renew_after < lease < stale_end_after must hold, or a lease could not be kept or not be found lost")
        return self
