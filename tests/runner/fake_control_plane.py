"""A fake of the control plane's daemon API on a real socket: the contract's rules for one runner, and scripted misbehavior."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from apviso.protocol.tokens import Namespace, Token, new_token
from apviso.protocol.wire import format_instant

Body = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One scripted answer. `processed`: the call takes effect before it is answered; `drop`: the connection breaks instead of an answer."""

    status: int = 200
    body: str | bytes | Body = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    processed: bool = False
    drop: bool = False
    delay: float = 0.0


def problem(status: int, code: str, *, retryable: bool = False, **more: object) -> Reply:
    body: Body = {"type": "about:blank", "title": code, "status": status, "detail": code, "code": code, "error": f"{code} happened",
                  "requestId": "r-1", "retryable": retryable, **more}  # fmt: skip
    return Reply(status, body, content_type="application/problem+json")


LOST_ANSWER = Reply(processed=True, drop=True)
PROXY_PAGE = Reply(200, "<html>Please sign in to the proxy</html>", content_type="text/html")


@dataclass
class Call:
    path: str
    query: str
    headers: dict[str, str]
    body: Body
    at: float


@dataclass
class FakeJob:
    """A job and what was reported of it."""

    body: Body
    state: str = "queued"
    nonce: str | None = None
    events: dict[int, Body] = field(default_factory=dict)
    finish: Body | None = None
    preflight: Body | None = None
    renewals: int = 0
    cancelled: bool = False

    @property
    def id(self) -> str:
        return str(self.body["job"]["id"])

    @property
    def attempt(self) -> int:
        return int(self.body["job"]["attempt"])

    @property
    def last_seq(self) -> int:
        return len(self.events)

    def messages(self) -> list[str]:
        return [event["message"] for _, event in sorted(self.events.items()) if event["type"] == "log"]


