"""Round after round: scans start, something goes wrong at a moment that the seed decides, and everything that must hold is looked at.

`python -m tests.faults.campaign` runs for FAULTS_MINUTES from FAULTS_SEED on both databases, and with two servers on one, and tells
what was lost. Whatever it finds is repeated by the line that it tells with it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

import docker
import httpx2
import psutil

from apviso.scanning import environment
from tests.containers import private_engine
from tests.faults import checks
from tests.faults.checks import Kind, Problem, Record, Use
from tests.faults.faults import FAULTS, Fault, Scene, that_fit
from tests.faults.ground import Ground, ScanEngine, can_mount
from tests.faults.order import Order
from tests.faults.stage import PATIENCE_SECONDS, PROGRAM, RunnerHost, Stage, opened
from tests.support.postgres import postgres_server

# Nothing that a test says about durability may rest on a database that forgets.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
# Room for PostgreSQL and the log that it writes ahead.
SMALL_DISK = "400m"
# One server on either database, and two on one PostgreSQL.
GROUNDS = ("sqlite", "postgresql", "replicas")
HOLD_SECRETS = ("identity.json",)
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Round:
    """What happened in one: how long the fault lasted, how long after it all scans had their right end, and how long all of it took."""

    number: int
    fault: str
    victim: str
    held: float
    seconds: float
    took: float
    endings: tuple[str, ...]
    problems: tuple[Problem, ...]
    is_broken: bool = False

    def __str__(self) -> str:
        told = "".join(f"\n    {problem.kind}: {problem.what}" for problem in self.problems)
        return (
            f"{self.number:4d}  {self.fault:24s} {self.victim:6s} {self.held:5.1f} s, right after {self.seconds:5.1f} s: "
            f"{', '.join(self.endings)}; {self.took:.0f} s in all{told}"
        )


@dataclass
class Summary:
    rounds: list[Round] = field(default_factory=list)
    last: list[Problem] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        return [*(problem for one in self.rounds for problem in one.problems), *self.last]

    def add(self, other: Summary) -> None:
        self.rounds += other.rounds
        self.last += other.last

    def __str__(self) -> str:
        counted = Counter(problem.kind for problem in self.problems)
        others = ", ".join(f"{kind} {number}" for kind, number in counted.items() if kind not in (Kind.LOSS, Kind.DOUBLE, Kind.OVERLAP))
        return (
            f"faults injected {len(self.rounds)} ({len({one.fault for one in self.rounds})} kinds), "
            f"jobs run {sum(len(one.endings) for one in self.rounds)}, losses {counted[Kind.LOSS]}, doubles {counted[Kind.DOUBLE]}, "
            f"overlaps {counted[Kind.OVERLAP]}, other problems: {others or 'none'}; "
            f"worst time to a correct status {max((one.seconds for one in self.rounds), default=0):.1f} s"
        )


@dataclass
class Campaign:
    """One stage and what is done to it. The seed alone decides what happens, and when in the life of a scan."""

    stage: Stage
    seed: str
    requests: int
    summary: Summary = field(default_factory=Summary)
    _known: set[Problem] = field(default_factory=set)
    _uses: dict[str, list[Use]] = field(default_factory=dict)

    def strike(self, fault: Fault) -> Round:
        """One round. What it finds is in the summary, too."""
        started = time.monotonic()
        before = sum(one.fault == fault.name for one in self.summary.rounds)
        # By itself, so that the same happens where this fault alone is tried again.
        began = random.Random(f"{self.seed}.{fault.name}.{before}")
        self.stage.until_backup_is_old(fault.backup_age)
        scans = self.stage.start_scans()
        holder = self._until_under_way(scans[0], began.randint(0, self.requests - 5))
        scene = Scene(self.stage, holder, scans, began)
        hold = began.uniform(*fault.holds)
        with fault.strike(scene):
            time.sleep(hold)
        mended = time.monotonic()
        ended = self.stage.until_ended(scene.scans, PATIENCE_SECONDS)
        seconds = time.monotonic() - mended
        problems = [Problem(Kind.LOSS, f"scan {scan} has not ended: {self.stage.scan(scan)}") for scan in scene.scans if scan not in ended]
        is_broken = problems != []
        problems += self._check_scans(fault, list(ended))
        problems += self._until_quiet()
        if scene.has_new_identity:
            self.stage.take_backup()
        endings = tuple(f"{scan['status']} in {scan['attempt']}" for scan in ended.values())
        number = len(self.summary.rounds) + 1
        took = time.monotonic() - started
        done = Round(number, fault.name, holder.name, hold, seconds, took, endings, tuple(problems), is_broken)
        self.summary.rounds.append(done)
        return done

    def conclude(self) -> None:
        """What can only be seen at the end."""
        found = self.summary.last
        secrets = {secret for host in self.stage.hosts for secret in host.wire.secrets}
        found += checks.check_secrets(self.stage.folder, secrets, HOLD_SECRETS)
        for name, uses in self._uses.items():
            found += checks.check_uses(name, uses)

    def _until_under_way(self, scan_id: str, requests: int) -> RunnerHost:
        """Until the scan has asked so often; who has it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.stage.scans[scan_id].asked(scan_id) < requests or self.stage.holder(scan_id) is None:
            assert time.monotonic() < deadline, f"the scan does not begin: {self.stage.scan(scan_id)}"
            time.sleep(0.1)
        holder = self.stage.holder(scan_id)
        assert holder is not None
        return holder

    def _check_scans(self, fault: Fault, ended: Sequence[str]) -> list[Problem]:
        found: list[Problem] = []
        for scan_id in ended:
            record = self._record(scan_id)
            found += checks.check_record(record, fault.endings)
            found += checks.check_answers(record, list(self.stage.scans[scan_id].touches))
        for site in self.stage.sites:
            found += checks.check_traffic(list(site.touches))
        for host in self.stage.hosts:
            found += checks.check_tokens(host.revoked, list(host.wire.exchanges))
        new = [problem for problem in found if problem not in self._known]
        self._known.update(new)
        return new

    def _record(self, scan_id: str) -> Record:
        call = self.stage.installation.call
        trail = call("GET", f"/audit-events?subjectId={scan_id}&limit=100")["auditEvents"]
        return Record(
            call("GET", f"/scans/{scan_id}")["scan"],
            self.stage.installation.log(scan_id),
            [event["action"] for event in trail],
            call("GET", f"/scans/{scan_id}/findings")["total"],
        )

    def _until_quiet(self) -> list[Problem]:
        """Until both runners wait for work and nothing of what has ended is left."""
        self.stage.until_online()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := leftovers(self.stage)) and time.monotonic() < deadline:
            time.sleep(0.5)
        if not left:
            servers = [("server" if which == 0 else "replica", server) for which, server in enumerate(self.stage.servers)]
            for name, process in (*servers, *((host.name, host.process) for host in self.stage.hosts)):
                seen = psutil.Process(process.popen.pid)
                use = Use(seen.num_fds(), seen.memory_info().rss)
                self._uses.setdefault(f"{name} {seen.pid}", []).append(use)
        return [Problem(Kind.LEFTOVER, what) for what in left]


