"""The situations that an image is put into, and the order that it gets in each. Pure: starts nothing."""

from __future__ import annotations

import json
from enum import StrEnum

from apviso.protocol.limits import PRESETS
from apviso.protocol.states import ModelPreset, Visibility
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import TargetId
from apviso.runner.conformance.target import Manner
from apviso.runner.engines.containers import order_inside
from apviso.scanning.order import GUARD_SOCKET, IMAGE_SCANNERS_DIR, ScanOrder

RUN_SECONDS = 60


class Situation(StrEnum):
    """Each value says in a few words what is special about it."""

    ORDINARY = "an ordinary scan"
    UNKNOWN_FIELDS = "an order with fields of a later version"
    TARGET_DOWN = "a target that is down"
    SMALL_BUDGET = "a budget of one request"
    INVALID_ORDER = "an order that is cut off"
    TERMINATED = "SIGTERM while the target is slow"
    INPUT_ENDS = "the end of standard input while the target is slow"


MANNERS = {Situation.TARGET_DOWN: Manner.DOWN, Situation.TERMINATED: Manner.SILENT, Situation.INPUT_ENDS: Manner.SILENT}
# The smallest preset, only faster: nobody has to be spared on loopback.
_LIMITS = PRESETS[ModelPreset.FREE].model_copy(update={"max_run_seconds": RUN_SECONDS, "requests_per_second": 50})


def order_in(situation: Situation, scan_url: str) -> ScanOrder:
    """What a runner would order, with the places as they are on the runner's side."""
    limits = _LIMITS.model_copy(update={"max_requests": 1}) if situation is Situation.SMALL_BUDGET else _LIMITS
    target = JobTarget(
        id=TargetId("practice-target"), domain="127.0.0.1", display_url=scan_url, scan_url=scan_url, visibility=Visibility.LOCALHOST
    )
    return ScanOrder(
        scan_id="scan-image-check",
        attempt=1,
        model_preset=ModelPreset.FREE,
        target=target,
        limits=limits,
        proxy_url="http://127.0.0.1:1",
        work_dir="/",
        scanners_dir="/",
    )


def order_line(situation: Situation, order: ScanOrder) -> bytes:
    """The first line of standard input."""
    told = order_inside(order, GUARD_SOCKET, IMAGE_SCANNERS_DIR).model_dump(mode="json", by_alias=True)
    if situation is Situation.UNKNOWN_FIELDS:
        later = {"fromALaterVersion": {"some": ["thing"]}}
        told |= later | {"target": told["target"] | later, "limits": told["limits"] | later}
    line = json.dumps(told).encode()
    return (line[: len(line) // 2] if situation is Situation.INVALID_ORDER else line) + b"\n"
