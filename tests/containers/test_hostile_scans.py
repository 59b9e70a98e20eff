"""Scan images that mean harm, from the image to the API: each gets its right end, and costs nobody else anything."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import BaseModel

from apviso.runner.ration import MOST_FINDINGS, MOST_LINES
from tests.containers.private_engine import PrivateEngine
from tests.end_to_end.conftest import QUICK
from tests.end_to_end.installation import FINAL, Installation, Process, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PROGRAM = Path(__file__).with_name("hostile_scan.py")
# More than one of them at a time would leave two processors no room for the honest scan that runs beside each.
AT_A_TIME = 3
RUN_SECONDS = 45
FEW_FILES = 256
SETTINGS = QUICK | {
    "APVISO_TIMERS__RUN_TIMEOUT": f"PT{RUN_SECONDS}S",
    # Hostile scans are the fault of their images, and the runner is to go through all of them.
    "APVISO_TIMERS__FAST_FAILURES_LIMIT": "1000",
    "APVISO_DAEMON_REQUESTS_PER_MINUTE": "100000",
    # Two processors for five containers: late is what comes later than that.
    "APVISO_TIMERS__HEARTBEAT_LATE_AFTER": "PT10S",
    "APVISO_TIMERS__OFFLINE_AFTER": "PT15S",
    "APVISO_TIMERS__LEASE": "PT10S",
    "APVISO_TIMERS__STALE_END_AFTER": "PT30S",
}
MOST_DATABASE_BYTES = 64 * 1024**2
MOST_RUNNER_BYTES = 512 * 1024**2
NOT_FIT = ("failed", "scanner_failed")

# Deed, how its scan ends, a piece of the sentence that tells why. The long ones come first, so that the others run beside them.
ENDS: Sequence[tuple[str, tuple[str, str], str]] = (
    ("never_ends", ("failed", "run_timeout"), "did not end within its time"),
    ("tiny_logs", ("completed", "completed"), ""),
    ("fork_bomb", NOT_FIT, "without one permitted request"),
    ("full_disk", ("failed", "disk_full"), "no room left in its own folder"),
    ("many_findings", ("completed", "completed"), ""),
    ("many_sockets", NOT_FIT, "without one permitted request"),
    ("memory_bomb", ("failed", "out_of_memory"), "memory ran out"),
    ("endless_log", NOT_FIT, "more output than it may"),
    ("tiny_lines", NOT_FIT, "more output than it may"),
    ("endless_errors", NOT_FIT, "more output than it may"),
    ("garbage", NOT_FIT, "without saying what it covered"),
    ("long_lines", ("completed", "completed"), ""),
    ("broken_text", ("completed", "completed"), ""),
    ("escapes", ("completed", "completed"), ""),
    ("forged", ("completed", "completed"), ""),
    ("nothing", NOT_FIT, "without saying what it covered"),
    ("liar", NOT_FIT, "without one permitted request"),
)
CANCELLED = "never_ends/cancelled"


@contextmanager
def application() -> Iterator[int]:
    """Answers everything with a word; its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Outcome(BaseModel):
    """What was seen when all had ended. `scans`, `logs` and `findings` are by deed; `honest` are the scans that ran beside them."""

    scans: dict[str, dict[str, Any]] = {}
    logs: dict[str, list[dict[str, Any]]] = {}
    findings: dict[str, dict[str, Any]] = {}
    honest: list[dict[str, Any]] = []
    runner: dict[str, Any] = {}
    history: dict[str, Any] = {}
    runner_log: list[str] = []
    runner_is_alive: bool = False
    most_runner_bytes: int = 0
    control_plane_is_ready: bool = False
    database_bytes: int = 0
    containers: list[str] = []
    processes: list[list[str]] = []
    files: list[str] = []
    shown_log: str = ""

    def messages(self, deed: str) -> str:
        return "\n".join(str(event.get("message")) for event in self.logs[deed])


