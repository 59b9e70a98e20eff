"""A control plane that somebody else has taken over: what it says is bounded, and decides nothing that is decided on this host."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from apviso.protocol.daemon import Claim, ClaimedJob, Directives, Heartbeat
from apviso.protocol.states import EndReason
from apviso.protocol.wire import JobId, RunnerId
from apviso.runner import claims
from apviso.runner.attempts import Roster
from apviso.runner.connection import open_client
from apviso.runner.control_plane import MAX_ANSWER_BYTES, ControlPlane
from apviso.runner.directives import is_older
from apviso.runner.engines import EngineFailed
from apviso.runner.engines.images import parse_image, registry_of
from apviso.runner.engines.registry import Registry
from apviso.runner.lease import SHORTEST_RENEWAL_SECONDS, LeaseTerms
from apviso.runner.redaction import Redactor
from apviso.runner.refusals import TryAgain
from tests.runner.conftest import StartDaemon
from tests.runner.fake_control_plane import Body, FakeControlPlane, FakeJob, Reply, job_body
from tests.runner.target_application import TargetApplication
from tests.support.sites import Site, site

BEAT = Heartbeat(boot_id="boot", beat_seq=1, version="1")
DIGEST = "sha256:" + "0" * 64
# Nothing of what is measured here keeps more than an answer and what it was made of.
MOST_MEMORY = 6 * MAX_ANSWER_BYTES


@pytest.fixture
async def client(plane: FakeControlPlane) -> AsyncIterator[ControlPlane]:
    async with open_client(None) as http:
        yield ControlPlane(plane.url, http, Redactor(), plane.token)


def changed(told: Body, *path: str, to: object) -> Body:
    """A copy with another value at this place."""
    copy: Body = json.loads(json.dumps(told))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return copy


JOB = job_body()
ABSURD_JOBS = {
    "lease of no number": changed(JOB, "job", "leaseSeconds", to=10**400),
    "lease of less than nothing": changed(JOB, "job", "leaseSeconds", to=-1),
    "renewal before it was given": changed(JOB, "job", "renewAfterSeconds", to=-5),
    "attempt before the first": changed(JOB, "job", "attempt", to=0),
    "run without an end": changed(JOB, "limits", "maxRunSeconds", to=10**9),
    "run of no time": changed(JOB, "limits", "maxRunSeconds", to=0),
    "requests without an end": changed(JOB, "limits", "maxRequests", to=10**12),
    "rate of a flood": changed(JOB, "limits", "requestsPerSecond", to=10**9),
    "rate of nothing": changed(JOB, "limits", "requestsPerSecond", to=0),
    "visibility that is none": changed(JOB, "target", "visibility", to="everything"),
}


@pytest.mark.parametrize("job", ABSURD_JOBS.values(), ids=ABSURD_JOBS.keys())
async def test_job_with_absurd_limits_is_not_taken_for_one(client: ControlPlane, plane: FakeControlPlane, job: Body) -> None:
    plane.script("/jobs/claim", Reply(200, {"job": job}))

    with pytest.raises(TryAgain, match="not the control plane's"):
        await client.claim(Claim(nonce="n" * 8), 0)


@pytest.mark.parametrize(
    "told",
    [
        {"heartbeatIntervalMs": 10**400},
        {"heartbeatIntervalMs": -1},
        {"directives": {"cancelJobs": ["x" * 100]}},
        {"directives": {"minimumVersion": "9" * 5000}},
        {"serverTime": "30000-01-01T00:00:00Z"},
    ],
    ids=str,
)
async def test_answer_with_absurd_values_is_not_taken_for_one(client: ControlPlane, plane: FakeControlPlane, told: Body) -> None:
    good = {"runner": {"id": "r", "status": "online"}, "heartbeatIntervalMs": 15000, "directives": {}, "serverTime": "2026-05-03T09:15:32Z"}
    plane.script("/heartbeat", Reply(200, good), Reply(200, good | told))

    await client.heartbeat(BEAT)

    with pytest.raises(TryAgain, match="not the control plane's"):
        await client.heartbeat(BEAT)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("[" * 1_000_000, {}),
        ('{"job":' * 100_000, {}),
        (gzip.compress(b" " * 64 * 1024**2), {"content-encoding": "gzip"}),
        (gzip.compress(gzip.compress(b" " * 256 * 1024**2)), {"content-encoding": "gzip, gzip"}),
        (b"no gzip at all", {"content-encoding": "gzip"}),
        (b"{}", {"content-encoding": "gzip" + ", gzip" * 500}),
    ],
    ids=["deep lists", "deep objects", "inflated", "inflated twice", "not inflated", "encoded without an end"],
)
async def test_answer_that_is_small_to_send_and_large_to_read_is_given_up(
    client: ControlPlane, plane: FakeControlPlane, body: str | bytes, headers: dict[str, str]
) -> None:
    plane.script("/heartbeat", Reply(200, body, headers))
    tracemalloc.start()

    try:
        with pytest.raises(Exception) as caught:
            await client.heartbeat(BEAT)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert type(caught.value).__name__ in {"TryAgain", "Unreachable"}
    assert most < MOST_MEMORY


async def test_cookies_are_not_kept(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.script("/heartbeat", Reply(200, "", {"set-cookie": "follow=me; Path=/"}))

    with pytest.raises(TryAgain):
        await client.heartbeat(BEAT)
    await client.heartbeat(BEAT)

    assert [call.headers.get("cookie") for call in plane.of("/heartbeat")] == [None, None]


def test_renewals_without_a_pause_are_not_given() -> None:
    job = ClaimedJob(id=JobId("j"), runner_id=RunnerId("r"), attempt=1, lease_seconds=2**53, renew_after_seconds=0)

    terms = LeaseTerms.of(job)

    assert terms == LeaseTerms(renew_after=SHORTEST_RENEWAL_SECONDS, self_stop_after=240)


def test_cancels_without_an_end_are_remembered_within_a_bound() -> None:
    roster = Roster(1)

    for start in range(0, 50_000, 5_000):
        roster.cancel(f"job-{number}" for number in range(start, start + 5_000))

    assert len(Claim(nonce="n", known_cancels=roster.known_cancels).known_cancels or []) == 1000


@pytest.mark.parametrize("version", ["9" * 64, "", "1" + ".1" * 30, "newest", "\x1b[2J"])
def test_version_of_any_kind_is_compared(version: str) -> None:
    told = Directives(minimum_version=version)

    assert isinstance(is_older("0.1.0", told.minimum_version or ""), bool)


@pytest.mark.slow
async def test_jobs_beyond_the_slots_of_this_host_are_ignored_without_a_hot_loop(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SHORTEST_EMPTY_SECONDS", 0.3)
    first, *others = [FakeJob(job_body(f"job-{n}", scan_url=application.url, domain="lingers.localhost")) for n in range(4)]
    plane.jobs = {first.id: first}
    plane.script("/jobs/claim", *[Reply(200, {"job": job.body}) for job in (first, *others)])
    daemon = start_daemon(concurrency=1)

    await plane.until(lambda: len(plane.of("/jobs/claim")) >= 5)

    assert [attempt.job_id for attempt in daemon.daemon.roster.attempts] == [first.id]
    assert {call.path.split("/")[2] for call in plane.calls if call.path.startswith("/jobs/j")} == {first.id}
    asked = [call.at for call in plane.of("/jobs/claim")]
    assert asked[4] - asked[1] >= 0.8


@pytest.mark.parametrize(
    "image",
    [
        "evil.example/x:latest",
        f"../../etc/passwd@{DIGEST}",
        f"evil.example/../x y@{DIGEST}",
        f"evil.example/../../x@{DIGEST}",
        f"evil.example//x@{DIGEST}",
        f"evil.example/x/@{DIGEST}",
        f"--privileged@{DIGEST}",
        f"evil.example/x\n@{DIGEST}",
        f"EVIL.example/x@{DIGEST}",
        f"http://evil.example/x?@{DIGEST}",
        f"evil.example/x@user@{DIGEST}",
        "evil.example/x@sha256:" + "0" * 63,
        "evil.example/x@sha512:" + "0" * 128,
        "x" * 300 + f"@{DIGEST}",
        "",
    ],
)
def test_image_whose_name_is_more_than_a_name_is_refused(image: str) -> None:
    with pytest.raises(EngineFailed) as caught:
        parse_image(image)

    assert caught.value.reason is EndReason.IMAGE_REFUSED


@pytest.mark.parametrize("name", ["x", "library/x", "evil/x"])
def test_image_that_names_no_registry_is_not_left_to_the_engine(name: str) -> None:
    with pytest.raises(EngineFailed, match="does not name its registry"):
        registry_of(name)


@pytest.mark.parametrize("service", ["endless", "page", "list", "nothing", "inflated"])
async def test_registry_whose_service_for_tokens_is_hostile_is_unavailable(service: str) -> None:
    async with site() as registry:
        _ask_for_a_token(registry, service)

        with pytest.raises(EngineFailed) as caught:
            await Registry(f"127.0.0.1:{registry.port}/x", None).find_manifest("1")

    assert caught.value.reason is EndReason.IMAGE_UNAVAILABLE


def _ask_for_a_token(registry: Site, service: str) -> None:
    challenge = f'Bearer realm="http://127.0.0.1:{registry.port}/token",service="x"'
    registry.serve("/v2/x/manifests/1", "", "401 Unauthorized", WWW_Authenticate=challenge)
    match service:
        case "endless":
            registry.endless.add("/token?service=x")
        case "page":
            registry.serve("/token?service=x", "<html>")
        case "list":
            registry.serve("/token?service=x", "[1]")
        case "nothing":
            registry.serve("/token?service=x", "{}")
        case "inflated":
            registry.serve("/token?service=x", gzip.compress(b" " * 64 * 1024**2), Content_Encoding="gzip")
