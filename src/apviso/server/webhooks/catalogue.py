"""Decides which messages an event of the live stream becomes, under which name, and what it is about. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apviso.protocol.states import RunnerStatus, Silence
from apviso.protocol.webhooks import WebhookEvent
from apviso.protocol.wire import format_instant

# Of several names a webhook gets the message under the first that it wants: nobody is told one thing twice.
Names = tuple[WebhookEvent, ...]
# Changes of a runner's status. Each one makes the one before it history.
TRANSITIONS = frozenset({"runner.online", "runner.degraded", "runner.offline", "runner.revoked"})
_KNOWN = frozenset(WebhookEvent)
# By the first word of an event's name, the field that says what it is about. Messages about one thing are sent in order.
_SUBJECTS = {
    "runner": ("runner", "runnerId"),
    "scan": ("scan", "scanId"),
    "report": ("scan", "scanId"),
    "finding": ("scan", "scanId"),
    "schedule": ("schedule", "scheduleId"),
    "token": ("token", "tokenId"),
}


def names_of(type_: str, data: Mapping[str, Any]) -> list[Names]:
    """The messages that this event becomes; none where nobody can subscribe to it."""
    if type_ == "runner.online":
        # One that has just enrolled was offline as well, and has nothing to recover from.
        is_new = Silence.NEVER_CONTACTED in data.get("previousReasons", ())
        was_ill = data.get("previousStatus") in (RunnerStatus.DEGRADED, RunnerStatus.OFFLINE) and not is_new
        online = (WebhookEvent.RUNNER_ONLINE,)
        return [(WebhookEvent.RUNNER_RECOVERED, *online) if was_ill else online]
    if type_ == "scan.preflight_failed":
        # It failed before it had looked at anything, so there is nothing to report.
        return [(WebhookEvent.SCAN_FAILED,)]
    return [(WebhookEvent(type_),)] if type_ in _KNOWN else []


def chosen(names: Names, wanted: frozenset[str]) -> WebhookEvent | None:
    """The name under which a webhook with these wishes gets the message; None where it does not want it."""
    return next((name for name in names if "*" in wanted or name in wanted), None)


def subject_of(type_: str, data: Mapping[str, Any]) -> str:
    """What an event is about, such as `runner:<id>`; events without a subject of their own are about their kind."""
    word = type_.partition(".")[0]
    kind, field = _SUBJECTS.get(word, (word, ""))
    known = data.get(field)
    return f"{kind}:{known}" if known else kind


def payload(event: str, at: datetime, data: Mapping[str, Any]) -> str:
    """The body of a message, as the Standard Webhooks have it: type, timestamp, data."""
    return json.dumps({"type": event, "timestamp": format_instant(at), "data": dict(data)}, separators=(",", ":"))
