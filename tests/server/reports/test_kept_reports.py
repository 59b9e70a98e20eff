"""Reports over HTTP: written once, by whoever comes first, and served in every format as they were written."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text

from apviso.server.reports import duties
from apviso.server.reports.formats import MEDIA_TYPES, Format
from apviso.server.settings import Settings
from apviso.server.typesetting import process
from tests.server.reports.conftest import finish
from tests.server.scans.situations import Case, found, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization

TEXTS = [format_ for format_ in Format if format_ is not Format.PDF]


async def _told(plane: Plane, type_: str = "report.ready") -> list[dict[str, Any]]:
    """Events of the live stream of this type."""
    async with plane.resources.database.reading() as work:
        rows = await work.db.execute(text("SELECT data FROM stream_events WHERE type = :type ORDER BY id"), {"type": type_})
        return [json.loads(row.data) if isinstance(row.data, str) else row.data for row in rows]


async def test_files_of_a_report_are_served_with_type_name_and_tag(ended: Case) -> None:
    for format_ in TEXTS:
        path = f"/scans/{ended.scan_id}/report.{format_}"

        answer = await ended.organization.get(path)
        again = await ended.organization.get(path, headers={"If-None-Match": answer.headers["etag"]})

        assert answer.status_code == 200
        assert answer.headers["content-type"] == MEDIA_TYPES[format_]
        manner = "inline" if format_ is Format.HTML else "attachment"
        name = f"apviso-report-{ended.target['domain'].replace(':', '-')}-{ended.scan_id}.{format_}"
        assert answer.headers["content-disposition"] == f'{manner}; filename="{name}"'
        assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("private, no-cache", "nosniff")
        assert "SQL injection" in answer.text
        assert (again.status_code, again.content) == (304, b"")


async def test_html_report_may_load_and_run_nothing(ended: Case) -> None:
    policy = (await ended.organization.get(f"/scans/{ended.scan_id}/report.html")).headers["content-security-policy"]

    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script" not in policy
    assert policy.endswith("sandbox")


async def test_files_of_a_report_before_the_end_are_pending(case: Case, job: dict[str, Any]) -> None:
    answers = [await case.organization.get(f"/scans/{case.scan_id}/report.{format_}") for format_ in Format]

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(202, "running")] * len(Format)


async def test_report_that_is_kept_does_not_change_with_a_later_decision(ended: Case, clock: Clock) -> None:
    async def files() -> list[bytes]:
        return [(await ended.organization.get(f"/scans/{ended.scan_id}/report.{format_}")).content for format_ in TEXTS]

    before = await files()
    finding = (await ended.organization.get("/findings")).json()["findings"][0]
    clock.pass_by(seconds=60)

    await ended.organization.patch(f"/findings/{finding['id']}/status", {"userStatus": "false_positive"})

    assert await files() == before
    assert b"as of the moment" in before[0]


async def test_report_that_nobody_asked_for_is_written_by_a_duty_and_told_once(ended: Case, plane: Plane, clock: Clock) -> None:
    await plane.settle()
    clock.pass_by(seconds=60)
    await plane.settle()
    report = (await ended.organization.get(f"/scans/{ended.scan_id}/report.json")).json()

    assert report["asOf"] == "2026-05-03T09:15:32Z"
    assert await _told(plane) == [
        {
            "scanId": ended.scan_id,
            "targetId": ended.target["id"],
            "verdict": "complete",
            "findingCounts": {"critical": 0, "high": 1, "medium": 0, "low": 0, "info": 0},
        }
    ]


async def test_report_that_several_ask_for_at_once_is_written_once(ended: Case, plane: Plane) -> None:
    answers = await asyncio.gather(*(ended.organization.get(f"/scans/{ended.scan_id}/report") for _ in range(5)), plane.settle())

    assert {answer.status_code for answer in answers if answer is not None} == {200}
    assert len(await _told(plane)) == 1


async def test_report_compares_with_the_scan_before(ended: Case, plane: Plane, clock: Clock) -> None:
    clock.pass_by(seconds=3)
    later = (await ended.organization.scan(ended.target["id"]))["scan"]["id"]
    await finish(ended, await ended.running(), found(1, "Open redirect", cweId=601, severity="low"))

    report = (await ended.organization.get(f"/scans/{later}/report.json")).json()

    assert report["comparison"]["previousScanId"] == ended.scan_id
    assert [(one["title"], one["fate"]) for one in report["comparison"]["past"]] == [("SQL injection", "gone")]
    assert [(one["title"], one["sincePrevious"]) for one in report["findings"]] == [("Open redirect", "new")]


async def test_report_of_many_findings_is_read_whole(case: Case, job: dict[str, Any]) -> None:
    events = [found(number, f"Flaw {number}", severity="info", cweId=None, parameter=f"p{number}") for number in range(1, 151)]
    await finish(case, job, *events)

    report = (await case.organization.get(f"/scans/{case.scan_id}/report.json")).json()

    assert (len(report["findings"]), report["findingsLeftOut"]) == (150, 0)


class TestWithoutPdf:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"pdf_reports": False})

    async def test_server_that_makes_no_pdf_says_so_and_serves_the_rest(self, ended: Case, plane: Plane) -> None:
        report = (await ended.organization.get(f"/scans/{ended.scan_id}/report")).json()["report"]

        answer = await ended.organization.get(f"/scans/{ended.scan_id}/report.pdf")

        assert report["pdfUrl"] is None
        assert report["htmlUrl"] is not None
        assert (answer.status_code, answer.json()["code"]) == (409, "pdf_unavailable")
        assert "APVISO_PDF_REPORTS" in answer.json()["error"]


async def test_pdf_of_a_report_is_made_by_the_worker_and_kept(ended: Case, plane: Plane) -> None:
    await plane.settle()

    made = [await duties.typeset_next(plane.resources) for _ in range(2)]

    answers = [await ended.organization.get(f"/scans/{ended.scan_id}/report.pdf") for _ in range(2)]
    assert made == [True, False]
    assert [(answer.status_code, answer.headers["content-type"]) for answer in answers] == [(200, "application/pdf")] * 2
    assert answers[0].content.startswith(b"%PDF-")
    assert answers[0].content == answers[1].content


async def test_pdf_that_cannot_be_set_is_left_alone_after_each_try_and_given_up_after_three(
    ended: Case, plane: Plane, clock: Clock
) -> None:
    await plane.settle()
    plane.resources.typesetter.close()
    tries, answers = [], []

    for minutes in (0, 0, 1, 5, 60):
        clock.pass_by(minutes=minutes)
        tries.append(await duties.typeset_next(plane.resources))
        answers.append(await ended.organization.get(f"/scans/{ended.scan_id}/report.pdf"))

    report = (await ended.organization.get(f"/scans/{ended.scan_id}/report")).json()["report"]
    assert tries == [True, False, True, True, False]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 409, 409]
    assert answers[0].headers["retry-after"] == "60"
    assert answers[3].json()["code"] == "report_not_made"
    assert "as pdf. It was given up after 3 tries" in answers[3].json()["error"]
    assert (report["pdfUrl"], list(report["notMade"]), report["htmlUrl"] is None) == (None, ["pdf"], False)


async def test_pdf_that_could_not_be_set_for_somebody_is_made_later(
    ended: Case, plane: Plane, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.settle()
    path = f"/scans/{ended.scan_id}/report.pdf"
    with monkeypatch.context() as broken:
        broken.setattr(process, "_PROGRAM", ("-c", "raise SystemExit(1)"))
        early = await ended.organization.get(path)

    meanwhile = await duties.typeset_next(plane.resources)
    clock.pass_by(minutes=1)

    assert (early.status_code, meanwhile) == (202, False)
    assert (await ended.organization.get(path)).status_code == 200


async def test_format_that_could_not_be_made_says_so_and_the_others_are_served(ended: Case, plane: Plane) -> None:
    await plane.settle()
    async with plane.resources.database.writing() as work:
        await work.db.execute(text("DELETE FROM report_files WHERE format = 'html'"))
        await work.db.execute(text("UPDATE reports SET not_made = :why"), {"why": '{"html": "It could not be written."}'})

    answers = {format_: await ended.organization.get(f"/scans/{ended.scan_id}/report.{format_}") for format_ in TEXTS}

    report = (await ended.organization.get(f"/scans/{ended.scan_id}/report")).json()["report"]
    assert {format_ for format_, answer in answers.items() if answer.status_code != 200} == {Format.HTML}
    problem = answers[Format.HTML].json()
    assert (problem["status"], problem["code"], problem["retryable"]) == (409, "report_not_made", False)
    assert problem["error"] == "The report of this scan could not be made as html. It could not be written."
    assert (report["htmlUrl"], report["notMade"]) == (None, {"html": "It could not be written."})


async def _spoil(plane: Plane, scan_id: str) -> None:
    """From now on nobody can make sense of what the scan saw."""
    async with plane.resources.database.writing() as work:
        await work.db.execute(text("UPDATE sightings SET content = '{}' WHERE scan_id = :id"), {"id": scan_id})


async def test_report_that_cannot_be_written_is_tried_less_and_less_often_and_given_up_with_the_reason(
    ended: Case, plane: Plane, clock: Clock
) -> None:
    await _spoil(plane, ended.scan_id)
    path = f"/scans/{ended.scan_id}/report"
    told: list[tuple[int, str | None]] = []

    for minutes, failures in ((0, 0), (0.5, 1), (0.5, 1), (4, 2), (1, 4)):
        clock.pass_by(minutes=minutes)
        async with plane.resources.database.writing() as work:
            await work.db.execute(text("UPDATE scans SET report_failures = :n WHERE report_failures > 0"), {"n": failures})
        await plane.settle()
        answer = await ended.organization.get(path)
        told.append((answer.status_code, answer.headers.get("retry-after")))

    last = (await ended.organization.get(f"{path}.csv")).json()
    assert told == [(202, "60"), (202, "30"), (202, "300"), (202, "60"), (409, None)]
    assert (last["code"], last["retryable"]) == ("report_not_made", False)
    assert "given up after 5 tries; the last one ended with ValidationError" in last["error"]


async def test_report_that_cannot_be_written_holds_up_no_other(ended: Case, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "REPORTS_AT_ONCE", 1)
    await _spoil(plane, ended.scan_id)
    later = await queued_scan(ended.organization, ended.runner)
    await finish(later, await later.running())

    await plane.settle()
    await plane.settle()

    assert [event["scanId"] for event in await _told(plane)] == [later.scan_id]


async def test_reports_of_another_organization_are_not_found(ended: Case, other: Organization) -> None:
    paths = ["/report", *(f"/report.{format_}" for format_ in Format)]

    answers = [await other.get(f"/scans/{ended.scan_id}{path}") for path in paths]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "scan_not_found")}
