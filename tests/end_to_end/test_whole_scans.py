"""Real control plane, real runners, real scanner, real shop: whole scans, and what remains of them when processes end in the middle."""

from __future__ import annotations

import signal
from typing import Any

import httpx2
import pytest

from apviso.demo import truth
from apviso.protocol.findings import Finding
from tests.end_to_end.installation import Installation, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _is_scanning(installation: Installation, scan_id: str) -> bool:
    scan = installation.scan(scan_id)
    return bool(scan["status"] == "running" and scan["progress"]["requests"] > 0)


def _assert_events_whole(events: list[dict[str, Any]], attempt: int) -> None:
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["attempt"] for event in events} == {attempt}


def test_three_scans_by_two_runners_with_a_cancel_a_stop_and_a_kill_end_rightly(installation: Installation) -> None:
    north, south = installation.enroll("north"), installation.enroll("south")
    runners = {"north": installation.start_runner("north", north)}
    runners["south"] = installation.start_runner("south", south)
    ids = {runner["name"]: runner["id"] for runner in installation.call("GET", "/runners")["runners"]}
    targets = [installation.add_target(installation.open_shop()) for _ in range(3)]
    wait_for(lambda: all(r["acceptingJobs"] for r in installation.call("GET", "/runners")["runners"]), 60, "both runners accept")

    # One scan is cancelled while it runs.
    cancelled = installation.start_scan(targets[0], modelPreset="medium")
    wait_for(lambda: _is_scanning(installation, cancelled), 60, "the first scan is under way")
    installation.call("POST", f"/scans/{cancelled}/cancel")
    ended = installation.wait_for_end(cancelled, 30)
    assert (ended["status"], ended["endReason"]) == ("cancelled", "canceled_by_user")
    _assert_events_whole(installation.log(cancelled), 1)

    # One is given back by a runner that is told to stop, and one is torn from a runner that is killed.
    given_back = installation.start_scan(targets[1], whenUnavailable="queue", modelPreset="low")
    torn = installation.start_scan(targets[2], whenUnavailable="queue", modelPreset="low")
    wait_for(lambda: _is_scanning(installation, given_back) and _is_scanning(installation, torn), 120, "both scans are under way")
    by_id = {ids[name]: name for name in ids}
    holders = {scan: by_id[installation.scan(scan)["runnerId"]] for scan in (given_back, torn)}
    runners[holders[torn]].signal(signal.SIGKILL)
    runners[holders[torn]].wait()
    runners[holders[given_back]].signal(signal.SIGTERM)
    assert runners[holders[given_back]].wait(90) == 0

    # Fresh processes under the same identities settle what was left and run it again.
    for name, workspace in (("north", north), ("south", south)):
        runners[name] = installation.start_runner(name, workspace)
    for scan_id in (given_back, torn):
        ended = installation.wait_for_end(scan_id, 300)
        assert (ended["status"], ended["endReason"]) == ("completed", "completed"), ended
        findings = [Finding.model_validate(found) for found in installation.call("GET", f"/scans/{scan_id}/findings?limit=100")["findings"]]
        compared = truth.compare(findings)
        assert (compared.missed, compared.false_alarms) == ((), ())
        _assert_events_whole(installation.log(scan_id), ended["attempt"])
    assert installation.scan(torn)["attempt"] == 2
    assert installation.scan(given_back)["attempt"] in (1, 2)

    # A build asks for a scan of its own, and fails for what it finds.
    domain = httpx2.URL(installation.call("GET", f"/targets/{targets[0]}")["target"]["scanUrl"]).netloc.decode()
    built = installation.by_user("scan", "start", domain, "--preset", "free", "--wait", "--fail-on", "medium")
    assert built.returncode == 2, built
    assert "FAILED: medium: No encryption on the way" in built.stderr
    assert f"{installation.url}/api/v1/scans/" in built.stdout
    assert "/report.html" in built.stdout

    # Nothing goes on that should have ended.
    assert installation.call("GET", "/quota")["usage"]["concurrentJobs"] == 0
