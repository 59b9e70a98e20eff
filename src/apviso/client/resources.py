"""The API part by part: each method is one line that says which call it is. Another part is a class here and a line at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Generic

from apviso.client import waiting
from apviso.client.automation import Schedules, Webhooks
from apviso.client.calls import Call, act, change, create, download, get, query_of, remove, segment
from apviso.client.endpoints import Each, Endpoint, Follow, Resource, Steps, Transport, Walk, Way
from apviso.client.flaws import Findings
from apviso.client.following import Following
from apviso.client.listing import Listing, listing
from apviso.protocol.access import ApiKey, ApiKeyAnswer, ApiKeyList, ApiKeyPatch, AuditEvent, AuditEventList, IssuedApiKey, NewApiKey
from apviso.protocol.findings import (
    Finding,
    FindingList,
    RetestAnswer,
)
from apviso.protocol.licenses import Quota
from apviso.protocol.readiness import Readiness
from apviso.protocol.runners import (
    Drain,
    EnrollmentToken,
    EnrollmentTokenAnswer,
    EnrollmentTokenList,
    IssuedEnrollmentToken,
    NewEnrollmentToken,
    Pause,
    Runner,
    RunnerAnswer,
    RunnerHealth,
    RunnerHistory,
    RunnerList,
    RunnerPatch,
    TokenOutcome,
    TokenOutcomeAnswer,
    UptimeList,
)
from apviso.protocol.scans import (
    Attempt,
    AttemptList,
    CreatedScan,
    NewScan,
    Report,
    ReportAnswer,
    Scan,
    ScanAnswer,
    ScanList,
    ScanLoad,
    ScanLog,
)
from apviso.protocol.states import RunnerStatus, ScanStatus, Severity, UserStatus, VerificationMethod
from apviso.protocol.targets import NewTarget, Target, TargetAnswer, TargetList, TargetPatch
from apviso.protocol.verification import Organization as OrganizationSettings
from apviso.protocol.verification import (
    OrganizationAnswer,
    OrganizationPatch,
    VerificationInstructions,
    VerificationInstructionsAnswer,
    VerificationRequest,
)

VERIFY_SECONDS = 45.0


class Runners(Resource[Way]):
    @Endpoint
    def list(
        self,
        *,
        status: RunnerStatus | None = None,
        label: str | None = None,
        name: str | None = None,
        page: int | None = None,
        limit: int | None = None,
        brief: bool | None = None,
    ) -> Call[RunnerList]:
        """All of them, or one page, and the readiness of the organization; revoked ones only by their status. `name` matches a part.

        `brief` leaves the runners of the readiness out, which are all of them; its `runner_counts` stay."""
        return get("/runners", RunnerList, status=status, label=label, name=name, page=page, limit=limit, brief=brief)

    @Endpoint
    def page(
        self,
        page: int = 1,
        limit: int = 50,
        *,
        status: RunnerStatus | None = None,
        label: str | None = None,
        name: str | None = None,
        brief: bool | None = None,
    ) -> Call[RunnerList]:
        return get("/runners", RunnerList, page=page, limit=limit, status=status, label=label, name=name, brief=brief)

    @Endpoint
    def uptime(
        self, page: int = 1, limit: int = 50, *, status: RunnerStatus | None = None, label: str | None = None, name: str | None = None
    ) -> Call[UptimeList]:
        """The last day of the runners on the same page of the list."""
        return get("/runners/uptime", UptimeList, page=page, limit=limit, status=status, label=label, name=name)

    @Endpoint
    def get(self, runner_id: str) -> Call[Runner]:
        return _runner(get(_of_runner(runner_id), RunnerAnswer))

    @Endpoint
    def edit(self, runner_id: str, patch: RunnerPatch) -> Call[Runner]:
        return _runner(change(_of_runner(runner_id), patch, RunnerAnswer))

    @Endpoint
    def pause(self, runner_id: str, pause: Pause | None = None) -> Call[Runner]:
        return _runner(act(f"{_of_runner(runner_id)}/pause", pause, RunnerAnswer))

    @Endpoint
    def resume(self, runner_id: str) -> Call[Runner]:
        return _runner(act(f"{_of_runner(runner_id)}/resume", None, RunnerAnswer))

    @Endpoint
    def drain(self, runner_id: str, drain: Drain | None = None) -> Call[Runner]:
        return _runner(act(f"{_of_runner(runner_id)}/drain", drain, RunnerAnswer))

    @Endpoint
    def rotate_token(self, runner_id: str) -> Call[Runner]:
        return _runner(act(f"{_of_runner(runner_id)}/rotate-token", None, RunnerAnswer))

    @Endpoint
    def revoke(self, runner_id: str) -> Call[None]:
        return remove(_of_runner(runner_id))

    @Endpoint
    def history(self, runner_id: str, *, since: datetime | None = None) -> Call[RunnerHistory]:
        return get(f"{_of_runner(runner_id)}/history", RunnerHistory, since=since)

    @Endpoint
    def health(self, runner_id: str) -> Call[RunnerHealth]:
        """What it said of its health over the last day, by quarters of an hour."""
        return get(f"{_of_runner(runner_id)}/health", RunnerHealth)

    @Endpoint
    def readiness(self, *, target_id: str | None = None, runner_id: str | None = None, brief: bool | None = None) -> Call[Readiness]:
        """Whether a scan may start now, and exactly why not. `brief` counts the runners and does not name them."""
        return get("/runners/readiness", Readiness, target_id=target_id, runner_id=runner_id, brief=brief)

    @Walk
    def wait(
        self,
        runner_id: str,
        *,
        seconds: float | None = None,
        is_ready: Callable[[Runner], bool] = waiting.accepts_jobs,
        on_change: Callable[[Runner], None] = waiting.ignore,
    ) -> Steps[Runner]:
        """The runner as soon as `is_ready` says so: by default when it takes scans. Raises WaitedTooLong."""
        return waiting.runner_ready(runner_id, seconds, is_ready, on_change)


class EnrollmentTokens(Resource[Way]):
    @Endpoint
    def issue(self, wanted: NewEnrollmentToken | None = None) -> Call[IssuedEnrollmentToken]:
        """The only answer that ever holds the token."""
        return create("/runners/enrollment-tokens", wanted, IssuedEnrollmentToken)

    @Endpoint
    def page(self, page: int = 1, limit: int = 50) -> Call[EnrollmentTokenList]:
        return get("/runners/enrollment-tokens", EnrollmentTokenList, page=page, limit=limit)

    @Each
    def all(self) -> Listing[EnrollmentTokenList, EnrollmentToken]:
        return listing("/runners/enrollment-tokens", EnrollmentTokenList, lambda answer: answer.enrollment_tokens)

    @Endpoint
    def get(self, token_prefix: str) -> Call[EnrollmentToken]:
        path = f"/runners/enrollment-tokens/{segment(token_prefix)}"
        return get(path, EnrollmentTokenAnswer).then(lambda answer: answer.enrollment_token)

    @Endpoint
    def outcome(self, token_prefix: str) -> Call[TokenOutcome]:
        """What has become of it: still outstanding, or used by which runner, expired, revoked."""
        path = f"/runners/enrollment-tokens/{segment(token_prefix)}/outcome"
        return get(path, TokenOutcomeAnswer).then(lambda answer: answer.outcome)

    @Endpoint
    def revoke(self, token_prefix: str) -> Call[None]:
        return remove(f"/runners/enrollment-tokens/{segment(token_prefix)}")


class Targets(Resource[Way]):
    @Endpoint
    def add(self, wanted: NewTarget) -> Call[Target]:
        return create("/targets", wanted, TargetAnswer).then(lambda answer: answer.target)

    @Endpoint
    def page(self, page: int = 1, limit: int = 50) -> Call[TargetList]:
        return get("/targets", TargetList, page=page, limit=limit)

    @Each
    def all(self) -> Listing[TargetList, Target]:
        return listing("/targets", TargetList, lambda answer: answer.targets)

    @Endpoint
    def get(self, target_id: str) -> Call[Target]:
        return get(f"/targets/{segment(target_id)}", TargetAnswer).then(lambda answer: answer.target)

    @Endpoint
    def edit(self, target_id: str, patch: TargetPatch) -> Call[Target]:
        return change(f"/targets/{segment(target_id)}", patch, TargetAnswer).then(lambda answer: answer.target)

    @Endpoint
    def delete(self, target_id: str) -> Call[None]:
        return remove(f"/targets/{segment(target_id)}")

    @Endpoint
    def instructions(self, target_id: str) -> Call[VerificationInstructions]:
        """How control of the target can be proved."""
        path = f"/targets/{segment(target_id)}/verify/instructions"
        return get(path, VerificationInstructionsAnswer).then(lambda answer: answer.instructions)

    @Endpoint
    def verify(self, target_id: str, method: VerificationMethod) -> Call[Target]:
        """Raises Conflict where the proof is not there; its `checks` say what was looked at."""
        path, wanted = f"/targets/{segment(target_id)}/verify", VerificationRequest(method=method)
        call = act(path, wanted, TargetAnswer, may_repeat=True).then(lambda answer: answer.target)
        # The control plane asks name servers and the site itself before it answers.
        return replace(call, seconds=VERIFY_SECONDS)


class Scans(Resource[Way]):
    @Endpoint
    def start(self, wanted: NewScan) -> Call[CreatedScan]:
        """Raises Conflict where no runner could take it now, unless it may be queued; its `readiness` says why."""
        return create("/scans", wanted, CreatedScan)

    @Endpoint
    def page(
        self,
        page: int = 1,
        limit: int = 50,
        *,
        status: ScanStatus | None = None,
        target_id: str | None = None,
        runner_id: str | None = None,
    ) -> Call[ScanList]:
        """Newest first. With `runner_id`, those that this runner has had in hand."""
        return get("/scans", ScanList, page=page, limit=limit, status=status, target_id=target_id, runner_id=runner_id)

    @Each
    def all(self, *, status: ScanStatus | None = None, target_id: str | None = None) -> Listing[ScanList, Scan]:
        """Newest first. Scans that start meanwhile shift nothing."""
        return listing("/scans", ScanList, lambda answer: answer.scans, status=status, target_id=target_id)

    @Endpoint
    def get(self, scan_id: str) -> Call[Scan]:
        return get(_of_scan(scan_id), ScanAnswer).then(lambda answer: answer.scan)

    @Endpoint
    def cancel(self, scan_id: str) -> Call[Scan]:
        return act(f"{_of_scan(scan_id)}/cancel", None, ScanAnswer, may_repeat=True).then(lambda answer: answer.scan)

    @Endpoint
    def attempts(self, scan_id: str) -> Call[list[Attempt]]:
        """Every attempt, the first one first."""
        return get(f"{_of_scan(scan_id)}/attempts", AttemptList).then(lambda answer: answer.attempts)

    @Endpoint
    def load(self) -> Call[ScanLoad]:
        """Slots in use and scans that waited, over the last 24 h."""
        return get("/scans/load", ScanLoad)

    @Endpoint
    def log(
        self, scan_id: str, *, after: int = 0, attempt: int | None = None, of: int | None = None, limit: int | None = None
    ) -> Call[ScanLog]:
        """At most 1,000 events after `after`: of the current attempt, or of the attempt `of`."""
        return get(f"{_of_scan(scan_id)}/log", ScanLog, after=after, attempt=attempt, of=of, limit=limit)

    @Follow
    def follow(self, scan_id: str, *, after: int = 0) -> Following:
        """The scan's events as they come; one of the type `end` is the last. Lost connections are resumed."""
        return Following(f"{_of_scan(scan_id)}/log", query_of({"after": after}))

    @Walk
    def wait(self, scan_id: str, *, seconds: float | None = None, on_change: Callable[[Scan], None] = waiting.ignore) -> Steps[Scan]:
        """The ended scan. Raises WaitedTooLong; the scan goes on."""
        return waiting.scan_end(scan_id, seconds, on_change)

    @Endpoint
    def findings_page(self, scan_id: str, page: int = 1, limit: int = 50) -> Call[FindingList]:
        return get(f"{_of_scan(scan_id)}/findings", FindingList, page=page, limit=limit)

    @Each
    def findings(
        self, scan_id: str, *, severity: Severity | None = None, user_status: UserStatus | None = None
    ) -> Listing[FindingList, Finding]:
        """What the scan found, worst first."""
        path = f"{_of_scan(scan_id)}/findings"
        return listing(path, FindingList, lambda answer: answer.findings, severity=severity, user_status=user_status)

    @Endpoint
    def retest(self, scan_id: str) -> Call[RetestAnswer]:
        """What a retest says of each of its findings; `outcome` is null until it has ended."""
        return get(f"{_of_scan(scan_id)}/retest", RetestAnswer)

    @Endpoint
    def report(self, scan_id: str) -> Call[Report]:
        """Raises NotYet until the scan has ended."""
        return get(f"{_of_scan(scan_id)}/report", ReportAnswer).then(lambda answer: answer.report)

    @Endpoint
    def report_file(self, scan_id: str, kind: str) -> Call[bytes]:
        """The report as a file: `html`, `pdf`, `sarif`, `csv`, `json` or `md`. Raises NotYet until the scan has ended."""
        return download(f"{_of_scan(scan_id)}/report.{segment(kind)}", "*/*")


