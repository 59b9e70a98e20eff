"""The process engine itself: limits, families, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from apviso.protocol.daemon import Job
from apviso.runner.engines import EngineFailed, Line, Prepared, RunningScan, ScanExit, ScanLabels, Spoken
from apviso.runner.engines.process import ADDRESS_SPACE_BYTES, CPU_SECONDS_PER_RUN_SECOND, OPEN_FILES, ProcessEngine
from apviso.runner.engines.process_group import end_marked, is_same
from apviso.runner.records import ProcessMark
from apviso.scanning.order import ScanOrder
from tests.runner.conftest import alive
from tests.runner.fake_control_plane import job_body

LABELS = ScanLabels("runner-1", "job-1", 1)


def order(work_dir: Path) -> ScanOrder:
    job = Job.model_validate(job_body())
    return ScanOrder(
        scan_id=job.scan.id,
        attempt=1,
        model_preset=job.scan.model_preset,
        target=job.target,
        limits=job.limits,
        proxy_url="http://127.0.0.1:9",
        work_dir=str(work_dir),
        scanners_dir="/nowhere",
    )


async def start(program: str, work_dir: Path) -> tuple[RunningScan, list[Line]]:
    lines: list[Line] = []
    engine = ProcessEngine((sys.executable, "-c", program))
    return await engine.start(Prepared(), order(work_dir), LABELS, work_dir, lines.append), lines


def texts(lines: list[Line]) -> list[str]:
    return [line.text.decode() for line in lines if isinstance(line, Spoken)]


async def test_scan_has_its_limits_before_it_gets_its_order(tmp_path: Path) -> None:
    program = (
        "import json, resource, sys\norder = json.loads(sys.stdin.readline())\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[1], resource.getrlimit(resource.RLIMIT_NOFILE)[1], "
        "resource.getrlimit(resource.RLIMIT_CPU)[1], resource.getrlimit(resource.RLIMIT_CORE)[1], order['limits']['maxRunSeconds'])"
    )
    scan, lines = await start(program, tmp_path)

    assert await asyncio.wait_for(scan.wait(), 20) == ScanExit(0)
    assert texts(lines) == [f"{ADDRESS_SPACE_BYTES} {OPEN_FILES} {60 * CPU_SECONDS_PER_RUN_SECOND} 0 60"]


async def test_scan_leads_a_session_of_its_own(tmp_path: Path) -> None:
    scan, lines = await start("import os; print(os.getpid() == os.getsid(0) == os.getpgid(0)); input()", tmp_path)

    await asyncio.wait_for(scan.wait(), 20)

    assert texts(lines) == ["True"]


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)])
async def test_scan_exit_is_told_as_it_was(program: str, code: int, tmp_path: Path) -> None:
    scan, _ = await start(program, tmp_path)

    assert (await asyncio.wait_for(scan.wait(), 20)).code == code


async def test_stop_ends_a_scan_that_ignores_signals_and_a_child_that_left_its_group(tmp_path: Path) -> None:
    program = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
        "time.sleep(300)'], start_new_session=True, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(os.getpid(), child.pid, flush=True)\ntime.sleep(300)\n"
    )
    heard = asyncio.Event()
    lines: list[Line] = []

    def take(line: Line) -> None:
        lines.append(line)
        heard.set()

    scan = await ProcessEngine((sys.executable, "-c", program)).start(Prepared(), order(tmp_path), LABELS, tmp_path, take)
    await asyncio.wait_for(heard.wait(), 20)
    pids = [int(pid) for pid in texts(lines)[0].split()]

    await scan.stop(0.3)

    assert alive(pids) == []
    assert (await asyncio.wait_for(scan.wait(), 5)).code == -signal.SIGKILL


async def test_stop_lets_a_scan_that_heeds_the_signal_end_by_itself(tmp_path: Path) -> None:
    program = (
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(3)))\n"
        "print('ready', flush=True)\ntime.sleep(300)"
    )
    ready = asyncio.Event()
    lines: list[Line] = []

    def take(line: Line) -> None:
        lines.append(line)
        ready.set()

    scan = await ProcessEngine((sys.executable, "-c", program)).start(Prepared(), order(tmp_path), LABELS, tmp_path, take)
    await asyncio.wait_for(ready.wait(), 20)

    await scan.stop(10)

    assert await asyncio.wait_for(scan.wait(), 5) == ScanExit(3)
    assert texts(lines) == ["ready", "bye"]


async def test_scan_that_left_a_child_with_its_output_open_is_over_all_the_same(tmp_path: Path) -> None:
    program = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\nprint(child.pid)"
    scan, lines = await start(program, tmp_path)

    exit_ = await asyncio.wait_for(scan.wait(), 20)

    assert exit_ == ScanExit(0)
    assert alive([int(texts(lines)[0])]) == []


async def test_program_that_cannot_be_run_is_a_failure_of_the_engine(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    text.chmod(0o644)
    absent, unfit = ProcessEngine(("/no/such/program",)), ProcessEngine((str(text),))

    for engine in (absent, unfit):
        with pytest.raises(EngineFailed):
            await engine.start(Prepared(), order(tmp_path), LABELS, tmp_path, lambda line: None)

    assert await absent.problem() is not None
    assert await unfit.problem() is not None


def test_engine_says_its_limits_aloud() -> None:
    facts = ProcessEngine().describe()

    assert facts["isolation"] == "process"
    limits = str(facts["limits"])
    assert "No network namespace" in limits
    assert "other local accounts" in limits


def test_mark_of_a_process_is_not_that_of_another_with_its_number() -> None:
    mine = ProcessMark.of(os.getpid(), "scan")

    assert mine is not None
    assert is_same(mine)
    assert not is_same(mine.model_copy(update={"started": mine.started - 5}))


async def test_marked_process_that_is_long_gone_is_not_looked_for() -> None:
    gone = next(pid for pid in range(2**22 - 1, 1, -1) if not psutil.pid_exists(pid))

    assert await end_marked(ProcessMark(pid=gone, started=1.0, role="scan")) is False
