"""Pages that say what code says are made from the code, or at least name everything that is in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import jsonschema_rs
import pytest

from apviso.protocol import limits, states
from apviso.protocol.findings import ReportedFinding
from apviso.protocol.limits import Limits
from apviso.protocol.readiness import CheckCode
from apviso.protocol.scan_events import CoverageLine, Found, Log, Phase, Progress, Stats
from apviso.protocol.targets import JobTarget
from apviso.protocol.timers import Timers
from apviso.protocol.wire import Wire
from apviso.runner.config import ENVIRONMENT, Config
from apviso.runner.conformance.checks import CHECKS
from apviso.runner.output import parse_line
from apviso.scanning.order import ScanOrder
from apviso.scanning.verdict import ScanExit
from apviso.server.errors import every_refusal
from apviso.server.openapi import document
from apviso.server.problem_advice import ADVICE
from apviso.server.scans.lifecycle import Due
from apviso.server.settings import Settings
from tests.scanning.orders import order_for
from tests.support.control_plane import described
from tests.upkeep.sources import ROOT, modules, read

REFERENCE = ROOT / "docs/reference"
GENERATED = (
    "access.md", "api.md", "cli.md", "metrics.md", "problem-codes.md", "server-settings.md",
    "scan-line.schema.json", "scan-order.schema.json",
)  # fmt: skip


def unnamed(page: str, words: Iterable[str]) -> set[str]:
    """Those of `words` that the page does not write as code."""
    return set(words) - set(re.findall(r"`([^`\n]+)`", page))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated pages as they would be made now."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, "docs/make_reference.py", str(folder)], cwd=ROOT, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("name", GENERATED)
def test_generated_page_as_kept_is_up_to_date(fresh: Path, name: str) -> None:
    kept = (REFERENCE / name).read_text(encoding="utf-8")

    assert kept == (fresh / name).read_text(encoding="utf-8"), "run `make docs`"


def test_generated_pages_are_all_compared_with_the_kept_ones(fresh: Path) -> None:
    made = {page.name for page in fresh.iterdir()}

    assert made == set(GENERATED)


def test_api_page_names_every_operation() -> None:
    told = document(described())

    operations = {f"{method.upper()} {path}" for path, item in told["paths"].items() for method in item}

    assert operations - {line.removeprefix("### ") for line in read("docs/reference/api.md").splitlines()} == set()


def test_problem_page_names_every_code_and_no_other() -> None:
    headings = re.findall(r"^## (\S+)$", read("docs/reference/problem-codes.md"), re.MULTILINE)

    assert set(headings) == {kind.code for kind in every_refusal()} == set(ADVICE)


def test_settings_page_names_every_setting_of_the_server() -> None:
    variables = {f"APVISO_{name.upper()}" for name in Settings.model_fields if name != "timers"}
    variables |= {f"APVISO_TIMERS__{name.upper()}" for name in Timers.model_fields}

    assert unnamed(read("docs/reference/server-settings.md"), variables) == set()


def test_defaults_on_the_settings_page_are_taken_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = re.findall(r"^\| `(APVISO_\w+)` \| `([^`]+)` \|", read("docs/reference/server-settings.md"), re.MULTILINE)

    for variable, default in rows:
        monkeypatch.setenv(variable, default)

    assert Settings() == Settings.model_construct(timers=Timers())


def test_settings_page_names_every_setting_of_the_runner() -> None:
    page = read("docs/reference/runner-settings.md")

    assert unnamed(page, [*Config.model_fields, *ENVIRONMENT.values()]) == set()


def fields(*models: type[Wire]) -> set[str]:
    """As they are written outside."""
    return {str(field.alias) for model in models for field in model.model_fields.values()}


def test_contract_page_names_every_field_of_order_and_lines() -> None:
    page = read("docs/reference/scan-image.md")

    assert unnamed(page, fields(ScanOrder, JobTarget, Limits)) == set()
    assert unnamed(page, fields(Log, Phase, Progress, Stats, Found, CoverageLine, ReportedFinding)) == set()


def test_contract_page_gives_every_exit_code_and_every_check() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", read("docs/reference/scan-image.md"), re.MULTILINE))

    assert {str(int(code)) for code in ScanExit} | set(CHECKS) <= rows


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ({"type": "log", "message": "begun"}, True),
        ({"type": "finding", "finding": {"title": "A flaw", "severity": "low", "later": 1}}, True),
        ({"type": "coverage", "complete": True}, True),
        ({"message": "no kind"}, False),
        ({"type": "note", "message": "unknown kind"}, False),
        ({"type": "progress", "percent": 101}, False),
        ({"type": "finding", "finding": {"title": "A flaw", "severity": "grave"}}, False),
        ({"type": "coverage", "reasons": []}, False),
    ],
)
def test_schema_of_a_line_says_what_a_runner_says(line: dict[str, object], fits: bool) -> None:
    schema = json.loads(read("docs/reference/scan-line.schema.json"))

    assert (parse_line(json.dumps(line).encode()) is not None) == fits
    assert jsonschema_rs.is_valid(schema, line) == fits


def test_schema_of_the_order_takes_an_order_and_no_half_one() -> None:
    schema = json.loads(read("docs/reference/scan-order.schema.json"))
    order = order_for("http://127.0.0.1:1/").model_dump(mode="json", by_alias=True)

    assert jsonschema_rs.is_valid(schema, order | {"fromALaterVersion": 1})
    assert not jsonschema_rs.is_valid(schema, {name: value for name, value in order.items() if name != "target"})


def test_metrics_page_names_every_metric_of_the_one_module_that_has_them() -> None:
    named = {module.place: set(re.findall(r'"(apviso_\w+)",', module.text)) for module in modules() if module.place.startswith("server/")}

    assert {place for place, names in named.items() if names} == {"server/metrics.py"}
    assert unnamed(read("docs/reference/metrics.md").replace("_info`", "`"), named["server/metrics.py"]) == set()


@pytest.mark.parametrize(
    "closed",
    [
        states.ScanStatus,
        states.EndReason,
        states.RunnerStatus,
        states.AdminState,
        states.Fault,
        states.Silence,
        states.LicenseState,
        CheckCode,
        Due,
    ],
)
def test_states_page_names_every_member_of(closed: type[StrEnum]) -> None:
    assert unnamed(read("docs/job-states.md"), closed) == set()


def test_states_page_gives_every_timer_with_its_default() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", read("docs/job-states.md"), re.MULTILINE))

    missing = {(name, written(field.default)) for name, field in Timers.model_fields.items()} - rows

    assert missing == set()


def written(default: object) -> str:
    """A default as people read it: `24 h`, `90 s`, `5 GiB`."""
    seconds = getattr(default, "total_seconds", lambda: None)()
    if seconds is not None:
        return f"{seconds / 3600:g} h" if seconds % 3600 == 0 else f"{seconds:g} s"
    assert isinstance(default, int)
    return f"{default // 1024**3} GiB" if default >= 1024**3 else f"{default // 1024**2} MiB" if default >= 1024**2 else str(default)


def test_states_page_marks_the_end_reasons_that_are_retried() -> None:
    marked = set(re.findall(r"^\| `(\w+)` \| yes \|", read("docs/job-states.md"), re.MULTILINE))

    assert marked == states.RETRIED_REASONS


def test_states_page_marks_the_faults_that_block() -> None:
    marked = set(re.findall(r"^\| `(\w+)` \| blocks \|", read("docs/job-states.md"), re.MULTILINE))

    assert marked == states.BLOCKING_FAULTS


def test_states_page_gives_the_budget_of_every_preset() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d ]+) s \| ([\d ]+) \| ([\d ]+) \|$", read("docs/job-states.md"), re.MULTILINE)

    told = {name: tuple(int(number.replace(" ", "")) for number in numbers) for name, *numbers in rows}

    assert told == {
        preset.value: (one.max_run_seconds, one.max_requests, int(one.requests_per_second)) for preset, one in limits.PRESETS.items()
    }


def test_safety_inequality_holds_for_the_defaults() -> None:
    timers = Timers()

    margin = timers.stale_end_after - timers.self_stop_after - timers.kill_within

    assert margin.total_seconds() >= 30


def test_word_that_a_page_lacks_is_found() -> None:
    assert unnamed("It is `online` or offline.", ["online", "offline"]) == {"offline"}