def leftovers(stage: Stage) -> list[str]:
    """Processes and files of attempts that are there while no attempt is."""
    server = psutil.Process(stage.server.popen.pid)
    known = {server.pid, *(child.pid for child in server.children(recursive=True)), *(host.process.popen.pid for host in stage.hosts)}
    found = [f"process {process.pid}" for host in stage.hosts for process in host.family()[1:]]
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if process.pid not in known and str(process.info["cwd"] or "").startswith(str(stage.folder)):
            found.append(f"process {process.pid} {process.info['cmdline']}")
    if stage.engine is not None:
        found += [f"container {container.name}" for container in stage.engine.client.containers.list(all=True)]
    for host in stage.hosts:
        for folder in (host.workspace / "spool", host.workspace / "jobs"):
            found += [str(path) for path in folder.iterdir()]
    return found


@contextmanager
def on_new_stage(ground: Ground, seed: str) -> Iterator[Campaign]:
    """A campaign on an installation of its own, and what can only be seen at its end."""
    with TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
        if ground.is_postgresql and ground.postgres is not None:
            ground.postgres.execute(
                "DROP DATABASE IF EXISTS control_plane WITH (FORCE)", "CREATE DATABASE control_plane TEMPLATE template0"
            )
        with opened(Path(name).resolve(), ground, seed) as stage:
            stage.take_backup()
            campaign = Campaign(stage, f"{seed}.{ground.name}", ground.requests)
            yield campaign
            campaign.conclude()


