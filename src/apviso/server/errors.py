"""Every way to say no, with its stable code; `problem_response` is the one place where they become HTTP (RFC 9457)."""

from __future__ import annotations

from typing import Any, ClassVar

from fastapi.responses import JSONResponse
from pydantic import JsonValue

from apviso.protocol.problems import FieldProblem, Problem
from apviso.server.metrics import REFUSALS

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """A request that is understood and declined. Subclasses are the documented problem codes."""

    status: ClassVar[int]
    code: ClassVar[str]
    message: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(
        self, detail: str | None = None, *, retry_after: float | None = None, headers: dict[str, str] | None = None, **members: Any
    ):
        super().__init__(detail or self.message)
        self.detail = detail or self.message
        self.retry_after = retry_after
        self.headers = headers or {}
        self.members: dict[str, JsonValue] = members


class MalformedJson(Refusal):
    status, code, message = 400, "malformed_json", "The request body is not valid JSON."


class BadRequest(Refusal):
    status, code, message = 400, "bad_request", "The request could not be read."


class CredentialMissing(Refusal):
    status, code, message = 401, "credential_missing", "This call needs a credential: send X-API-Key, or Authorization: Bearer."


class CredentialInvalid(Refusal):
    status, code, message = 401, "credential_invalid", "The credential is unknown, expired or revoked; create a new one."


class WrongCredential(Refusal):
    status, code, message = 401, "wrong_credential", "This kind of token does not work here."


class EnrollmentTokenInvalid(Refusal):
    status, code, message = 401, "enrollment_token_invalid", "This enrollment token is not known; create a new one and copy it whole."


class RunnerRevoked(Refusal):
    status, code, message = 401, "runner_revoked", "This runner was revoked; enroll it anew if it should come back."

    @classmethod
    def of(cls, *, is_retired: bool) -> RunnerRevoked:
        """A runner that was enrolled for one scan is told that it has done it: that is no failure."""
        return cls("This runner was enrolled for one scan and has run it.", retired=True) if is_retired else cls()


class LicenseInactive(Refusal):
    status, code, message = 402, "license_inactive", "The license does not permit this now; install a valid license."


class LicenseLimitReached(Refusal):
    status, code, message = 402, "license_limit_reached", "A limit of the license is reached."


class InsufficientScope(Refusal):
    status, code, message = 403, "insufficient_scope", "The API key lacks the scope that this call needs."


class VisibilityNotAllowed(Refusal):
    status, code, message = 403, "visibility_not_allowed", "The license does not permit targets of this visibility."


class TargetUnverified(Refusal):
    status, code, message = 403, "target_unverified", "Control of this target has not been proved."


class NoSuchRoute(Refusal):
    status, code, message = 404, "not_found", "There is nothing at this address."


class RunnerNotFound(Refusal):
    status, code, message = 404, "runner_not_found", "There is no such runner."


class TargetNotFound(Refusal):
    status, code, message = 404, "target_not_found", "There is no such target."


class ScanNotFound(Refusal):
    status, code, message = 404, "scan_not_found", "There is no such scan."


class ScheduleNotFound(Refusal):
    status, code, message = 404, "schedule_not_found", "There is no such schedule."


class JobNotFound(Refusal):
    status, code, message = 404, "job_not_found", "There is no such job for this runner."


class FindingNotFound(Refusal):
    status, code, message = 404, "finding_not_found", "There is no such finding."


class EnrollmentTokenNotFound(Refusal):
    status, code, message = 404, "enrollment_token_not_found", "There is no outstanding enrollment token with this prefix."


class ApiKeyNotFound(Refusal):
    status, code, message = 404, "api_key_not_found", "There is no such API key."


class WebhookNotFound(Refusal):
    status, code, message = 404, "webhook_not_found", "There is no such webhook."


class WebhookDeliveryNotFound(Refusal):
    status, code, message = 404, "webhook_delivery_not_found", "There is no such delivery of this webhook."


class MethodNotAllowed(Refusal):
    status, code, message = 405, "method_not_allowed", "This address does not take this method."


class PdfUnavailable(Refusal):
    status, code, message = 409, "pdf_unavailable", "This server makes no PDF files."


class ReportNotMade(Refusal):
    status, code, message = 409, "report_not_made", "This report could not be made."


class EnrollmentTokenUsed(Refusal):
    status, code, message = 409, "enrollment_token_used", "This enrollment token was used already; create a new one."


class EnrollmentTokenExpired(Refusal):
    status, code, message = 409, "enrollment_token_expired", "This enrollment token has expired; create a new one."


class EnrollmentTokenRevoked(Refusal):
    status, code, message = 409, "enrollment_token_revoked", "This enrollment token was revoked; create a new one."


class AlreadyIssued(Refusal):
    status, code, message = 409, "already_issued", "This Idempotency-Key issued a secret before; it is shown once. Use a new key."


class RunnerIsRevoked(Refusal):
    status, code, message = 409, "runner_is_revoked", "This runner is revoked; that is final."