class FakeControlPlane:
    """`calls` is everything that was received; `script(path, ...)` sets answers that are given, once each, before the usual ones."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.jobs: dict[str, FakeJob] = {}
        self.token = new_token(Namespace.RUNNER)
        self.enrollment = new_token(Namespace.ENROLLMENT)
        self.targets: list[Body] = []
        self.used_by: str | None = None
        self.heartbeat_interval_ms = 15_000
        self.directives: Body = {}
        self.retired: set[str] = set()
        self.farewell: Body = {}
        self.overlapping: list[Token] = []
        self.server_time = datetime.now(UTC)
        self.reachable = True
        self.refuse_event: Callable[[Body], bool] = lambda event: False
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self.connections = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    # --- what tests do -------------------------------------------------------------------------------------------

    def script(self, path: str, *replies: Reply) -> None:
        self._scripts[path].extend(replies)

    async def add_job(self, job: FakeJob) -> FakeJob:
        self.jobs[job.id] = job
        await self.tell()
        return job

    async def cancel(self, job: FakeJob) -> None:
        job.cancelled = True
        await self.tell()

    async def tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, holds: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for a condition over what was received; fails after the deadline with the calls seen."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(holds)
        except TimeoutError:
            seen = [call.path for call in self.calls][-40:]
            raise AssertionError(f"not within {seconds} s; calls: {seen}") from None

    async def until_connected(self, times: int) -> None:
        """Wait for so many connections, answered or not."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self.connections >= times)

    def of(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def job_calls(self, job: FakeJob, verb: str) -> list[Call]:
        return self.of(f"/jobs/{job.id}/{verb}")

    def received(self) -> str:
        """Everything that arrived in bodies, as one text: for looking for what must not be in it."""
        return "\n".join(json.dumps(call.body) for call in self.calls)

    def disconnect(self) -> None:
        """Break every connection and refuse new ones, until `reachable` is set again."""
        self.reachable = False
        for writer in list(self._connections):
            writer.transport.abort()

    # --- the socket ----------------------------------------------------------------------------------------------

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 5)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        self.connections += 1
        await self.tell()
        try:
            while self.reachable and await self._one_call(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _one_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, target, _ = head[0].split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        path, _, query = target.removeprefix("/api/runner").partition("?")
        call = Call(path, query, headers, json.loads(raw) if raw else {}, asyncio.get_running_loop().time())
        self.calls.append(call)
        await self.tell()
        reply = await self._answer(call)
        await self.tell()
        if reply.drop:
            return False
        writer.write(_encode(reply))
        await writer.drain()
        return True

    async def _answer(self, call: Call) -> Reply:
        script = self._scripts[call.path]
        if not script:
            return await self._usual(call)
        reply = script.popleft()
        await asyncio.sleep(reply.delay)
        if reply.processed:
            usual = await self._usual(call)
            return Reply(usual.status, usual.body, drop=reply.drop)
        return reply

    # --- the contract --------------------------------------------------------------------------------------------

    async def _usual(self, call: Call) -> Reply:
        if call.path in {"/healthz", "/readyz"}:
            return Reply(200, {"status": "ok"}, {"date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")})
        if call.path == "/register":
            return self._register(call.body)
        given = call.headers.get("authorization", "")
        if given not in {f"Bearer {token.reveal()}" for token in (self.token, *self.overlapping)}:
            return problem(401, "runner_revoked", **self.farewell) if given in self.retired else problem(401, "credential_invalid")
        rules: dict[str, Callable[[Call], Awaitable[Reply]]] = {"/heartbeat": self._heartbeat, "/jobs/claim": self._claim}
        if call.path in rules:
            return await rules[call.path](call)
        if call.path.startswith("/jobs/"):
            _, _, job_id, verb = call.path.split("/")
            return self._job_call(self.jobs[job_id], verb, call.body)
        if call.path == "/token":
            return self._rotate()
        wanted = {"/pause": "paused", "/drain": "draining", "/resume": "enabled"}
        if call.path in wanted:
            ends = {"adminUntil": call.body.get("until"), "drainDeadline": None}
            return Reply(200, {"adminState": wanted[call.path], "adminNote": call.body.get("note"), **ends})
        rest: dict[str, Body] = {"/goodbye": {"releasedJobs": []}, "/targets": {"targets": self.targets}}
        return Reply(200, rest[call.path])

    def accept_also(self, token: Token) -> None:
        """As after a rotation whose new token was never used."""
        self.overlapping.append(token)

    def revoke(self, **farewell: object) -> None:
        self.farewell = farewell
        self.retired.add(f"Bearer {self.token.reveal()}")
        self.token = new_token(Namespace.RUNNER)

    def _register(self, body: Body) -> Reply:
        if body["enrollmentToken"] != self.enrollment.reveal():
            return problem(401, "enrollment_token_invalid")
        if self.used_by is not None and self.used_by != body.get("exchangeKey"):
            return problem(409, "enrollment_token_used")
        self.used_by = body.get("exchangeKey")
        self.token = new_token(Namespace.RUNNER)
        answer = {"token": self.token.reveal(), "runner": {"id": "runner-1", "name": body.get("name") or "suggested"}}
        return Reply(201, {**answer, "heartbeatIntervalMs": self.heartbeat_interval_ms, "serverTime": self._now()})

    async def _heartbeat(self, call: Call) -> Reply:
        directives = {"cancelJobs": self._cancelled(), **self.directives}
        return Reply(200, {"runner": {"id": "runner-1", "status": "online"}, "heartbeatIntervalMs": self.heartbeat_interval_ms,
                           "directives": directives, "serverTime": self._now()})  # fmt: skip

    def _cancelled(self) -> list[str]:
        return [job.id for job in self.jobs.values() if job.cancelled and job.finish is None]

    async def _claim(self, call: Call) -> Reply:
        wait = float(call.query.removeprefix("wait="))
        known, nonce = set(call.body.get("knownCancels") or []), call.body["nonce"]

        def news() -> bool:
            return bool(self._claimable(call.body["freeSlots"], nonce) or set(self._cancelled()) - known)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), self._changed:
                await self._changed.wait_for(news)
        job = self._claimable(call.body["freeSlots"], nonce)
        if job is not None:
            job.state, job.nonce = "claimed" if job.state == "queued" else job.state, nonce
        return Reply(200, {"job": job.body if job else None, "directives": {"cancelJobs": self._cancelled(), **self.directives}})

    def _claimable(self, free_slots: int, nonce: str) -> FakeJob | None:
        again = next((job for job in self.jobs.values() if job.nonce == nonce), None)
        fresh = next((job for job in self.jobs.values() if job.state == "queued"), None)
        return again or (fresh if free_slots > 0 else None)

    def _job_call(self, job: FakeJob, verb: str, body: Body) -> Reply:
        if body["attempt"] != job.attempt or job.state == "lost":
            return problem(409, "lease_lost")
        cancel = self._now() if job.cancelled else None
        match verb:
            case "lease":
                job.renewals += 1
                return Reply(200, {"leaseExpiresAt": self._now(), "leaseSeconds": 120, "cancelRequestedAt": cancel})
            case "events":
                return self._events(job, body, cancel)
            case "preflight":
                job.preflight = body
                job.state = "preflighted" if body["ok"] else "ended"
            case "start":
                job.state = "running"
            case "finish":
                if body["lastSeq"] != job.last_seq:
                    return problem(409, "events_missing", expectedSeq=job.last_seq + 1)
                job.finish, job.state = body, "ended"
        return Reply(200, {"scanId": job.body["scan"]["id"], "status": "running", "cancelRequestedAt": cancel})

    def _events(self, job: FakeJob, body: Body, cancel: str | None) -> Reply:
        if any(self.refuse_event(event) for event in body["events"]):
            return problem(422, "invalid_fields")
        for event in body["events"]:
            if event["seq"] > job.last_seq + 1:
                return problem(409, "sequence_gap", expectedSeq=job.last_seq + 1)
            if event["seq"] == job.last_seq + 1:
                job.events[event["seq"]] = event
        return Reply(200, {"ackedSeq": job.last_seq, "cancelRequestedAt": cancel})

    def _rotate(self) -> Reply:
        self.token = new_token(Namespace.RUNNER)
        self.directives = {}
        return Reply(200, {"token": self.token.reveal(), "tokenPrefix": self.token.prefix, "previousValidUntil": self._now()})

    def _now(self) -> str:
        return format_instant(datetime.now(UTC))


