"""From a reason to stop, or a verdict, to what the control plane is told."""

from __future__ import annotations

import pytest

from apviso.protocol.scan_events import Coverage
from apviso.protocol.states import RETRIED_REASONS, EndReason
from apviso.runner.attempts import Stop
from apviso.runner.endings import ending_of_stop, ending_of_verdict, failed, out_of_room, with_remarks, without_missing_events
from apviso.runner.engines import ScanExit
from apviso.scanning.verdict import Verdict

CLEAN = Verdict("completed", EndReason.COMPLETED, Coverage(complete=True), "fine")


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        (Stop.CANCELLED, "cancelled", EndReason.CANCELED_BY_USER),
        (Stop.LEASE_EXPIRED, "failed", EndReason.RUNNER_LOST),
        (Stop.SHUTDOWN, "failed", EndReason.RUNNER_SHUTDOWN),
        (Stop.DRAINED, "failed", EndReason.RUNNER_SHUTDOWN),
        (Stop.TIMED_OUT, "failed", EndReason.RUN_TIMEOUT),
        (Stop.SPOOL_FULL, "failed", EndReason.DISK_FULL),
        (Stop.FLOODED, "failed", EndReason.SCANNER_FAILED),
        (Stop.GUARD_DIED, "failed", EndReason.ENGINE_UNAVAILABLE),
    ],
)
def test_stop_has_its_ending_and_never_looks_complete(stop: Stop, status: str, reason: EndReason) -> None:
    ending = ending_of_stop(stop)

    assert ending is not None
    assert (ending.status, ending.end_reason, ending.coverage.complete) == (status, reason, False)
    assert ending.as_finish(1, 7, {}).last_seq == 7


@pytest.mark.parametrize("stop", [Stop.LEASE_LOST, Stop.REVOKED])
def test_stop_after_which_nothing_may_be_told_has_no_ending(stop: Stop) -> None:
    assert ending_of_stop(stop) is None


def test_stop_by_the_runners_own_doing_is_retried_by_the_control_plane() -> None:
    own = [ending_of_stop(stop) for stop in (Stop.SHUTDOWN, Stop.DRAINED, Stop.LEASE_EXPIRED, Stop.SPOOL_FULL, Stop.GUARD_DIED)]

    assert all(ending is not None and ending.end_reason in RETRIED_REASONS for ending in own)


def test_verdict_of_a_clean_scan_is_told_as_it_is() -> None:
    finish = ending_of_verdict(CLEAN, ScanExit(0), ()).as_finish(2, 9, {"engine": "process"})

    assert (finish.status, finish.end_reason, finish.error_code, finish.error_message) == ("completed", "completed", None, None)
    assert (finish.attempt, finish.last_seq, finish.coverage.complete) == (2, 9, True)


def test_verdict_of_a_scan_whose_target_is_gone_afterwards_is_not_complete() -> None:
    ending = ending_of_verdict(CLEAN, ScanExit(0), ["target_lost: connection refused"])

    assert ending.status == "completed"
    assert not ending.coverage.complete
    assert ending.coverage.reasons[0].startswith("target_lost: ")


def test_verdict_of_a_scan_that_the_system_killed_for_memory_names_the_memory() -> None:
    ending = ending_of_verdict(CLEAN, ScanExit(-9, out_of_memory=True), ())

    assert (ending.status, ending.end_reason) == ("failed", EndReason.OUT_OF_MEMORY)


def test_finish_whose_events_are_missing_is_never_a_clean_one() -> None:
    finish = without_missing_events(ending_of_verdict(CLEAN, ScanExit(0), ()).as_finish(1, 50, {}), 20)

    assert (finish.status, finish.end_reason, finish.last_seq, finish.coverage.complete) == ("failed", "upload_incomplete", 20, False)


def test_ending_with_a_very_long_message_fits_the_contract() -> None:
    finish = failed(EndReason.INTERNAL_ERROR, "x" * 10_000).as_finish(1, 0, {})

    assert finish.error_message is not None
    assert len(finish.error_message) == 2000


def test_clean_ending_of_a_scan_with_lost_output_is_no_full_look() -> None:
    ending = with_remarks(ending_of_verdict(CLEAN, ScanExit(0), ()), ["output_lost: 3 findings were left out."])

    assert (ending.status, ending.coverage.complete) == ("completed", False)
    assert ending.coverage.reasons == ["output_lost: 3 findings were left out."]


def test_failed_scan_that_complained_of_a_full_disk_ends_for_that_reason() -> None:
    ending = out_of_room(failed(EndReason.SCANNER_FAILED, "The scan ended with exit code 1."))

    assert (ending.status, ending.end_reason) == ("failed", EndReason.DISK_FULL)
    assert "no room left in its own folder" in ending.message


@pytest.mark.parametrize("reason", [EndReason.TARGET_UNREACHABLE, EndReason.OUT_OF_MEMORY])
def test_failed_scan_with_a_reason_of_its_own_keeps_it_on_a_full_disk(reason: EndReason) -> None:
    ending = failed(reason, "That is why.")

    assert out_of_room(ending) is ending