def run(ground: Ground, seed: str, minutes: float, order: Order, tell: Tell) -> Summary:
    """One fault after the other until the time is over. A stage that was broken is left for a new one."""
    summary, until = Summary(), time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        opening = time.monotonic()
        with on_new_stage(ground, seed) as campaign:
            tell(f"      an installation is there after {time.monotonic() - opening:.0f} s")
            campaign.summary = summary
            while time.monotonic() < until:
                fault = FAULTS[order.next(ground.name)]
                try:
                    tell(str(done := campaign.strike(fault)))
                except (AssertionError, OSError, RuntimeError, httpx2.HTTPError, psutil.Error, subprocess.SubprocessError) as error:
                    summary.last.append(Problem(Kind.LOSS, f"the installation was broken by {fault.name}: {error}"))
                    tell(f"      the installation was broken by {fault.name}: {error}")
                    tell(repetition(seed, fault.name, ground))
                    break
                if done.problems:
                    tell(repetition(seed, fault.name, ground))
                if done.is_broken:
                    break
    return summary


def repetition(seed: str, fault: str, ground: Ground) -> str:
    return f"      again: FAULTS_SEED={seed} FAULTS_ONLY={fault} FAULTS_DATABASES={ground.name} make test-faults"


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    seed = os.environ.get("FAULTS_SEED") or str(random.SystemRandom().randrange(10**6))
    minutes = float(os.environ.get("FAULTS_MINUTES") or 10)
    wanted = (os.environ.get("FAULTS_ONLY") or "").split()
    names = [name for name in GROUNDS if name in (os.environ.get("FAULTS_DATABASES") or name).split()]

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    tell(f"FAULTS_SEED={seed} FAULTS_MINUTES={minutes:g}")
    with _grounds(names) as grounds:
        fitting = {ground.name: [name for name in that_fit(ground) if not wanted or name in wanted] for ground in grounds}
        tried = [ground for ground in grounds if fitting[ground.name]]
        order, whole = Order(seed, fitting), Summary()
        for ground in tried:
            tell(f"on {ground.name}")
            summary = run(ground, seed, minutes / len(tried), order, tell)
            for problem in summary.last:
                tell(f"    {problem.kind}: {problem.what}")
            tell(f"{ground.name}: {summary}")
            whole.add(summary)
    if order.unmet:
        tell(f"the time was too short for: {', '.join(sorted(order.unmet))}")
    tell(f"all in all: {whole}")
    return 1 if whole.problems or not whole.rounds else 0


def _leave(number: int, _: FrameType | None) -> NoReturn:
    """As at the end, so that nothing stays behind."""
    sys.exit(128 + number)


@contextmanager
def _grounds(names: Sequence[str]) -> Iterator[list[Ground]]:
    with ExitStack() as stack:
        postgres = None
        if set(names) - {"sqlite"}:
            postgres = stack.enter_context(postgres_server(small_disk=SMALL_DISK if can_mount() else None, **DURABLE))
        engine = stack.enter_context(_engine())
        yield [
            Ground(
                "sqlite" if name == "sqlite" else "postgresql",
                postgres if name != "sqlite" else None,
                has_extras=True,
                engine=engine,
                has_replica=name == "replicas",
            )
            for name in names
        ]


@contextmanager
def _engine() -> Iterator[ScanEngine | None]:
    """With FAULTS_ENGINE=docker, an engine of one's own that has the scan's program in an image."""
    if os.environ.get("FAULTS_ENGINE") != "docker":
        yield None
        return
    with (
        private_engine.engine_that_restarts() as process,
        closing(docker.DockerClient(f"unix://{process.socket_file}", timeout=120)) as client,
    ):
        base = private_engine.build_scan_image(process.socket_file, environment.default_dir())
        here = private_engine.PrivateEngine(process.socket_file, client, base, process.popen.pid)
        yield ScanEngine(process, client, here.image_of(PROGRAM.read_text()))


if __name__ == "__main__":
    sys.exit(main())
