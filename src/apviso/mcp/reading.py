"""Tools that only look. Each is one method: its name, arguments and first words are what an assistant chooses by."""

from __future__ import annotations

import secrets
from collections import deque
from typing import Annotated

from pydantic import Field, JsonValue

from apviso.client import AsyncClient
from apviso.client.calls import get, segment
from apviso.mcp.answers import (
    LIST_TEXT,
    LogTail,
    ReportPart,
    quoting_all,
    quoting_some,
    report_part,
    short_runners,
    with_few_runners,
)
from apviso.mcp.quoting import Marks
from apviso.protocol.findings import Finding, FindingHistory, FindingList, RetestAnswer
from apviso.protocol.licenses import Quota
from apviso.protocol.readiness import Readiness
from apviso.protocol.runners import Runner, RunnerList
from apviso.protocol.scans import Scan, ScanList
from apviso.protocol.schedules import ScheduleList
from apviso.protocol.states import RunnerStatus, ScanStatus, Severity, UserStatus
from apviso.protocol.targets import Target, TargetList
from apviso.protocol.verification import VerificationInstructionsAnswer
from apviso.protocol.wire import MAX_ID_LENGTH

# The server gives 1,000 at a time, from the beginning. The end of a longer log is reached by `after`.
MAX_LOG_EVENTS = 30_000

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[A-Za-z0-9_-]+$")]
RunnerId = Annotated[Id, Field(description="Id of a runner, from list_runners.")]
TargetId = Annotated[Id, Field(description="Id of a target, from list_targets.")]
ScanId = Annotated[Id, Field(description="Id of a scan, from list_scans.")]
FindingId = Annotated[Id, Field(description="Id of a finding, from list_findings.")]
Page = Annotated[int, Field(ge=1, le=1_000_000, description="Which page, from 1.")]
Limit = Annotated[int, Field(ge=1, le=50, description="So many on a page.")]


def new_marks() -> Marks:
    return Marks(secrets.token_hex(6))


