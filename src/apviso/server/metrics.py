"""Every metric of the control plane on one page. A label takes its values from a closed list, never from what a client sends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from apviso import __version__
from apviso.protocol.daemon import ClaimAnswer

# Upper bounds in seconds. The library's own begin too high for a transaction and end too low for a queue.
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 90)
_QUEUES = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)
# A heartbeat is due each 15 s; it is late after 35 s, and the runner offline after 60 s.
AGE_BOUNDS: Final = (5.0, 10.0, 15.0, 20.0, 25.0, 35.0, 45.0, 60.0, 90.0, 120.0, 300.0)
SKEW_BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Tally(Collector):
    """Counts in a plain number what is counted most; counters hear of it when they are read, because each of them takes a lock.

    Made before its counters, so that it is asked before them. Only ever called in the thread of the event loop.
    """

    def __init__(self) -> None:
        self.counters: tuple[Counter, ...] = ()
        self.number = 0
        REGISTRY.register(self)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        number, self.number = self.number, 0
        for counter in self.counters:
            counter.inc(number)
        return ()


# Heartbeats that were answered in one go.
BEATEN: Final = Tally()

# HTTP

REQUESTS = Counter("apviso_http_requests_total", "Requests answered, by the route's template", ["method", "route", "status"])
SECONDS = Histogram("apviso_http_request_seconds", "Time to answer, without long polls and streams", ["method", "route"], buckets=_QUICK)
REFUSALS = Counter("apviso_refusals_total", "Refusals by problem code, also those that were tried again", ["code"])
PARKED = Gauge("apviso_parked_requests", "Long polls and streams held open now")
PARKING_PLACES = Gauge("apviso_parked_requests_limit", "Long polls and streams that may be held open at once")

# Enrollment, claims and leases

ENROLLMENTS = Counter(
    "apviso_enrollments_total", "Exchanges of enrollment tokens: enrolled, repeated, or the problem code of the refusal", ["result"]
)
CLAIMS = Counter("apviso_claims_total", "Claims answered: job, repeat, nothing, not_accepting", ["result"])
CLAIM_WAIT = Histogram("apviso_claim_wait_seconds", "How long claims were held open before their answer", buckets=_WAITS)
JOB_QUEUE = Histogram("apviso_job_queue_seconds", "From the start of a scan to the first claim that took it", buckets=_QUEUES)
CLAIMS_WAITING = Gauge("apviso_claims_waiting", "Claims that stand in line for a job now")
ENDINGS = Counter("apviso_attempts_ended_total", "Attempts that ended, by reason", ["reason"])
TIMERS = Counter("apviso_scan_timers_total", "Timers of scans that ran out", ["timer"])
LEASE_EXPIRATIONS = Counter("apviso_lease_expirations_total", "Leases that ran out or were taken back, by the timer", ["reason"])
FENCED = Counter("apviso_fenced_writes_total", "Calls for attempts that no longer held the lease")

# Presence: heartbeats that are answered from memory and written behind

FROM_MEMORY = Counter("apviso_answered_from_memory_total", "Calls that were answered before the framework", ["call"])
KNOWN_RUNNERS = Gauge("apviso_known_runners", "Runners whose heartbeats this process answers from memory")
UNWRITTEN = Gauge("apviso_presence_unwritten", "Runners with a heartbeat that is answered and not written yet")
FLUSH_AGE = Gauge("apviso_presence_flush_age_seconds", "Since everything that was to be written had been written")
FLUSH_SECONDS = Histogram("apviso_presence_flush_seconds", "Time to write a batch of heartbeats", buckets=_QUICK)
FLUSHED = Counter("apviso_presence_written_total", "Heartbeats written behind")
FLUSH_FAILURES = Counter("apviso_presence_flush_failures_total", "Batches of heartbeats that could not be written, and were kept")

# Database

DATABASE_UP = Gauge("apviso_database_up", "1 where the database answered when the fleet was last counted, else 0")
DATABASE_WAIT = Histogram(
    "apviso_database_wait_seconds",
    "Wait for a connection, on SQLite also for the writer's turn",
    ["access"],
    buckets=_QUICK,
)
TRANSACTION_SECONDS = Histogram(
    "apviso_database_transaction_seconds", "From the begin of a transaction to its end", ["access"], buckets=_QUICK
)
DATABASE_FAILURES = Counter(
    "apviso_database_failures_total",
    "What the database could not do, by kind: gave_way (deadlock), away, busy, no_connection, other",
    ["kind"],
)
DATABASE_RETRIES = Counter("apviso_database_retries_total", "Repeats of what was surely rolled back")
CONNECTIONS = Gauge("apviso_database_connections", "Connections of this process' pool that are in use now")

# Webhooks

DELIVERIES = Counter(
    "apviso_webhook_deliveries_total",
    "Attempts to deliver a message, by kind (webhook, notify) and by what became of it: succeeded, retried, given_up",
    ["kind", "result"],
)
DELIVERY_SECONDS = Histogram("apviso_webhook_delivery_seconds", "Time that an attempt to deliver took", ["kind"], buckets=_QUICK)
WEBHOOKS_DISABLED = Counter(
    "apviso_webhooks_disabled_total", "Webhooks that were disabled because their receiver had failed for a day or is gone"
)

# Timed duties and replicas

KEEPS_HOUSE = Gauge("apviso_keeps_house", "1 in the process that does the timed duties, else 0")
DUTY_SECONDS = Histogram("apviso_duty_seconds", "Time that a timed duty took", ["duty"], buckets=_QUICK)
DUTY_FAILURES = Counter("apviso_duty_failures_total", "Timed duties that failed or were put off", ["duty"])
DEAF = Gauge("apviso_replica_deaf", "1 while this process does not hear of what others change, else 0")
BUILD = Info("apviso_build", "The version that runs")
BUILD.info({"version": __version__})

# Those timers of a scan that take a lease, or declare it to have run out.
_OF_LEASES = ("lease_expired", "assigned_silent", "runner_lost", "cancel_forced")

for _kind in ("webhook", "notify"):
    for _result in ("succeeded", "retried", "given_up"):
        DELIVERIES.labels(_kind, _result)

# What is counted from a series that is there from the start is seen to begin; of others the first events are lost to rate().
for _counter, _values in (
    (CLAIMS, ("job", "repeat", "nothing", "not_accepting")),
    (DATABASE_FAILURES, ("gave_way", "away", "busy", "no_connection", "other")),
    (LEASE_EXPIRATIONS, _OF_LEASES),
):
    for _value in _values:
        _counter.labels(_value)


def claim_answered(answer: ClaimAnswer, waited_seconds: float) -> None:
    """A claim's answer leaves; one with a job was counted by its transaction."""
    CLAIM_WAIT.observe(waited_seconds)
    if answer.job is None:
        CLAIMS.labels("nothing" if answer.not_accepting is None else "not_accepting").inc()


