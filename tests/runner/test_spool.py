"""Events on disk: numbers without gaps, whole after a crash, bounded, never forgotten before they are acknowledged."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.scan_events import Found, Log, LogEvent, Phase, Stats
from apviso.protocol.states import Severity
from apviso.runner import spool as spool_module
from apviso.runner.spool import Spool, SpoolFull

AT = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
FINDING = Found(finding=ReportedFinding(title="Flaw", severity=Severity.HIGH))


def filled(folder: Path, count: int, **bounds: int) -> Spool:
    folder.mkdir(exist_ok=True)
    spool = Spool(folder, **bounds)
    for number in range(1, count + 1):
        spool.append(Log(message=f"line {number}"), AT)
    return spool


async def everything(spool: Spool, after: int = 0) -> list[str]:
    await spool.sync()
    return [event.message if isinstance(event, LogEvent) else event.type for event in spool.read(after, 10_000, 10**9)]


def gaps(spool: Spool) -> list[tuple[int, str]]:
    """How many are missing, and why, of each event that says so."""
    kept = [event for event in spool.read(0, 10_000, 10**9) if isinstance(event, LogEvent)]
    return [(event.missing.count, event.missing.cause) for event in kept if event.missing is not None]


async def test_spool_numbers_events_from_one_without_gaps(tmp_path: Path) -> None:
    spool = filled(tmp_path, 5)
    await spool.sync()

    events = spool.read(0, 100, 10**6)

    assert [event.seq for event in events] == [1, 2, 3, 4, 5]


async def test_spool_before_it_is_synced_gives_nothing_to_send(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    unsynced = spool.read(0, 100, 10**6)

    synced = await spool.sync()

    assert (unsynced, synced) == ([], 3)
    assert len(spool.read(0, 100, 10**6)) == 3


async def test_spool_reads_batches_within_both_bounds(tmp_path: Path) -> None:
    spool = filled(tmp_path, 10)
    await spool.sync()

    by_count = spool.read(2, 3, 10**6)
    by_bytes = spool.read(2, 100, 1)

    assert [event.seq for event in by_count] == [3, 4, 5]
    assert [event.seq for event in by_bytes] == [3]


async def test_spool_opened_again_goes_on_with_the_next_number(tmp_path: Path) -> None:
    filled(tmp_path, 4).close()

    again = Spool(tmp_path)
    again.append(Log(message="after"), AT)

    assert await everything(again) == ["line 1", "line 2", "line 3", "line 4", "after"]


@pytest.mark.parametrize("torn", [b'{"type":"log","seq":5,"at":"2026', b'{"type":"log"}\n', b"\x00\x00\x00\x00\n", b"\n"])
async def test_spool_with_a_torn_end_drops_it_and_uses_its_number_again(torn: bytes, tmp_path: Path) -> None:
    filled(tmp_path, 4).close()
    [path] = tmp_path.glob("*.ndjson")
    with path.open("ab") as file:
        file.write(torn)

    again = Spool(tmp_path)
    again.append(Log(message="line 5"), AT)

    assert again.last_seq == 5
    assert await everything(again) == [f"line {number}" for number in range(1, 6)]


async def test_spool_of_a_killed_process_holds_all_that_it_said_it_had_written(tmp_path: Path) -> None:
    program = (
        "import os, sys, signal; from datetime import datetime, UTC; from pathlib import Path\n"
        "from apviso.runner.spool import Spool; from apviso.protocol.scan_events import Log\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for n in range(1, 100000):\n"
        "    spool.append(Log(message=f'line {n}'), datetime.now(UTC)); print(n, flush=True)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    said = [int(await process.stdout.readline()) for _ in range(200)]
    process.kill()
    rest = (await process.stdout.read()).split()
    await process.wait()

    spool = Spool(tmp_path)

    promised = max([*said, *map(int, rest[:-1])])
    assert spool.last_seq >= promised
    assert (await everything(spool))[:promised] == [f"line {number}" for number in range(1, promised + 1)]


async def test_spool_drops_only_whole_acknowledged_files_and_keeps_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 500)
    spool = filled(tmp_path, 50)
    await spool.sync()
    files = len(list(tmp_path.glob("*.ndjson")))

    spool.drop_through(25)
    half = spool.first_kept
    spool.drop_through(50)
    spool.close()

    assert files > 5
    assert 1 < half <= 26
    assert len(list(tmp_path.glob("*.ndjson"))) == 1
    assert Spool(tmp_path).last_seq == 50


async def test_spool_that_is_full_drops_logs_counts_them_and_still_takes_findings(tmp_path: Path) -> None:
    spool = filled(tmp_path, 0, max_bytes=4000, reserved_bytes=2000)
    kept = [spool.append(Log(message=f"line {number}"), AT) for number in range(100)]
    dropped = kept.count(None)

    spool.append(Phase(name="attack"), AT)
    spool.append(FINDING, AT)

    assert 0 < dropped < 100
    said = await everything(spool)
    assert said[-3:] == [f"{dropped} log lines are missing here: the runner's spool was full", "phase", "finding"]
    assert spool.last_seq == len(said)


async def test_spool_with_room_again_says_how_many_lines_are_missing_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 300)
    spool = filled(tmp_path, 0, max_bytes=4000, reserved_bytes=2000)
    written = [spool.append(Log(message=f"line {number}"), AT) for number in range(40)]
    await spool.sync()
    spool.drop_through(spool.last_seq)

    spool.append(Log(message="after"), AT)

    assert (await everything(spool))[-2:] == [f"{written.count(None)} log lines are missing here: the runner's spool was full", "after"]
    assert gaps(spool) == [(written.count(None), "spool_full")]


def test_spool_without_room_for_a_finding_says_so(tmp_path: Path) -> None:
    spool = filled(tmp_path, 0, max_bytes=300, reserved_bytes=0)
    spool.append(FINDING, AT)

    with pytest.raises(SpoolFull):
        spool.append(FINDING, AT)


def test_spool_that_is_full_at_the_very_end_still_notes_the_gap(tmp_path: Path) -> None:
    spool = filled(tmp_path, 0, max_bytes=4000, reserved_bytes=2000)
    for number in range(40):
        spool.append(Log(message=f"line {number}"), AT)
    before = spool.last_seq

    spool.append(Stats(requests=1), AT)
    spool.note_dropped(AT)
    spool.note_dropped(AT)

    assert spool.last_seq == before + 1


async def test_spool_replaces_one_event_and_goes_on(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    await spool.sync()

    spool.replace(spool.read(1, 1, 10**6)[0], "not accepted")
    spool.append(Log(message="line 4"), AT)

    assert await everything(spool) == ["line 1", "not accepted", "line 3", "line 4"]
    assert gaps(spool) == [(1, "refused")]


async def test_spool_with_a_damaged_event_tells_all_others_and_that_one_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 200)
    filled(tmp_path, 6).close()
    first = min(tmp_path.glob("*.ndjson"))
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join([lines[0], b"\x00" * 10 + b"\n", *lines[2:]]))

    spool = Spool(tmp_path)

    told = await everything(spool)
    assert len(told) == 6
    assert (told[0], told[2]) == ("line 1", "line 3")
    assert "damaged" in told[1]
    assert gaps(spool) == [(1, "damaged_on_disk")]
