"""Which answers end something and which are only tried again."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from apviso.protocol.daemon import JobState
from apviso.runner.answers import MAX_RETRY_AFTER_SECONDS, read_answer, retry_after
from apviso.runner.refusals import CallFailed, EventsMissing, IdentityRejected, LeaseLost, Refused, SequenceGap, TryAgain
from tests.runner.fake_control_plane import problem

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
GOOD = b'{"scanId": "scan-1", "status": "running"}'


def failure(status: int, body: bytes, headers: dict[str, str] | None = None) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        read_answer(status, headers or {}, body, JobState, NOW)
    return caught.value


def problem_body(status: int, code: str, **more: object) -> bytes:
    return json.dumps(problem(status, code, **more).body).encode()  # type: ignore[arg-type]


def test_answer_that_fits_is_parsed() -> None:
    state = read_answer(200, {}, GOOD, JobState, NOW)

    assert state.scan_id == "scan-1"


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"{}", b"null", b"\xff\xfe", b'{"status": "no such status", "scanId": "x"}'])
def test_answer_200_that_is_not_the_control_planes_is_tried_again(body: bytes) -> None:
    assert isinstance(failure(200, body), TryAgain)


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 407, 409, 500, 502, 503, 504])
def test_answer_without_problem_description_is_tried_again_whatever_its_status(status: int) -> None:
    assert isinstance(failure(status, b"<html>proxy</html>"), TryAgain)


@pytest.mark.parametrize(
    ("status", "code", "retryable", "kind"),
    [
        (401, "runner_revoked", False, IdentityRejected),
        (401, "credential_invalid", False, IdentityRejected),
        (409, "lease_lost", False, LeaseLost),
        (409, "lease_lost", True, LeaseLost),
        (409, "events_missing", True, EventsMissing),
        (404, "job_not_found", False, Refused),
        (402, "runner_limit", False, Refused),
        (422, "invalid_fields", False, Refused),
        (409, "something_else", True, TryAgain),
        (429, "rate_limited", True, TryAgain),
        (500, "internal_error", False, TryAgain),
        (503, "overloaded", True, TryAgain),
    ],
)
def test_answer_with_problem_is_terminal_or_tried_again(status: int, code: str, retryable: bool, kind: type[CallFailed]) -> None:
    assert type(failure(status, problem_body(status, code, retryable=retryable))) is kind


def test_answer_sequence_gap_carries_where_to_resume() -> None:
    error = failure(409, problem_body(409, "sequence_gap", expectedSeq=7))

    assert isinstance(error, SequenceGap)
    assert error.expected_seq == 7


def test_answer_revoked_differs_from_unknown_token() -> None:
    revoked, unknown = (failure(401, problem_body(401, code)) for code in ("runner_revoked", "credential_invalid"))

    assert isinstance(revoked, IdentityRejected)
    assert isinstance(unknown, IdentityRejected)
    assert (revoked.is_revoked, unknown.is_revoked) == (True, False)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("86400", MAX_RETRY_AFTER_SECONDS),
        ("Sun, 03 May 2026 09:15:42 GMT", 10.0),
        ("Sun, 03 May 2026 09:15:02 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        (None, None),
    ],
)
def test_retry_after_header_is_read_as_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


def test_answer_503_with_retry_after_tells_how_long_to_wait() -> None:
    error = failure(503, problem_body(503, "overloaded", retryable=True), {"retry-after": "12"})

    assert isinstance(error, TryAgain)
    assert error.retry_after == 12


def test_answer_redirect_names_where_it_points_and_is_not_followed() -> None:
    error = failure(302, b"", {"location": "https://login.example/"})

    assert "https://login.example/" in str(error)
