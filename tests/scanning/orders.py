"""Orders and limits for tests."""

from __future__ import annotations

from pathlib import Path

from apviso.protocol.findings import Finding
from apviso.protocol.limits import PRESETS, Limits
from apviso.protocol.states import ModelPreset, Visibility
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import TargetId
from apviso.scanning.order import ScanOrder


def target_at(url: str) -> JobTarget:
    return JobTarget(id=TargetId("target-1"), domain="127.0.0.1", display_url=url, scan_url=url, visibility=Visibility.LOCALHOST)


def limits_of(preset: ModelPreset = ModelPreset.LOW, **changes: object) -> Limits:
    return PRESETS[preset].model_copy(update=changes)


def order_for(
    url: str,
    *,
    preset: ModelPreset = ModelPreset.LOW,
    limits: Limits | None = None,
    retest: list[Finding] | None = None,
    proxy_url: str = "http://127.0.0.1:9",
    work_dir: Path = Path("/nowhere/work"),
    scanners_dir: Path = Path("/nowhere/scanners"),
) -> ScanOrder:
    return ScanOrder(
        scan_id="scan-1",
        attempt=1,
        model_preset=preset,
        is_retest=retest is not None,
        retest_findings=retest or [],
        target=target_at(url),
        limits=limits or limits_of(preset),
        proxy_url=proxy_url,
        work_dir=str(work_dir),
        scanners_dir=str(scanners_dir),
    )