class ApiKeys(Resource[Way]):
    @Endpoint
    def issue(self, wanted: NewApiKey) -> Call[IssuedApiKey]:
        """The only answer that ever holds the key."""
        return create("/api-keys", wanted, IssuedApiKey)

    @Each
    def all(self) -> Listing[ApiKeyList, ApiKey]:
        return listing("/api-keys", ApiKeyList, lambda answer: answer.api_keys)

    @Endpoint
    def get(self, key_id: str) -> Call[ApiKey]:
        return get(f"/api-keys/{segment(key_id)}", ApiKeyAnswer).then(lambda answer: answer.api_key)

    @Endpoint
    def edit(self, key_id: str, patch: ApiKeyPatch) -> Call[ApiKey]:
        return change(f"/api-keys/{segment(key_id)}", patch, ApiKeyAnswer).then(lambda answer: answer.api_key)

    @Endpoint
    def revoke(self, key_id: str) -> Call[None]:
        return remove(f"/api-keys/{segment(key_id)}")


class Organization(Resource[Way]):
    @Endpoint
    def get(self) -> Call[OrganizationSettings]:
        return get("/organization", OrganizationAnswer).then(lambda answer: answer.organization)

    @Endpoint
    def edit(self, patch: OrganizationPatch) -> Call[OrganizationSettings]:
        """Whether control of targets has to be proved."""
        return change("/organization", patch, OrganizationAnswer).then(lambda answer: answer.organization)

    @Follow
    def events(self) -> Following:
        """What happens to runners, scans, findings and readiness from now on. Never ends by itself; lost connections are resumed."""
        return Following("/events")

    @Endpoint
    def quota(self) -> Call[Quota]:
        return get("/quota", Quota)

    @Endpoint
    def audit_page(self, *, subject_id: str | None = None, cursor: str | None = None, limit: int = 50) -> Call[AuditEventList]:
        """Newest first; the next part begins at the answer's `next_cursor`."""
        return get("/audit-events", AuditEventList, subject_id=subject_id, cursor=cursor, limit=limit)

    @Each
    def audit_events(self, *, subject_id: str | None = None) -> Listing[AuditEventList, AuditEvent]:
        """Newest first."""
        return listing("/audit-events", AuditEventList, lambda answer: answer.audit_events, subject_id=subject_id)


class Resources(Generic[Way]):
    """Every part, as both clients have it."""

    def __init__(self, transport: Transport) -> None:
        self.runners: Runners[Way] = Runners(transport)
        self.enrollment_tokens: EnrollmentTokens[Way] = EnrollmentTokens(transport)
        self.targets: Targets[Way] = Targets(transport)
        self.scans: Scans[Way] = Scans(transport)
        self.findings: Findings[Way] = Findings(transport)
        self.api_keys: ApiKeys[Way] = ApiKeys(transport)
        self.schedules: Schedules[Way] = Schedules(transport)
        self.webhooks: Webhooks[Way] = Webhooks(transport)
        self.organization: Organization[Way] = Organization(transport)


def _of_runner(runner_id: str) -> str:
    return f"/runners/{segment(runner_id)}"


def _runner(call: Call[RunnerAnswer]) -> Call[Runner]:
    return call.then(lambda answer: answer.runner)


def _of_scan(scan_id: str) -> str:
    return f"/scans/{segment(scan_id)}"


def _of_finding(finding_id: str) -> str:
    return f"/findings/{segment(finding_id)}"