@dataclass
class Ordeal:
    """One runner through all of it."""

    installation: Installation
    engine: PrivateEngine
    runner: Process
    workspace: Path
    outcome: Outcome = field(default_factory=Outcome)
    _applications: ExitStack = field(default_factory=ExitStack)
    _going: dict[str, str] = field(default_factory=dict)
    _honest_now: str | None = None

    def start(self, deed: str) -> str:
        url = f"http://127.0.0.1:{self._applications.enter_context(application())}/{deed}"
        return self.installation.start_scan(self.installation.add_target(url), modelPreset="low", whenUnavailable="queue")

    def run(self) -> Outcome:
        waiting = [deed for deed, _, _ in ENDS]
        self._going[CANCELLED] = self.start("never_ends")
        with self._applications:
            wait_for(lambda: self._step(waiting), 300, f"all have ended; {self._going} have not")
        return self._look()

    def _step(self, waiting: list[str]) -> bool:
        while waiting and len(self._going) < AT_A_TIME:
            deed = waiting.pop(0)
            self._going[deed] = self.start(deed)
        self._keep_an_honest_one(bool(waiting or self._going))
        for deed, scan_id in list(self._going.items()):
            scan = self.installation.scan(scan_id)
            if deed == CANCELLED and scan["status"] == "running" and scan["cancelRequestedAt"] is None:
                self._cancel_when_it_waits(scan_id)
            if scan["status"] in FINAL:
                self.outcome.scans[deed] = scan
                del self._going[deed]
        used = psutil.Process(self.runner.popen.pid).memory_info().rss
        self.outcome.most_runner_bytes = max(self.outcome.most_runner_bytes, used)
        return not (waiting or self._going or self._honest_now)

    def _cancel_when_it_waits(self, scan_id: str) -> None:
        if any(event.get("message") == "waiting" for event in self.installation.log(scan_id)):
            self.installation.call("POST", f"/scans/{scan_id}/cancel")

    def _keep_an_honest_one(self, is_needed: bool) -> None:
        scan = self.installation.scan(self._honest_now) if self._honest_now else None
        if scan is not None and scan["status"] in FINAL:
            self.outcome.honest.append(scan)
            self._honest_now = None
        if self._honest_now is None and is_needed:
            self._honest_now = self.start("honest")

    def _look(self) -> Outcome:
        seen, made = self.outcome, self.installation
        for deed, scan in seen.scans.items():
            seen.logs[deed] = made.log(scan["id"])
            seen.findings[deed] = made.call("GET", f"/scans/{scan['id']}/findings?limit=1")
        # What a claim holds is given back a moment after its end was told.
        wait_for(lambda: made.call("GET", "/runners")["runners"][0]["currentJobs"] == 0, 30, "the runner reports no jobs")
        (seen.runner,) = made.call("GET", "/runners")["runners"]
        seen.history = made.call("GET", f"/runners/{seen.runner['id']}/history")
        seen.runner_log, seen.runner_is_alive = self.runner.log.read_text().splitlines(), self.runner.popen.poll() is None
        seen.control_plane_is_ready = made.is_ready()
        seen.database_bytes = sum(path.stat().st_size for path in (made.folder / "data").glob("apviso.db*"))
        seen.containers = self.engine.containers()
        seen.processes = [process.cmdline() for process in psutil.Process(self.runner.popen.pid).children(recursive=True)]
        seen.files = [str(path) for place in ("jobs", "spool") for path in (self.workspace / place).iterdir()]
        (job,) = (path.stem for path in (self.workspace / "logs" / "jobs").glob("*") if "owned" in path.read_text())
        seen.shown_log = made.run("logs", job, workspace=self.workspace).stdout
        return seen