def _encode(reply: Reply) -> bytes:
    told = reply.body if isinstance(reply.body, str | bytes) else json.dumps(reply.body)
    content = told.encode() if isinstance(told, str) else told
    headers = {"content-type": reply.content_type, "content-length": str(len(content)), **reply.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} Scripted\r\n{head}\r\n".encode() + content


def job_body(job_id: str = "job-1", *, scan_url: str = "http://127.0.0.1:9/", attempt: int = 1, **more: Any) -> Body:
    """A job as a claim gives it. `more` may replace `leaseSeconds`, `renewAfterSeconds`, `limits`, `visibility`, `domain`."""
    limits = {"maxRunSeconds": 60, "maxRequests": 100, "requestsPerSecond": 50, **more.get("limits", {})}
    target = {"id": "target-1", "domain": more.get("domain", "app.localhost"), "displayUrl": scan_url, "scanUrl": scan_url,
              "visibility": more.get("visibility", "localhost")}  # fmt: skip
    job = {"id": job_id, "runnerId": "runner-1", "attempt": attempt, "leaseSeconds": more.get("leaseSeconds", 120),
           "renewAfterSeconds": more.get("renewAfterSeconds", 30)}  # fmt: skip
    scan = {"id": f"scan-of-{job_id}", "modelPreset": "low", "isRetest": False}
    token = new_token(Namespace.JOB).reveal()
    return {"job": job, "scan": scan, "target": target, "image": None, "limits": limits, "jobToken": token}


@asynccontextmanager
async def fake_control_plane(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeControlPlane]:
    plane = FakeControlPlane()
    await plane.start(tls)
    try:
        yield plane
    finally:
        await plane.stop()
