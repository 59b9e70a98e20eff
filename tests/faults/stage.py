"""A whole installation that things can be done to: control plane, database, two runners behind faulty wires, and targets that watch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.end_to_end.installation import FINAL, HTTP, START_SECONDS, Installation, Process, free_port, wait_for
from tests.faults.background import Background
from tests.faults.ground import Ground, ScanEngine
from tests.faults.issuer import Issuer
from tests.faults.proxy import Wire
from tests.faults.watched_site import WatchedSite
from tests.support.postgres import PostgresServer

# The contract's timers, about 25 times faster; what depends on each other does as before: 2 * lease + kill_within < stale_end_after.
TIMERS = {
    "HEARTBEAT_INTERVAL": 1, "HEARTBEAT_LATE_AFTER": 4, "OFFLINE_AFTER": 6, "RESTART_AMNESTY": 5, "LEASE": 4, "RENEW_AFTER": 1,
    "KILL_WITHIN": 4, "STALE_END_AFTER": 13, "ASSIGNED_SILENT_AFTER": 6, "CANCEL_FORCED_AFTER": 8, "FIRST_RETRY_AFTER": 1,
    "NEXT_RETRY_AFTER": 2, "PREFER_OTHER_RUNNER_FOR": 3,
}  # fmt: skip
SETTINGS = {
    **{f"APVISO_TIMERS__{name}": f"PT{seconds}S" for name, seconds in TIMERS.items()},
    "APVISO_TIMERS__DISK_FLOOR_BYTES": "0",
    "APVISO_REQUESTS_PER_MINUTE": "100000",
    "APVISO_DAEMON_REQUESTS_PER_MINUTE": "100000",
    "APVISO_HOUSEKEEPING_INTERVAL_SECONDS": "0.5",
}
PROGRAM = Path(__file__).with_name("scan_program.py")
AS_PROCESS: dict[str, object] = {"engine": "process", "scan_command": [sys.executable, "-I", str(PROGRAM)]}
MOVED_CLOCK = Path(__file__).with_name("moved_clock.c")
SMALL_DISK = "32m"
# How long anything may take that is waited for, on whatever machine: what is looked at is whether it comes, and how soon is told.
PATIENCE_SECONDS = 300.0


def clock_library(folder: Path) -> Path:
    """What shows a process another time of day."""
    library = folder / "moved_clock.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(MOVED_CLOCK), "-ldl"], check=True, timeout=60)
    return library


def clock_of(library: Path | None, file: Path) -> dict[str, str]:
    """The variables that let a process read its time of day as `file` moves it."""
    if library is None:
        return {}
    move_clock(file, 0)
    return {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(file)}


def move_clock(file: Path, seconds: int) -> None:
    """In place: the processes hold the file in their memory."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, seconds.to_bytes(8, sys.byteorder, signed=True), 0)
    finally:
        os.close(descriptor)