class AdminStateHeld(Refusal):
    status, code = 409, "admin_state_held"
    message = "People of the control plane, or a quarantine, decided what this runner does; it is changed there."


class LastAdminKey(Refusal):
    status, code, message = 409, "last_admin_key", "This is the last key with the scope admin; without it nobody could create another."


class TargetExists(Refusal):
    status, code, message = 409, "target_exists", "This organization has a target with this domain already."


class TargetHasScans(Refusal):
    status, code, message = 409, "target_has_scans", "This target has scans; their record would be lost."


class VerificationFailed(Refusal):
    status, code, message = 409, "verification_failed", "The proof of control was not found where it was looked for."


class VerificationNotNeeded(Refusal):
    status, code, message = 409, "verification_not_needed", "Targets of this visibility need no proof of control."


class RunnerNotReady(Refusal):
    status, code, message = 409, "runner_not_ready", "No runner can take this scan now."


class ScanAlreadyActive(Refusal):
    status, code, message = 409, "scan_already_active", "A scan of this target is active already."


class ScanAlreadyEnded(Refusal):
    status, code, message = 409, "scan_already_ended", "This scan has ended."


class ScanNotStarted(Refusal):
    status, code, message = 409, "scan_not_started", "This attempt was not started; call start first."


class ScanAlreadyStarted(Refusal):
    status, code, message = 409, "scan_already_started", "This attempt has started; its checks can no longer fail. Finish it instead."


class LeaseLost(Refusal):
    status, code, message = 409, "lease_lost", "This attempt no longer holds the lease; stop it and clean up."


class SequenceGap(Refusal):
    status, code, message = 409, "sequence_gap", "Events are missing; send them again from expectedSeq."


class EventsMissing(Refusal):
    status, code, message = 409, "events_missing", "Not all events up to lastSeq are stored; send them from expectedSeq, then finish."


class WebhookDisabled(Refusal):
    status, code, message = 409, "webhook_disabled", "This webhook is disabled; nothing is sent to it."


class WebhookLimitReached(Refusal):
    status, code, message = 409, "webhook_limit_reached", "This organization has as many webhooks as it may."


class BodyTooLarge(Refusal):
    status, code, message = 413, "body_too_large", "The request body is too large; send less at a time."


class InvalidFields(Refusal):
    status, code, message = 422, "invalid_fields", "Some fields are not valid."

    def __init__(self, errors: list[FieldProblem], detail: str | None = None) -> None:
        super().__init__(detail or "; ".join(f"{e.field}: {e.message}" for e in errors[:5]), errors=[e.model_dump() for e in errors])


class IdempotencyKeyReused(Refusal):
    status, code, message = 422, "idempotency_key_reused", "This Idempotency-Key was used for another request."


class RateLimited(Refusal):
    status, code, message, retryable = 429, "rate_limited", "Too many requests; wait as Retry-After says.", True


class InternalError(Refusal):
    status, code, message, retryable = 500, "internal_error", "Something went wrong here; the log has the request id.", True


class Overloaded(Refusal):
    status, code, message, retryable = 503, "overloaded", "Too many open requests; try again soon.", True


class DatabaseUnavailable(Refusal):
    status, code, message, retryable = 503, "database_unavailable", "The database cannot be reached; try again soon.", True
    # Whether the request was surely rolled back, so that it may be run again here.
    may_repeat = False


def field_refused(field: str, message: str) -> InvalidFields:
    """The refusal of one field by a rule that no schema can state."""
    return InvalidFields([FieldProblem(field=field, message=message)])


def every_refusal() -> list[type[Refusal]]:
    """All problem codes, by status and code."""
    return sorted(Refusal.__subclasses__(), key=lambda kind: (kind.status, kind.code))


def problem_of(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The body of the answer. `error` is for people, `code` for programs."""
    problem = Problem(
        type=f"/problems/{refusal.code}",
        title=refusal.message,
        status=refusal.status,
        detail=refusal.detail,
        code=refusal.code,
        error=refusal.detail,
        request_id=request_id,
        retryable=refusal.retryable,
    )
    return problem.model_dump(by_alias=True, exclude_none=True) | refusal.members


def problem_response(refusal: Refusal, request_id: str) -> JSONResponse:
    REFUSALS.labels(refusal.code).inc()
    headers = dict(refusal.headers)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.retry_after is not None or refusal.status == 503:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after or 1)))
    return JSONResponse(problem_of(refusal, request_id), refusal.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def responses(*refusals: type[Refusal]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation for its document: one entry for each status, one example for each code."""
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in refusals:
        entry = documented.setdefault(
            kind.status,
            {"description": "", "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}}},
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], f"`{kind.code}`"]))
        example = problem_of(kind([]) if kind is InvalidFields else kind(), "01890a5d-ac96-774b-bcce-b302099a8057")
        entry["content"][PROBLEM_MEDIA_TYPE]["examples"][kind.code] = {"summary": kind.message, "value": example}
    return documented
