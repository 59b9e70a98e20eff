"""Why a runner is not online in words, and what to do about it: the same on every page. Commands stand between backticks."""

from __future__ import annotations

from collections.abc import Mapping

from apviso.protocol.states import Fault, Silence

REASONS: Mapping[str, tuple[str, str]] = {
    Fault.HEARTBEAT_LATE: (
        "heartbeats are late",
        "The host or the way to it is slow or full. Look at its load, and at the runner's log: `apviso logs`",
    ),
    Fault.CLAIM_LOOP_STALLED: ("does not ask for work", "The runner reports but takes nothing. Restart it on its host."),
    Fault.DISK_LOW: ("disk nearly full", "Free space in its workspace, or move it with `APVISO_RUNNER_WORKSPACE`."),
    Fault.ENGINE_UNREACHABLE: ("engine or scanners not ready", "Run `apviso doctor` on its host; it names what is missing."),
    Fault.CLOCK_SKEW: ("clock is wrong", "Let its host set the time by itself (NTP)."),
    Fault.VERSION_DEPRECATED: ("version is old", "Install the present version and restart it."),
    Fault.VERSION_UNSUPPORTED: ("version is too old", "Install the present version and restart it; until then it gets no scans."),
    Fault.DUPLICATE_IDENTITY: ("two hosts use its token", "Stop one of them and enroll it with a token of its own."),
    Fault.PROVIDER_UNCONFIGURED: ("no model provider", "Set the provider's key in the environment of the runner."),
    Fault.FAST_FAILURES: (
        "its scans fail at once",
        "Its latest scans say why. It gets one again by itself after a while; resume it when the cause is gone.",
    ),
    Fault.SPOOL_BACKLOG: ("results wait to be sent", "The way to the control plane is slow or was cut; it sends them by itself."),
    Silence.NEVER_CONTACTED: ("never reported in", "Start it on its host: `apviso run`"),
    Silence.NO_CONTACT: (
        "no contact",
        "Look whether its host is up, the runner runs, and the control plane is reached from there: `apviso doctor`",
    ),
    Silence.SAID_GOODBYE: ("shut down", "It was stopped as asked. Start it again on its host: `apviso run`"),
}