def signal_each(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


@dataclass
class RunnerHost:
    """A machine with a runner on it. `clock` is the file that its runner's time of day comes from, `engine` what its scans run in."""

    name: str
    installation: Installation
    wire: Wire
    clock: Path
    environment: dict[str, str]
    engine: dict[str, object]
    workspace: Path = field(init=False)
    runner_id: str = field(init=False)
    process: Process = field(init=False)
    # When on the monotonic clock a token became worthless.
    revoked: dict[bytes, float] = field(default_factory=dict)
    _enrolled: int = 0

    def enroll(self, *, on_small_disk: bool) -> None:
        """Get an identity, the first or a new one."""
        self._enrolled += 1
        name = f"{self.name}-{self._enrolled}"
        self.workspace = self.installation.folder / name
        if on_small_disk:
            self.installation.stack.enter_context(small_disk(self.workspace))
        self.installation.enroll(name)
        settings = {**self.engine, "min_free_disk_bytes": 0, "shutdown_grace_seconds": 0.5}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        (self.workspace / "runner.toml").write_text(text)
        self.runner_id = json.loads((self.workspace / "identity.json").read_text())["runner_id"]

    @property
    def token(self) -> bytes:
        return str(json.loads((self.workspace / "identity.json").read_text())["token"]).encode()

    def start(self) -> None:
        told = {"APVISO_API_URL": self.wire.url, **self.environment}
        self.process = self.installation.start_runner(self.workspace.name, self.workspace, **told)

    def family(self) -> list[psutil.Process]:
        """The runner, then whatever it has started."""
        try:
            runner = psutil.Process(self.process.popen.pid)
            return [runner, *runner.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def children(self, word: str) -> list[psutil.Process]:
        """Those of the runner's own whose command holds this word."""
        found = []
        for process in self.family()[1:]:
            try:
                if any(word in part for part in process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own that is soon full."""
    folder.mkdir(parents=True, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=700", "tmpfs", str(folder)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, timeout=10)


@dataclass
class Stage:
    """`scans` are all that were started, with their target; `forgotten` those that a restored control plane cannot know."""

    installation: Installation
    database: PostgresServer | None
    hosts: list[RunnerHost]
    sites: list[WatchedSite]
    targets: list[str]
    has_small_disks: bool
    clock: Path
    server: Process
    engine: ScanEngine | None
    # One more on the same database, with its port.
    replica: tuple[Process, int] | None = None
    scans: dict[str, WatchedSite] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    backup: Path = field(init=False)
    _backed_up_at: float = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.backup = self.installation.folder / "backup"

    @property
    def folder(self) -> Path:
        return self.installation.folder

    # ---- people

    def start_scans(self) -> list[str]:
        """A scan of each target."""
        started = []
        for target, site in zip(self.targets, self.sites, strict=True):
            scan_id = self.installation.start_scan(target, whenUnavailable="queue")
            self.scans[scan_id] = site
            started.append(scan_id)
        return started

    def ask(self, path: str) -> dict[str, Any] | None:
        """An answer of the public API; None where there is none just now."""
        headers = {"X-API-Key": self.installation.api_key}
        try:
            answer = HTTP.get(f"{self.installation.url}/api/v1{path}", headers=headers, timeout=5)
        except httpx2.TransportError:
            return None
        if answer.status_code >= 500:
            return None
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        told: dict[str, Any] = answer.json()
        return told

    def scan(self, scan_id: str) -> dict[str, Any] | None:
        told = self.ask(f"/scans/{scan_id}")
        return told["scan"] if told else None

    def holder(self, scan_id: str) -> RunnerHost | None:
        seen = self.scan(scan_id)
        return next((host for host in self.hosts if seen and host.runner_id == seen["runnerId"]), None)

    def until_ended(self, scan_ids: list[str], seconds: float) -> dict[str, dict[str, Any]]:
        """The scans that have ended, waited for until all have or the time is over."""
        deadline, ended = time.monotonic() + seconds, dict[str, dict[str, Any]]()
        while len(ended) < len(scan_ids) and time.monotonic() < deadline:
            for scan_id in scan_ids:
                seen = self.scan(scan_id) if scan_id not in ended else None
                if seen is not None and seen["status"] in FINAL:
                    ended[scan_id] = seen
            time.sleep(0.2)
        return ended

    def until_online(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Until every host's runner may be given work."""

        def look() -> bool:
            told = self.ask("/runners")
            runners = {runner["id"]: runner for runner in told["runners"]} if told else {}
            return all(host.runner_id in runners and runners[host.runner_id]["acceptingJobs"] for host in self.hosts)

        wait_for(look, seconds, f"both runners accept; {self.ask('/runners')}")

    # ---- the database

    def take_backup(self) -> None:
        """A copy of the database as it is now."""
        self._backed_up_at = time.monotonic()
        if self.database is not None:
            self._postgres("pg_dump", "--format=custom", f"--file={self.backup}", "control_plane")
            return
        with closing(sqlite3.connect(self._sqlite)) as live, closing(sqlite3.connect(self.backup)) as copy:
            live.backup(copy)

    def until_backup_is_old(self, seconds: float) -> None:
        time.sleep(max(0.0, self._backed_up_at + seconds - time.monotonic()))

    def restore_backup(self) -> None:
        """The control plane must not run. Scans that it knew are forgotten."""
        if self.database is not None:
            self.database.execute("DROP DATABASE control_plane WITH (FORCE)", "CREATE DATABASE control_plane TEMPLATE template0")
            self._postgres("pg_restore", "--dbname=control_plane", str(self.backup))
        else:
            for ending in ("-wal", "-shm"):
                self._sqlite.with_name(f"{self._sqlite.name}{ending}").unlink(missing_ok=True)
            shutil.copyfile(self.backup, self._sqlite)
        self.forgotten |= set(self.scans)

    @property
    def _sqlite(self) -> Path:
        return self.folder / "data" / "apviso.db"

    def _postgres(self, program: str, *words: str) -> None:
        assert self.database is not None
        command = [str(self.database.programs / program), f"--host={self.database.folder}", "--username=tests", *words]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    @contextmanager
    def locked_database(self) -> Iterator[None]:
        """Somebody else holds the file of SQLite."""
        with closing(sqlite3.connect(self._sqlite, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    # ---- processes

    @property
    def servers(self) -> list[Process]:
        return [self.server, *([self.replica[0]] if self.replica else [])]

    def restart_server(self) -> None:
        self.server = self.installation.start_server()

    def start_server(self, which: int) -> None:
        """The first or the second, after it has ended."""
        if which == 0:
            self.restart_server()
        elif self.replica is not None:
            self.replica = (start_replica(self.installation, self.replica[1]), self.replica[1])


def start_replica(installation: Installation, port: int) -> Process:
    """Another server on the same database, with the same folder, as two hosts would share it."""
    words = ("server", "--port", str(port), "--data-dir", str(installation.folder / "data"))
    server = installation.spawn("replica", *words, environment=installation.settings)
    wait_for(lambda: installation.is_ready(port), START_SECONDS, f"the second server is ready; its log: {server.log.read_text()[-2000:]}")
    return server


@contextmanager
def opened(folder: Path, ground: Ground, seed: str) -> Iterator[Stage]:
    """An installation at rest."""
    database, engine = ground.postgres if ground.is_postgresql else None, ground.engine
    with Background() as background, ExitStack() as stack:
        settings = dict(SETTINGS)
        clock, library = folder / "server.clock", clock_library(folder) if ground.has_clocks else None
        settings |= clock_of(library, clock)
        if database is not None:
            settings["APVISO_DATABASE_URL"] = database.url("control_plane")
        installation = stack.enter_context(_installation(folder, settings))
        own, foreign = Issuer(folder, "own"), Issuer(folder, "foreign")
        if ground.has_small_disks:
            installation.stack.enter_context(small_disk(folder / "data"))
        installation.bootstrap()
        server = installation.start_server()
        second = _second(installation) if ground.has_replica else None
        ports = [installation.port, *([second[1]] if second else [])]
        hosts = []
        for name in ("north", "south"):
            wire = Wire(background, ports, own, foreign, f"{seed}.{name}")
            stack.callback(wire.close)
            of_host = folder / f"{name}.clock"
            environment = {"APVISO_CUSTOM_CA_PATH": str(own.authority), **clock_of(library, of_host)}
            hosts.append(RunnerHost(name, installation, wire, of_host, environment, engine.settings if engine else AS_PROCESS))
        sites = [WatchedSite(background) for _ in hosts]
        for site in sites:
            stack.callback(site.close)
        targets = [installation.add_target(site.url(ground.requests)) for site in sites]
        for host in hosts:
            host.enroll(on_small_disk=ground.has_small_disks)
            host.start()
        made = Stage(installation, database, hosts, sites, targets, ground.has_small_disks, clock, server, engine, second)
        made.until_online()
        # What is written on the way to the end must not be taken for what the test did.
        stack.callback(installation.stack.close)
        yield made


def _second(installation: Installation) -> tuple[Process, int]:
    port = free_port()
    return start_replica(installation, port), port


@contextmanager
def _installation(folder: Path, settings: dict[str, str]) -> Iterator[Installation]:
    installation = Installation(folder, settings)
    with installation.stack:
        yield installation
