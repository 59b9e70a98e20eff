"""The PDF: set from data by a process of its own, bounded, the same for the same report; hostile text is text in it, too."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator

import pytest
from pypdf import PdfReader

from apviso.protocol.reports import ReportDocument
from apviso.server.errors import Overloaded
from apviso.server.typesetting import process
from apviso.server.typesetting.process import Typesetter, TypesettingFailed
from tests.server.reports.recorded import text_of
from tests.unit.reported import document, finding, retest

MARKUP = '#panic("evaluated") #read("/etc/passwd") $x^2$ *bold* = head \\ @ref <label> [] {} // /* "quoted" #import "@preview/x:1.0.0": *'


def _source(report: ReportDocument) -> bytes:
    return report.model_dump_json(by_alias=True).encode()


def _squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.fixture
def typesetter() -> Iterator[Typesetter]:
    typesetter = Typesetter(is_wanted=True)
    yield typesetter
    typesetter.close()


async def test_pdf_shows_markup_of_the_typesetter_as_text(typesetter: Typesetter) -> None:
    made = await typesetter.typeset(_source(document(text=MARKUP)))

    shown = _squeezed(text_of(made))
    assert _squeezed(MARKUP) in shown
    assert b"/JavaScript" not in made
    assert b"/URI" not in made


async def test_pdf_of_the_same_report_is_the_same_and_of_a_partial_scan_says_so(typesetter: Typesetter) -> None:
    source = _source(document("partial", findings=[]))

    first, second = await typesetter.typeset(source), await typesetter.typeset(source)

    assert first == second
    assert "The scan is partial" in text_of(first)
    assert "which proves nothing" in text_of(first)


async def test_pdf_of_a_retest_says_how_each_finding_ended_and_what_the_comparison_comes_to(typesetter: Typesetter) -> None:
    markup = '#panic("evaluated") *bold*'
    made = await typesetter.typeset(_source(document(findings=[], remarks=["A remark."], retested=retest(markup))))

    shown = _squeezed(text_of(made))
    assert [_squeezed(f"{outcome}, because {markup}") in shown for outcome in ("fixed", "still_open", "could_not_check")] == [True] * 3
    assert shown.partition("Comparedwiththescanbefore")[2].startswith("Sincethescanbefore:")


async def test_typesetter_with_too_many_inside_turns_others_away(typesetter: Typesetter) -> None:
    source = _source(document(findings=[]))

    ends = await asyncio.gather(*(typesetter.typeset(source) for _ in range(process.MOST_INSIDE + 1)), return_exceptions=True)

    assert [type(end) for end in ends if not isinstance(end, bytes)] == [Overloaded]


async def test_document_that_is_none_is_a_failure_and_no_file(typesetter: Typesetter) -> None:
    with pytest.raises(TypesettingFailed):
        await typesetter.typeset(b'{"asOf": "2026-05-03T09:15:32Z"}')


async def test_typesetting_that_takes_too_long_is_ended(typesetter: Typesetter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SECONDS", 0.05)
    monkeypatch.setattr(process, "_PROGRAM", ("-c", "import time; time.sleep(600)"))

    with pytest.raises(TypesettingFailed, match=r"within 0\.05 s"):
        await typesetter.typeset(b"{}")


async def test_typesetter_that_is_closed_ends_what_runs_and_begins_nothing(typesetter: Typesetter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_PROGRAM", ("-c", "import sys; sys.stdin.read(); import time; time.sleep(600)"))
    started = asyncio.ensure_future(typesetter.typeset(b"{}"))
    await asyncio.wait({started}, timeout=0.2)

    typesetter.close()

    with pytest.raises(TypesettingFailed):
        await started
    with pytest.raises(TypesettingFailed):
        await typesetter.typeset(b"{}")


async def test_typesetter_gets_nothing_of_the_environment(typesetter: Typesetter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APVISO_DATABASE_URL", "secret")
    told = "import json, os, sys; sys.stdout.write('%PDF-' + json.dumps(dict(os.environ)))"
    monkeypatch.setattr(process, "_PROGRAM", ("-c", told))

    seen = json.loads((await typesetter.typeset(b"")).removeprefix(b"%PDF-"))

    assert not [name for name in seen if name.startswith("APVISO")]


async def test_long_report_is_typeset_whole(typesetter: Typesetter) -> None:
    found = [finding(str(number), "word " * 100) for number in range(60)]

    made = await typesetter.typeset(_source(document(findings=found)))

    assert len(PdfReader(io.BytesIO(made)).pages) > 20
