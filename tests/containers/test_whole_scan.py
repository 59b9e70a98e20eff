"""The real scan in a real container: scan image, guard, shop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from apviso.demo.truth import compare
from apviso.protocol.scan_events import CoverageLine, Found, output_line
from apviso.runner.engines import Line, Prepared, ScanLabels, Spoken
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.scanning.guard import rules_for, start_guard
from apviso.scanning.verdict import ScanExit
from tests.containers.private_engine import PrivateEngine
from tests.scanning.orders import limits_of, order_for, target_at
from tests.scanning.test_scan import shop

pytestmark = pytest.mark.slow
LABELS = ScanLabels("runner-1", "job-1", 1)


async def test_scan_in_a_container_finds_what_it_finds_as_a_process(
    engine_here: PrivateEngine, scan_engine: ContainerEngine, scanners_dir: Path, tmp_path: Path
) -> None:
    lines: list[Line] = []
    limits = limits_of(requests_per_second=200)
    async with shop() as url, asyncio.timeout(250):
        guard = await start_guard(rules_for("scan-1", target_at(url), limits, {}, None), scanners_dir, tmp_path, 300)
        try:
            prepared = await scan_engine.prepare(None)
            order = order_for(url, limits=limits, proxy_url=guard.proxy_url)
            running = await scan_engine.start(prepared, order, LABELS, tmp_path, lines.append)
            ended = await running.wait()
        finally:
            counters = await guard.close()

    said = [output_line.validate_json(line.text) for line in lines if isinstance(line, Spoken) and not line.error]
    compared = compare([line.finding for line in said if isinstance(line, Found)])
    assert (ended.code, compared.missed, compared.false_alarms) == (ScanExit.LOOKED, (), ())
    assert prepared == Prepared(engine_here.image, engine_here.image)
    assert isinstance(said[-1], CoverageLine)
    assert said[-1].complete
    assert counters.requests > 0
    assert engine_here.containers() == []
