"""Tools that change something. They exist only where the server was started to allow it; the API key's scopes decide all the same."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from apviso.client import AsyncClient
from apviso.mcp.answers import quoting_all, quoting_some
from apviso.mcp.reading import FindingId, Id, RunnerId, ScanId, TargetId, new_marks
from apviso.protocol.findings import MAX_RETESTED, Finding, FindingStatusPatch
from apviso.protocol.runners import Pause, Runner
from apviso.protocol.scans import CreatedScan, NewScan, Scan
from apviso.protocol.schedules import Frequency, NewSchedule, ScheduleAnswer
from apviso.protocol.states import ModelPreset, UserStatus, VerificationMethod, Visibility
from apviso.protocol.targets import NewTarget, Target

Note = Annotated[str | None, Field(max_length=1000, description="Why, for the people who will read it.")]
WhenUnavailable = Annotated[
    Literal["reject", "queue"], Field(description="What happens when no runner can take it now; queue: it waits, for a day at most.")
]


class Writing:
    """`client` is whose key the control plane knows; it decides what may be changed."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def add_target(
        self,
        domain: Annotated[str, Field(min_length=1, max_length=300, description="Host, with its port where it has one: shop.example:8443.")],
        visibility: Annotated[Visibility, Field(description="Where the application lives.")],
        scan_url: Annotated[str | None, Field(max_length=2000, description="Where a scan begins; the domain's root otherwise.")] = None,
        display_url: Annotated[str | None, Field(max_length=2000, description="How people are shown it.")] = None,
    ) -> Target:
        """Add an application as a target. Add only what the user has named and may have tested."""
        urls = {name: url for name, url in (("scan_url", scan_url), ("display_url", display_url)) if url is not None}
        return quoting_some(await self._client.targets.add(NewTarget(domain=domain, visibility=visibility, **urls)), new_marks())

    async def verify_target(
        self,
        target_id: TargetId,
        method: Annotated[VerificationMethod, Field(description="Where the proof is published; get_verification_instructions tells how.")],
    ) -> Target:
        """Look now whether the proof of control of a target is published. Changes the target from unverified to verified if it is."""
        return quoting_some(await self._client.targets.verify(target_id, method), new_marks())

    async def start_scan(
        self,
        target_id: TargetId,
        runner_id: Annotated[Id | None, Field(description="Only this runner may take it.")] = None,
        model_preset: Annotated[
            ModelPreset, Field(description="Its size: more requests and more time from free to ultra.")
        ] = ModelPreset.LOW,
        when_unavailable: WhenUnavailable = "reject",
    ) -> CreatedScan:
        """Start a security scan of a target: a runner sends it many requests, some of them attacks. Start one only if the user asks for it.

        Where it cannot start, the refusal lists the checks that fail and their fixes. get_scan tells how far it is."""
        wanted = NewScan(target_id=target_id, runner_id=runner_id, model_preset=model_preset, when_unavailable=when_unavailable)
        return quoting_some(await self._client.scans.start(wanted), new_marks())

    async def start_retest(
        self,
        scan_id: Annotated[Id, Field(description="The ended scan that saw the findings, from list_scans.")],
        finding_ids: Annotated[
            list[Id] | None, Field(max_length=MAX_RETESTED, description="These findings alone; otherwise all that the scan saw.")
        ] = None,
        runner_id: Annotated[Id | None, Field(description="Only this runner may take it.")] = None,
        when_unavailable: WhenUnavailable = "reject",
    ) -> CreatedScan:
        """Look again for findings of an ended scan, to tell whether they are fixed. This attacks the target: do it only if the user asks.

        get_retest tells how it ended for each finding."""
        parent = await self._client.scans.get(scan_id)
        wanted = NewScan(
            target_id=parent.target_id,
            runner_id=runner_id,
            is_retest=True,
            parent_scan_id=parent.id,
            finding_ids=finding_ids or [],
            when_unavailable=when_unavailable,
        )
        return quoting_some(await self._client.scans.start(wanted), new_marks())

    async def cancel_scan(self, scan_id: ScanId) -> Scan:
        """Cancel a scan that waits or runs. What it has found so far stays; it cannot be resumed."""
        return quoting_some(await self._client.scans.cancel(scan_id), new_marks())

    async def set_finding_status(
        self,
        finding_id: FindingId,
        user_status: Annotated[UserStatus, Field(description="What becomes of the finding.")],
        note: Note = None,
        until: Annotated[datetime | None, Field(description="End of an accepted risk: from then on the finding is open again.")] = None,
    ) -> Finding:
        """Mark a finding: open, in progress, fixed, an accepted risk or a false positive. It is a person's judgment: ask the user first."""
        told = {name: value for name, value in (("note", note), ("until", until)) if value is not None}
        patch = FindingStatusPatch.model_validate({"user_status": user_status, **told})
        return quoting_all(await self._client.findings.set_status(finding_id, patch), new_marks())

    async def pause_runner(self, runner_id: RunnerId, note: Note = None) -> Runner:
        """Keep a runner from taking new scans until it is resumed. What it runs goes on."""
        pause = None if note is None else Pause(note=note)
        return quoting_some(await self._client.runners.pause(runner_id, pause), new_marks())

    async def resume_runner(self, runner_id: RunnerId) -> Runner:
        """Let a paused or draining runner take scans again."""
        return quoting_some(await self._client.runners.resume(runner_id), new_marks())

    async def create_schedule(
        self,
        target_id: TargetId,
        frequency: Frequency,
        hour: Annotated[int, Field(ge=0, le=23, description="In UTC.")],
        minute: Annotated[int, Field(ge=0, le=59)] = 0,
        day_of_week: Annotated[int | None, Field(ge=0, le=6, description="For weekly and biweekly; 0 is Sunday.")] = None,
        day_of_month: Annotated[int | None, Field(ge=1, le=28, description="For monthly.")] = None,
        model_preset: Annotated[ModelPreset, Field(description="The size of each scan.")] = ModelPreset.LOW,
    ) -> ScheduleAnswer:
        """Have a target scanned by itself from now on, again and again. Create a schedule only if the user asks for it."""
        days = {name: day for name, day in (("day_of_week", day_of_week), ("day_of_month", day_of_month)) if day is not None}
        wanted = NewSchedule(target_id=target_id, frequency=frequency, hour=hour, minute=minute, model_preset=model_preset, **days)
        return quoting_some(ScheduleAnswer(schedule=await self._client.schedules.add(wanted)), new_marks())