class Reading:
    """`client` is whose key the control plane knows; it decides what may be read."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list_runners(
        self,
        status: Annotated[RunnerStatus | None, Field(description="Only those of this status; revoked ones are listed only so.")] = None,
        name: Annotated[str | None, Field(max_length=120, description="Only those whose name has this part.")] = None,
        page: Page = 1,
        limit: Limit = 25,
    ) -> RunnerList:
        """List the runners: the hosts that run scans, with status, reasons and load, and whether a scan could start now.

        Health, capabilities and provider state are left out; get_runner shows them."""
        call = get("/runners", RunnerList, status=status, name=name, page=page, limit=limit)
        return quoting_some(short_runners(await self._client.perform(call)), new_marks(), LIST_TEXT)

    async def get_runner(self, runner_id: RunnerId) -> Runner:
        """Show one runner: status and reasons, load, health, capabilities, which model providers are configured on it."""
        return quoting_some(await self._client.runners.get(runner_id), new_marks())

    async def get_readiness(
        self,
        target_id: Annotated[Id | None, Field(description="Judge for this target.")] = None,
        runner_id: Annotated[Id | None, Field(description="Judge for this runner alone.")] = None,
    ) -> Readiness:
        """Tell whether a scan may start now and, if not, exactly why: every check with what was observed, what is required and the fix.

        primaryBlocker names the check that matters most. Ask this before you start a scan and whenever one is refused or waits."""
        ready = await self._client.runners.readiness(target_id=target_id, runner_id=runner_id)
        return quoting_some(with_few_runners(ready), new_marks())

    async def get_quota(self) -> Quota:
        """Show what the license permits (runners, concurrent scans, targets, visibilities) and how much of it is used."""
        return quoting_some(await self._client.organization.quota(), new_marks())

    async def list_targets(self, page: Page = 1, limit: Limit = 25) -> TargetList:
        """List the targets: the applications that can be scanned, with domain, visibility and whether control of them is proved."""
        return quoting_some(await self._client.targets.page(page, limit), new_marks(), LIST_TEXT)

    async def get_target(self, target_id: TargetId) -> Target:
        """Show one target."""
        return quoting_some(await self._client.targets.get(target_id), new_marks())

    async def get_verification_instructions(self, target_id: TargetId) -> VerificationInstructionsAnswer:
        """Tell how to prove control of a public or staging target: a DNS TXT record, a file or a meta tag. A person has to publish it."""
        told = VerificationInstructionsAnswer(instructions=await self._client.targets.instructions(target_id))
        return quoting_some(told, new_marks())

    async def list_scans(
        self,
        status: Annotated[ScanStatus | None, Field(description="Only those of this status.")] = None,
        target_id: Annotated[Id | None, Field(description="Only those of this target.")] = None,
        page: Page = 1,
        limit: Limit = 25,
    ) -> ScanList:
        """List scans, newest first, with status, progress and counts of findings. A queued one says in waitingFor why it waits."""
        return quoting_some(await self._client.scans.page(page, limit, status=status, target_id=target_id), new_marks(), LIST_TEXT)

    async def get_scan(self, scan_id: ScanId) -> Scan:
        """Show one scan: status, progress, why it ended, and in coverage whether it looked at everything.

        A scan whose coverage is not complete, or that failed, is not clean even when it found nothing."""
        return quoting_some(await self._client.scans.get(scan_id), new_marks())

    async def get_scan_log(
        self,
        scan_id: ScanId,
        last: Annotated[int, Field(ge=1, le=100, description="So many events, counted from the end.")] = 30,
        after: Annotated[int, Field(ge=0, le=2**31 - 1, description="Only events after this seq.")] = 0,
    ) -> LogTail:
        """Show the end of the log of a scan's current attempt: what the scanners did and said."""
        kept: deque[dict[str, JsonValue]] = deque(maxlen=last)
        seen, place, attempt, events = 0, after, None, True
        while events and seen < MAX_LOG_EVENTS:
            log = await self._client.scans.log(scan_id, after=place, attempt=attempt)
            if attempt not in (None, log.attempt):
                kept.clear()
            kept.extend(log.events)
            seen, place, attempt, events = seen + len(log.events), log.last_seq, log.attempt, bool(log.events)
        is_whole = after == 0 and seen <= last
        return quoting_all(LogTail(attempt=attempt or 0, events=list(kept), last_seq=place, is_whole=is_whole), new_marks(), LIST_TEXT)

    async def list_findings(
        self,
        severity: Annotated[Severity | None, Field(description="Only of this severity.")] = None,
        user_status: Annotated[UserStatus | None, Field(description="Only those that are marked so.")] = None,
        target_id: Annotated[Id | None, Field(description="Only of this target.")] = None,
        scan_id: Annotated[Id | None, Field(description="Only those that this scan saw.")] = None,
        page: Page = 1,
        limit: Limit = 20,
    ) -> FindingList:
        """List findings, worst first, each with its texts cut short; get_finding shows them whole."""
        wanted = {"severity": severity, "user_status": user_status, "page": page, "limit": limit}
        if scan_id is not None:
            call = get(f"/scans/{segment(scan_id)}/findings", FindingList, **wanted)
        else:
            call = get("/findings", FindingList, target_id=target_id, **wanted)
        return quoting_all(await self._client.perform(call), new_marks(), LIST_TEXT)

    async def get_finding(self, finding_id: FindingId) -> Finding:
        """Show one finding: what the flaw is, where, the evidence, how to see it again and how to mend it."""
        return quoting_all(await self._client.findings.get(finding_id), new_marks())

    async def get_finding_history(self, finding_id: FindingId, page: Page = 1, limit: Limit = 20) -> FindingHistory:
        """Tell what became of one finding, newest first: who or what changed its status and why, and what retests saw of it."""
        call = get(f"/findings/{segment(finding_id)}/history", FindingHistory, page=page, limit=limit)
        return quoting_all(await self._client.perform(call), new_marks(), LIST_TEXT)

    async def get_retest(self, scan_id: ScanId) -> RetestAnswer:
        """Tell what a retest says of each of its findings: fixed, still_open or could_not_check, and why; null until it has ended.

        could_not_check is not fixed. A scan that is no retest has no results."""
        return quoting_all(await self._client.scans.retest(scan_id), new_marks(), LIST_TEXT)

    async def get_report(
        self,
        scan_id: ScanId,
        offset: Annotated[int, Field(ge=0, le=2**31 - 1, description="From this character on; nextOffset of the part before.")] = 0,
    ) -> ReportPart:
        """Show the report of a scan that has ended, in Markdown, in parts of at most 30,000 characters."""
        scan = await self._client.scans.get(scan_id)
        report = await self._client.scans.report(scan_id)
        return report_part(scan.id, scan.finding_counts, report.markdown_content, offset, new_marks())

    async def list_schedules(
        self,
        target_id: Annotated[Id | None, Field(description="Only of this target.")] = None,
        page: Page = 1,
        limit: Limit = 25,
    ) -> ScheduleList:
        """List the schedules: which target is scanned when by itself, and when next."""
        return quoting_some(await self._client.schedules.page(page, limit, target_id=target_id), new_marks(), LIST_TEXT)
