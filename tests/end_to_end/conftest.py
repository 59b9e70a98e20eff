"""An installation with shortened timers for each test that asks; every process it started is stopped afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.installation import Installation

# The contract's timers, about 20 times faster; the order between them is the same: renew < lease < self-stop < stale end.
QUICK = {
    "APVISO_REQUESTS_PER_MINUTE": "10000",
    "APVISO_TIMERS__HEARTBEAT_INTERVAL": "PT1S",
    "APVISO_TIMERS__HEARTBEAT_LATE_AFTER": "PT5S",
    "APVISO_TIMERS__OFFLINE_AFTER": "PT8S",
    "APVISO_TIMERS__RESTART_AMNESTY": "PT0S",
    "APVISO_TIMERS__LEASE": "PT6S",
    "APVISO_TIMERS__RENEW_AFTER": "PT1S",
    "APVISO_TIMERS__KILL_WITHIN": "PT8S",
    "APVISO_TIMERS__STALE_END_AFTER": "PT20S",
    "APVISO_TIMERS__FIRST_RETRY_AFTER": "PT1S",
    "APVISO_TIMERS__NEXT_RETRY_AFTER": "PT2S",
    "APVISO_TIMERS__PREFER_OTHER_RUNNER_FOR": "PT3S",
    "APVISO_HOUSEKEEPING_INTERVAL_SECONDS": "0.5",
}


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, dict(QUICK))
    with made.stack:
        yield made.start()
