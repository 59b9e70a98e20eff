"""The import contracts hold, cover every rule module, and can be broken."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.upkeep.sources import ROOT, SOURCE, modules

CONFIG = ROOT / ".importlinter"
CALLS_ITSELF_PURE = re.compile(r'\A"""[^"]*\bPure\b')
# What a command does not need, it does not load: the first answer of `apviso --help` depends on it.
HEAVY = ("fastapi", "sqlalchemy", "uvicorn", "httpx2", "cryptography", "alembic", "pydantic_settings")


def lint(source: Path, config: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--config", config],
        cwd=source,
        env={"PYTHONPATH": str(source), "PATH": "", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_contracts_on_the_product_are_kept() -> None:
    ended = lint(SOURCE, CONFIG)

    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("protocol/states.py", "import apviso.scanning"),
        ("runner/lease.py", "import fastapi"),
        ("runner/lease.py", "from apviso.server import errors"),
        ("scanning/verdict.py", "import sqlalchemy"),
        ("scanning/wapiti.py", "import mitmproxy.http"),
        ("server/app.py", "import apviso.scanning.wapiti"),
        ("server/runners/presence.py", "import time"),
        ("server/runners/routes.py", "from apviso.server.scans import ending"),
        ("server/scans/lifecycle.py", "from apviso.server.scans import store"),
        ("server/audit/store.py", "from apviso.server import access"),
        ("server/news.py", '"""A module that no layer names."""'),
        ("demo/pages.py", "import apviso.protocol.states"),
        ("cli/runner.py", "from apviso.server.scans import store"),
    ],
)
def test_forbidden_import_breaks_a_contract(tmp_path: Path, place: str, line: str) -> None:
    shutil.copytree(SOURCE / "apviso", tmp_path / "apviso", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "apviso" / place).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")

    ended = lint(tmp_path, CONFIG)

    assert ended.returncode != 0
    assert "BROKEN" in ended.stdout, ended.stdout + ended.stderr


def test_modules_that_call_themselves_pure_are_all_under_the_contract() -> None:
    config = configparser.ConfigParser()
    config.read(CONFIG, encoding="utf-8")
    covered = set(config["importlinter:contract:rules"]["source_modules"].split())

    pure = {
        "apviso." + module.place.removesuffix(".py").replace("/", ".")
        for module in modules()
        if module.place.startswith("server/") and CALLS_ITSELF_PURE.match(module.text)
    }

    assert pure - covered == set()


def test_command_line_before_a_command_runs_has_loaded_nothing_heavy() -> None:
    code = f"import sys, apviso.cli; print(*[name for name in {HEAVY!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert loaded.split() == []