def jobs_claimed(number: int, queued_seconds: Iterable[float]) -> None:
    """Claims got jobs; `queued_seconds` of the scans that no other runner had before."""
    CLAIMS.labels("job").inc(number)
    for seconds in queued_seconds:
        JOB_QUEUE.observe(seconds)


def delivery_attempted(kind: str, result: str, seconds: float) -> None:
    DELIVERIES.labels(kind, result).inc()
    DELIVERY_SECONDS.labels(kind).observe(seconds)


def timer_ran_out(timer: str) -> None:
    TIMERS.labels(timer).inc()
    if timer in _OF_LEASES:
        LEASE_EXPIRATIONS.labels(timer).inc()


_ACCESSES = {access: (DATABASE_WAIT.labels(access), TRANSACTION_SECONDS.labels(access)) for access in ("read", "write")}


@contextmanager
def transaction_measured(access: str, asked: float) -> Iterator[None]:
    """A transaction that has just begun, wanted since `asked` (`time.perf_counter`)."""
    wait, whole = _ACCESSES[access]
    begun = time.perf_counter()
    wait.observe(begun - asked)
    try:
        yield
    finally:
        whole.observe(time.perf_counter() - begun)


@asynccontextmanager
async def duty_measured(duty: str) -> AsyncIterator[None]:
    """Time and failures of one timed duty."""
    with DUTY_SECONDS.labels(duty).time(), DUTY_FAILURES.labels(duty).count_exceptions():
        yield


class Flushes:
    """How writing behind goes: measures each batch, and knows since when nothing was left over."""

    def __init__(self) -> None:
        self._clean_at = time.monotonic()

    @asynccontextmanager
    async def measured(self, rows: int) -> AsyncIterator[None]:
        with FLUSH_FAILURES.count_exceptions(BaseException), FLUSH_SECONDS.time():
            yield
        FLUSHED.inc(rows)
        self.none_left()

    def none_left(self) -> None:
        self._clean_at = time.monotonic()

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._clean_at


@dataclass(frozen=True)
class FleetCounts:
    """What the database says of all organizations together; each process would say the same.

    `ages` and `skews` count the present runners up to each bound, and all that have told theirs last.
    """

    runners: Mapping[str, int]
    ages: tuple[int, ...]
    skews: tuple[int, ...]
    scans: Mapping[str, int]
    leases: int
    oldest_wait_seconds: float
    blocked: Mapping[str, int]


NOBODY: Final = FleetCounts({}, (), (), {}, 0, 0.0, {})


class Fleet(Collector):
    """Gauges about everyone. Nothing is told of them while the database cannot be asked: an old number would look like a new one."""

    def __init__(self) -> None:
        self.counts: FleetCounts | None = None

    def collect(self) -> Iterable[Metric]:
        return _families(self.counts) if self.counts is not None else ()

    def describe(self) -> Iterable[Metric]:
        return _families(NOBODY)


def _families(counts: FleetCounts) -> Iterator[Metric]:
    yield _labelled("apviso_runners", "Runners by status, without revoked ones", "status", counts.runners)
    words = "How long ago present runners were last heard of, at this moment: histogram_quantile() without rate()"
    yield _spread("apviso_runner_heartbeat_age_seconds", words, AGE_BOUNDS, counts.ages)
    words = "How far the clocks of present runners are off, by their own word, at this moment: histogram_quantile() without rate()"
    yield _spread("apviso_runner_clock_skew_seconds", words, SKEW_BOUNDS, counts.skews)
    yield _labelled("apviso_scans_active", "Scans that have not ended, by status", "status", counts.scans)
    yield GaugeMetricFamily("apviso_leases_active", "Leases that runners hold", counts.leases)
    words = "How long ago the oldest scan that waits for a runner was started, 0 where none waits"
    yield GaugeMetricFamily("apviso_oldest_waiting_scan_seconds", words, counts.oldest_wait_seconds)
    words = "Organizations that cannot scan now, by the check that blocks first"
    yield _labelled("apviso_readiness_blocked", words, "code", counts.blocked)


def _labelled(name: str, words: str, label: str, counted: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, number in counted.items():
        family.add_metric([value], number)
    return family


def _spread(name: str, words: str, bounds: tuple[float, ...], counted: tuple[int, ...]) -> Metric:
    family = HistogramMetricFamily(name, words)
    if counted:
        family.add_metric([], list(zip([*map(str, bounds), "+Inf"], counted, strict=True)), None)
    return family


FLEET = Fleet()
REGISTRY.register(FLEET)
