"""The runner's side of the daemon API: every call with a deadline, every answer parsed, every secret kept out of the bodies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import httpx2
from pydantic import BaseModel, JsonValue

from apviso import __version__
from apviso.protocol.daemon import (
    AttemptCall,
    Claim,
    ClaimAnswer,
    EventBatch,
    EventsAnswer,
    Finish,
    Goodbye,
    GoodbyeAnswer,
    Heartbeat,
    HeartbeatAnswer,
    HostAnswer,
    JobState,
    LeaseAnswer,
    NewRunnerToken,
    Preflight,
    Registered,
    Registration,
    Start,
)
from apviso.protocol.runners import Drain, Pause
from apviso.protocol.targets import JobTargetList
from apviso.protocol.tokens import Token
from apviso.protocol.wire import JobId, Wire
from apviso.runner.answers import read_answer
from apviso.runner.clock import Clock
from apviso.runner.redaction import Redactor
from apviso.runner.refusals import IdentityRejected, TryAgain, Unreachable

# The largest honest answer is a job with its retest findings.
MAX_ANSWER_BYTES = 8 * 1024**2
CALL_SECONDS = 15.0
UPLOAD_SECONDS = 60.0
CLAIM_WAIT_SECONDS = 20
# Beyond the wait that the server promises: a slow proxy is not yet a dead one.
CLAIM_MARGIN_SECONDS = 15.0

Answer = TypeVar("Answer", bound=BaseModel)


class ControlPlane:
    """One control plane, one identity. `on_answer` is told of each decision of the control plane, refusals included."""

    def __init__(
        self,
        base_url: str,
        client: httpx2.AsyncClient,
        redactor: Redactor,
        token: Token | None = None,
        clock: Clock = Clock(),
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._base_url = base_url
        self._client = client
        self._redactor = redactor
        self._token = token
        self._clock = clock
        self._on_answer = on_answer

    def use_token(self, token: Token) -> None:
        self._redactor.learn(token.reveal(), token.secret)
        self._token = token

    async def register(self, registration: Registration) -> Registered:
        # The one body that carries a secret on purpose, and the one call without an identity.
        body = registration.model_dump(mode="json", by_alias=True)
        return await self._call("/register", body, Registered, CALL_SECONDS, authorized=False)

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        return await self._send("/heartbeat", beat, HeartbeatAnswer)

    async def claim(self, claim: Claim, wait_seconds: int = CLAIM_WAIT_SECONDS) -> ClaimAnswer:
        return await self._send(f"/jobs/claim?wait={wait_seconds}", claim, ClaimAnswer, wait_seconds + CLAIM_MARGIN_SECONDS)

    async def renew(self, job_id: JobId, attempt: int, seconds: float = CALL_SECONDS) -> LeaseAnswer:
        return await self._send(f"/jobs/{job_id}/lease", AttemptCall(attempt=attempt), LeaseAnswer, seconds)

    async def preflight(self, job_id: JobId, preflight: Preflight) -> JobState:
        return await self._send(f"/jobs/{job_id}/preflight", preflight, JobState)

    async def start(self, job_id: JobId, start: Start) -> JobState:
        return await self._send(f"/jobs/{job_id}/start", start, JobState)

    async def send_events(self, job_id: JobId, batch: EventBatch) -> EventsAnswer:
        return await self._send(f"/jobs/{job_id}/events", batch, EventsAnswer, UPLOAD_SECONDS)

    async def finish(self, job_id: JobId, finish: Finish) -> JobState:
        return await self._send(f"/jobs/{job_id}/finish", finish, JobState)

    async def rotate_token(self) -> NewRunnerToken:
        return await self._call("/token", {}, NewRunnerToken, CALL_SECONDS)

    async def goodbye(self, goodbye: Goodbye) -> GoodbyeAnswer:
        return await self._send("/goodbye", goodbye, GoodbyeAnswer)

    async def pause(self, pause: Pause) -> HostAnswer:
        return await self._send("/pause", pause, HostAnswer)

    async def drain(self, drain: Drain) -> HostAnswer:
        return await self._send("/drain", drain, HostAnswer)

    async def resume(self) -> HostAnswer:
        return await self._call("/resume", {}, HostAnswer, CALL_SECONDS)

    async def targets(self) -> JobTargetList:
        return await self._call("/targets", None, JobTargetList, CALL_SECONDS)

    async def _send(self, path: str, body: Wire, model: type[Answer], seconds: float = CALL_SECONDS) -> Answer:
        redacted = self._redactor.json(body.model_dump(mode="json", by_alias=True))
        return await self._call(path, redacted, model, seconds)

    async def _call(self, path: str, body: JsonValue, model: type[Answer], seconds: float, *, authorized: bool = True) -> Answer:
        token = self._token if authorized else None
        status, headers, content = await self._exchange(path, body, token, seconds)
        try:
            answer = read_answer(status, headers, content, model, self._now())
        except IdentityRejected as error:
            self._on_answer()
            if token is not self._token:
                # A rotation overtook this call: the token that was refused is no longer ours.
                raise TryAgain("the token was replaced while the call was under way", status, 0.0) from error
            raise
        except TryAgain as error:
            if error.code is not None:
                self._on_answer()
            raise
        self._on_answer()
        return answer

    def _now(self) -> datetime:
        return self._clock.now()

    async def _exchange(self, path: str, body: JsonValue, token: Token | None, seconds: float) -> tuple[int, dict[str, str], bytes]:
        headers = {"accept": "application/json", "user-agent": f"apviso-runner/{__version__}"}
        if token is not None:
            headers["authorization"] = f"Bearer {token.reveal()}"
        method, content = ("GET", None) if body is None else ("POST", json.dumps(body, ensure_ascii=False).encode())
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(method, f"{self._base_url}/api/runner{path}", content=content, headers=headers) as response,
            ):
                return response.status_code, dict(response.headers), await _read_bounded(response)
        except TimeoutError as error:
            raise Unreachable(f"no answer from {self._base_url} within {seconds:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Unreachable(why_unreachable(self._base_url, error)) from error


async def _read_bounded(response: httpx2.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise TryAgain(f"an answer of more than {MAX_ANSWER_BYTES} bytes was cut off", response.status_code)
        parts.append(part)
    return b"".join(parts)


def why_unreachable(base_url: str, error: Exception) -> str:
    """One sentence that names the control plane and the deepest cause, where the useful words are."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    words = str(cause) or str(error) or type(error).__name__
    return f"{base_url} cannot be reached: {words}"
