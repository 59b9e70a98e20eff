from __future__ import annotations

import re
from pathlib import Path

import pytest

from apviso.protocol.states import ModelPreset
from apviso.scanning.guard import Refusal
from apviso.scanning.plans import PLANS
from apviso.scanning.verdict import ScanExit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/how-a-scan-looks.md").read_text()


def test_page_lists_every_exit_code_with_its_number() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| `(\w+)`", PAGE, re.MULTILINE))

    assert rows == {str(int(code)): code.name for code in ScanExit}


@pytest.mark.parametrize("reason", list(Refusal))
def test_page_explains_every_refusal(reason: Refusal) -> None:
    assert f"\n| `{reason}` |" in PAGE


@pytest.mark.parametrize("preset", list(ModelPreset))
def test_page_names_every_module_of_every_preset(preset: ModelPreset) -> None:
    table = PAGE.partition("| preset |")[2].partition("\n\n")[0]

    assert f"`{preset}`" in table
    assert {name for name in PLANS[preset].crawl.attacks if f"`{name}`" not in table} == set()


def test_page_explains_every_code_of_coverage_that_the_scan_can_give() -> None:
    folder = ROOT / "src/apviso/scanning"
    files = [*(folder / name for name in ("verdict.py", "scan.py", "last_look.py")), *(folder / "adapters").glob("*.py")]
    sources = "\n".join(path.read_text() for path in files)
    codes = set(re.findall(r'"([a-z_]+): [A-Z{]', sources))

    assert len(codes) > 12
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