@contextmanager
def few_files() -> Iterator[None]:
    """What is started inside may open few files at first, as on many a host."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def undergo(folder: Path, engine_here: PrivateEngine) -> Outcome:
    made = Installation(folder, SETTINGS)
    with made.stack:
        made.start()
        workspace = made.folder / "north"
        workspace.mkdir(mode=0o700)
        settings = {
            "engine": "docker", "engine_socket": str(engine_here.socket_file),
            "scan_image": engine_here.image_of(PROGRAM.read_text()), "concurrency": AT_A_TIME + 1,
        }  # fmt: skip
        (workspace / "runner.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        made.enroll("north")
        with few_files():
            runner = made.start_runner("north", workspace)
        return Ordeal(made, engine_here, runner, workspace).run()


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Outcome:
    """Undergone once, however many processes share the tests: it fills the machine, and two at a time would measure each other."""
    shared = tmp_path_factory.getbasetemp()
    kept = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "hostile-scans.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            outcome = undergo(tmp_path_factory.mktemp("hostile"), request.getfixturevalue("engine_here"))
            kept.write_text(outcome.model_dump_json())
    return Outcome.model_validate_json(kept.read_bytes())


@pytest.mark.parametrize(("deed", "end", "sentence"), ENDS, ids=[deed for deed, _, _ in ENDS])
def test_hostile_scan_ends_with_its_reason_and_a_sentence(ordeal: Outcome, deed: str, end: tuple[str, str], sentence: str) -> None:
    scan = ordeal.scans[deed]

    assert (scan["status"], scan["endReason"]) == end, scan
    assert sentence in (scan["statusReason"] or "")
    assert (scan["status"] == "completed") or (scan["statusReason"] and not scan["coverage"]["complete"]), scan


def test_scan_deaf_to_signals_is_cancelled_when_a_person_asks(ordeal: Outcome) -> None:
    scan = ordeal.scans[CANCELLED]

    assert (scan["status"], scan["endReason"]) == ("cancelled", "canceled_by_user"), scan


def test_honest_scans_beside_them_look_at_everything(ordeal: Outcome) -> None:
    ends = [(scan["status"], scan["coverage"]["complete"], scan["attempt"], scan["coverage"]["reasons"]) for scan in ordeal.honest]
    alone = [deed for deed, scan in ordeal.scans.items() if not any(_overlap(scan, other) for other in ordeal.honest)]

    assert ends == [("completed", True, 1, [])] * len(ends)
    assert alone == []


def test_runner_of_hostile_scans_stays_online_and_small(ordeal: Outcome) -> None:
    intervals = ordeal.history["intervals"]

    assert ordeal.runner_is_alive
    assert (ordeal.runner["status"], ordeal.runner["acceptingJobs"]) == ("online", True), ordeal.runner
    # Its first call may be a claim: until its first heartbeat it is degraded then, before any of the scans.
    from_its_first = [interval["status"] for interval in intervals if interval["reasons"] not in (["never_contacted"], ["heartbeat_late"])]
    assert from_its_first == ["online"], intervals
    assert intervals[-1]["status"] == "online"
    assert ordeal.history["heartbeatGaps"] == []
    assert ordeal.most_runner_bytes < MOST_RUNNER_BYTES


def test_runner_of_hostile_scans_has_no_error_in_its_log(ordeal: Outcome) -> None:
    errors = [line for line in ordeal.runner_log if '"level": "error"' in line]

    assert ordeal.runner_log
    assert errors == []


def test_no_attempt_of_hostile_scans_lost_its_lease(ordeal: Outcome) -> None:
    attempts = {deed: scan["attempt"] for deed, scan in ordeal.scans.items() if scan["attempt"] != 1}

    # A full disk is tried again: on another runner there may be room.
    assert attempts == {"full_disk": 3}


def test_control_plane_answers_and_its_database_stays_small(ordeal: Outcome) -> None:
    assert ordeal.control_plane_is_ready
    assert 0 < ordeal.database_bytes < MOST_DATABASE_BYTES


def test_nothing_of_hostile_scans_is_left_on_the_host(ordeal: Outcome) -> None:
    assert (ordeal.containers, ordeal.processes, ordeal.files) == ([], [], [])


def test_scan_with_lines_that_were_lost_is_not_a_full_look(ordeal: Outcome) -> None:
    coverage = ordeal.scans["long_lines"]["coverage"]

    assert not coverage["complete"]
    assert coverage["reasons"][0].startswith("output_lost: 3 ")
    assert "bytes was dropped: too long" in ordeal.messages("long_lines")


def test_flood_of_findings_is_cut_and_told_in_the_coverage(ordeal: Outcome) -> None:
    scan = ordeal.scans["many_findings"]

    assert not scan["coverage"]["complete"]
    assert scan["coverage"]["reasons"][0].startswith("output_lost: ")
    assert ordeal.findings["many_findings"]["total"] == scan["findingCounts"]["high"] == MOST_FINDINGS


def test_flood_of_log_lines_is_cut_with_a_word_about_it(ordeal: Outcome) -> None:
    assert MOST_LINES <= len(ordeal.logs["tiny_logs"]) < MOST_LINES + 100
    assert "log lines are left out" in ordeal.messages("tiny_logs")


def test_forged_identities_are_ignored_in_every_field(ordeal: Outcome) -> None:
    scan, events = ordeal.scans["forged"], ordeal.logs["forged"]
    (finding,) = ordeal.findings["forged"]["findings"]

    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["attempt"] for event in events} == {1}
    assert all(event["at"].startswith("20") for event in events)
    assert "finish" in ordeal.messages("forged")
    assert (finding["scanId"], finding["userStatus"], len(finding["id"])) == (scan["id"], "open", 36)
    assert finding["fingerprint"] != "f"


def test_escapes_for_terminals_are_harmless_where_they_are_shown(ordeal: Outcome) -> None:
    (finding,) = ordeal.findings["escapes"]["findings"]

    assert finding["title"].isprintable()
    assert "owned" in ordeal.shown_log
    assert all(sign.isprintable() or sign == "\n" for sign in ordeal.shown_log)


def _overlap(first: dict[str, Any], second: dict[str, Any]) -> bool:
    begins, ends = ([datetime.fromisoformat(scan[name]) for scan in (first, second)] for name in ("startedAt", "finishedAt"))
    return max(begins) <= min(ends)
