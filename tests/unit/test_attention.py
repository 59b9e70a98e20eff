"""What the first page says needs attention: in which order, with which fix, and what is no news."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from apviso.protocol.findings import DayOfFindings, FindingCounts
from apviso.protocol.readiness import CheckCode, RunnerCounts, WaitingFor
from apviso.protocol.scans import Load
from apviso.protocol.schedules import RunOutcome
from apviso.protocol.states import AdminState, Fault, LicenseState, RunnerStatus, ScanStatus, Severity, Silence, Visibility
from apviso.server.dashboard.attention import Seen, rows, verdict
from apviso.server.dashboard.charts import load_chart, top_of, trend_chart
from apviso.server.dashboard.runner_words import REASONS
from apviso.server.openapi_examples import (
    API_KEY,
    CHECK,
    FINDING_SHOWN,
    NOW,
    QUEUED,
    READY,
    RUNNER_SHOWN,
    SCAN_SHOWN,
    SCHEDULE_RUN,
    SCHEDULE_SHOWN,
    TARGET,
    TARGET_SHOWN,
    WEBHOOK,
)

FREE = CHECK.model_copy(update={"code": CheckCode.RUNNER_CAPACITY, "observed": 1})
CALM = READY.model_copy(update={"checks": [CHECK, FREE]})
NAMES = {TARGET: "shop.internal"}


def told(**seen: Any) -> list[tuple[str, str, str]]:
    """Tone, state and subject of each row."""
    return [(row.tone, row.word, row.subject) for row in rows(Seen(**{"readiness": CALM, "names": NAMES, **seen}), NOW)]


def waiting(code: CheckCode) -> WaitingFor:
    check = CHECK.model_copy(update={"code": code, "ok": False, "fix": "Start `apviso run`."})
    return WaitingFor(primary_blocker=code, reason="No runner is online.", checks=[check], estimated_start_at=None)


def test_nothing_that_is_well_needs_attention() -> None:
    calm = told(
        queue=[QUEUED.model_copy(update={"waiting_for": waiting(CheckCode.RUNNER_CAPACITY)})],
        failed=[SCAN_SHOWN.model_copy(update={"finished_at": NOW - timedelta(days=2)})],
        schedules=[SCHEDULE_SHOWN.model_copy(update={"enabled": False}), SCHEDULE_SHOWN.model_copy(update={"last_run": None})],
        targets=[TARGET_SHOWN, TARGET_SHOWN.model_copy(update={"verification_error": "gone"})],
        webhooks=[WEBHOOK],
        keys=[API_KEY.model_copy(update={"expires_at": NOW + timedelta(days=60)})],
    )

    assert calm == []


def test_rows_come_worst_first_and_name_what_they_are_about() -> None:
    license_ = READY.license.model_copy(update={"expires_at": NOW + timedelta(days=3)})
    low = RUNNER_SHOWN.model_copy(update={"name": "low", "status": RunnerStatus.DEGRADED, "status_reasons": ["disk_low"]})
    late = RUNNER_SHOWN.model_copy(update={"name": "late", "status": RunnerStatus.DEGRADED, "status_reasons": ["heartbeat_late"]})
    gone = RUNNER_SHOWN.model_copy(update={"name": "gone", "status": RunnerStatus.OFFLINE, "status_reasons": ["no_contact"]})
    held = late.model_copy(update={"name": "held", "admin_state": AdminState.QUARANTINED})
    public = {"visibility": Visibility.PUBLIC, "verification_error": "There is no TXT record."}

    found = told(
        readiness=CALM.model_copy(update={"license": license_}),
        findings=[FINDING_SHOWN],
        findings_total=1,
        queue=[QUEUED.model_copy(update={"waiting_for": waiting(CheckCode.RUNNER_ONLINE)})],
        queue_total=1,
        runners=[late, low, gone, held],
        runners_total=4,
        failed=[SCAN_SHOWN.model_copy(update={"status": ScanStatus.FAILED, "finished_at": NOW - timedelta(hours=1)})],
        targets=[TARGET_SHOWN.model_copy(update=public)],
        schedules=[SCHEDULE_SHOWN],
        webhooks=[
            WEBHOOK.model_copy(update={"enabled": False, "disabled_reason": "It has failed for five days."}),
            WEBHOOK.model_copy(update={"failing_since": NOW - timedelta(hours=1)}),
            WEBHOOK.model_copy(update={"enabled": False}),
        ],
        keys=[API_KEY.model_copy(update={"expires_at": NOW + timedelta(days=3)})],
    )

    assert found == [
        ("warn", "ends soon", "License"),
        ("bad", "high", FINDING_SHOWN.title),
        ("bad", "blocked", "shop.internal"),
        ("bad", "quarantined", "held"),
        ("bad", "offline", "gone"),
        ("bad", "degraded", "low"),
        ("warn", "degraded", "late"),
        ("warn", "failed", "shop.internal"),
        ("warn", "no proof", TARGET_SHOWN.domain),
        ("warn", "skipped", "shop.internal"),
        ("warn", "disabled", WEBHOOK.url),
        ("warn", "failing", WEBHOOK.url),
        ("warn", "ends soon", API_KEY.name),
    ]


def test_license_that_has_ended_stands_above_all_else() -> None:
    ended = READY.license.model_copy(update={"license_state": LicenseState.EXPIRED})

    assert told(readiness=CALM.model_copy(update={"license": ended}), findings=[FINDING_SHOWN])[0] == ("bad", "expired", "License")


def test_many_of_one_kind_are_five_rows_and_a_count() -> None:
    gone = [RUNNER_SHOWN.model_copy(update={"id": f"r{n}", "status": RunnerStatus.OFFLINE}) for n in range(5)]
    blocked = QUEUED.model_copy(update={"waiting_for": waiting(CheckCode.RUNNER_ONLINE)})

    found = told(runners=gone, runners_total=2000, queue=[blocked] * 20, queue_total=5000, findings=[FINDING_SHOWN] * 5, findings_total=7)

    assert [subject for _, _, subject in found][5:7] == ["2 more", "5000 scans"]
    assert found[-1] == ("bad", "more", "1995 more runners")
    assert len(found) == 13


def test_skipped_run_tells_its_reason() -> None:
    schedule = SCHEDULE_SHOWN.model_copy(update={"last_run": SCHEDULE_RUN.model_copy(update={"outcome": RunOutcome.FAILED})})

    (row,) = rows(Seen(CALM, schedules=[schedule]), NOW)

    assert (row.word, row.why, row.address) == ("failed", SCHEDULE_RUN.reason, f"/schedules/{schedule.id}")


def test_verdict_counts_runners_and_slots_or_says_what_blocks_and_its_fix() -> None:
    fleet = CALM.model_copy(update={"runner_counts": RunnerCounts(online=1, degraded=1)})
    check = CHECK.model_copy(update={"ok": False, "fix": "Start `apviso run`."})
    blocked = {"ready": False, "reason": "No runner is online.", "primary_blocker": CheckCode.RUNNER_ONLINE, "checks": [check]}

    assert verdict(fleet) == ("1 of 2 runners online (1 degraded), 1 free slot.", "")
    assert verdict(READY.model_copy(update=blocked)) == ("No runner is online.", "Start `apviso run`.")


def test_charts_stand_on_their_ground_and_keep_to_their_top() -> None:
    load = load_chart([Load(at=NOW, running=running, queued=queued) for running, queued in ((0, 7), (4, 0), (10, 3))])
    days = [DayOfFindings(day=NOW.date(), counts=FindingCounts(critical=1, low=3)), DayOfFindings(day=NOW.date(), counts=FindingCounts())]
    trend = trend_chart(days)

    assert (load.top, load.most_running, load.most_queued) == (10, 10, 7)
    assert load.running == "28,112 28.0,112.0 231.0,70.4 434.0,8.0 434,112"
    assert [(bar.severity, bar.y, bar.height) for bar in trend.bars] == [(Severity.CRITICAL, 91.2, 20.8), (Severity.LOW, 28.8, 62.4)]
    assert (trend.top, trend.total, top_of(0), top_of(12_345)) == (5, 4, 2, 12_345)


def test_charts_of_nothing_are_flat() -> None:
    assert load_chart([]).most_running == 0
    assert trend_chart([]).bars == []


def test_every_reason_of_a_runner_has_its_words_and_its_fix() -> None:
    assert set(REASONS) == {*Fault, *Silence}
    row = rows(
        Seen(CALM, runners=[RUNNER_SHOWN.model_copy(update={"status": RunnerStatus.OFFLINE, "status_reasons": ["said_goodbye"]})]), NOW
    )[0]
    assert (row.why, row.fix) == ("Shut down.", REASONS[Silence.SAID_GOODBYE][1])
