"""Texts of a scanned site in each format: they stay text, and only a complete scan without findings is clean."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from apviso.server.findings.export import as_text
from apviso.server.reports import as_csv, as_html, as_markdown, as_sarif
from apviso.server.reports.as_markdown import fenced, plain
from apviso.server.reports.formats import WRITERS, Format, file_name
from apviso.server.reports.wording import visible
from tests.unit.reported import document, finding, retest

_TEXT = st.text(max_size=200)
HOSTILE = (
    "</td></pre><script>alert(1)</script><img src=x onerror=alert(1)> ![x](http://evil.example/) [go](javascript:alert(1)) "
    "`code` | **bold** {{ 7*7 }} {% raw %} {0} #eval(\"1\") $x$ \x1b[31m \u202e\n# heading\n```\n~~~\n=cmd|' /C calc'!A0"
)  # fmt: skip


@given(text=_TEXT)
@example("<script>")
@example("](http://x)\n# a")
def test_plain_text_is_one_line_in_which_every_mark_is_escaped(text: str) -> None:
    shown = plain(text)

    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_{}\[\]()<>#+\-.!|~&$:@/]", shown)


@given(text=_TEXT)
def test_plain_text_of_ordinary_characters_reads_the_same(text: str) -> None:
    ordinary = "".join(sign for sign in text if sign.isalnum() or sign in "<*`[]#")

    assert re.sub(r"\\(.)", r"\1", plain(ordinary)) == ordinary


@given(text=_TEXT)
@example("```\n# out")
@example("`````")
def test_fenced_text_cannot_close_its_fence(text: str) -> None:
    first, *inner, last = fenced(text).split("\n")

    fence = first.removesuffix("text")
    assert set(fence) == {"`"}
    assert last == fence
    assert all(len(line) - len(line.lstrip("`")) < len(fence) or line.strip("`") for line in inner)


@pytest.mark.parametrize("text", ["a\x1bb", "a\u202eb", "a\x00b", "a\u2066b", "a\x9bb", "a\u2028b", "a\u061cb", "a\ufeffb"])
def test_control_characters_are_shown_as_numbers(text: str) -> None:
    assert visible(text) == f"a\\u{ord(text[1]):04x}b"
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1"])
def test_cell_that_would_be_a_formula_is_text(text: str) -> None:
    assert as_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "https://shop.example.com/", "'=1"])
def test_cell_that_is_no_formula_is_left_alone(text: str) -> None:
    assert as_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("[go](http://evil.example/)", r"\[go\](http://evil.example/)"), ("{0}", "{{0}}"), (r"a\[b](1)", r"a\\\[b\](1)"), ("a.b", "a.b")],
)
def test_message_of_sarif_has_neither_link_nor_placeholder(text: str, shown: str) -> None:
    assert as_sarif.message(text) == shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://shop.example.com/a/?b=1#c", "shop.example.com/a"),
        ("https://shop.example.com/a b<script>", "shop.example.com/a%20b%3Cscript%3E"),
        ("https://shop.example.com/100%/%zz/%41[0]", "shop.example.com/100%25/%25zz/%41%5B0%5D"),
        ("https://shop.example.com//../%2e%2E/a:b", "shop.example.com/a:b"),
        ("http://me:secret@shop.example.com:8443/x", "shop.example.com_8443/x"),
        ("http://[::1]:3000/x", "1_3000/x"),
        ("javascript:alert(1)", "shop.example.com"),
        ("", "shop.example.com"),
        ("http://[broken/", "shop.example.com"),
    ],
)
def test_address_of_sarif_is_a_path_without_a_scheme(url: str, expected: str) -> None:
    assert as_sarif.address(url, "https://shop.example.com/") == expected


@given(text=_TEXT)
def test_address_of_sarif_from_any_text_has_only_signs_of_addresses(text: str) -> None:
    made = as_sarif.address(f"http://shop.example.com/{text}", "http://shop.example.com/")

    assert re.fullmatch(r"(?:[A-Za-z0-9\-._~:/@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", made)
    assert urlsplit(made).scheme == ""
    assert made.split("/")[0] == "shop.example.com"
    assert not {"", ".", ".."} & set(made.split("/"))


@pytest.mark.parametrize("domain", ["shop.example.com:8443", '"; filename="x.exe', "../../etc/passwd", "\r\nSet-Cookie: a", "äöü", ""])
def test_file_name_of_any_target_holds_nothing_but_plain_signs(domain: str) -> None:
    assert re.fullmatch(r"apviso-report-[A-Za-z0-9-]+-scan-1\.pdf", file_name(domain, document().scan.id, Format.PDF))


# ---- whole documents


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_texts_in_html_add_no_element_and_are_all_there() -> None:
    harmless, hostile = (_Page(as_html.render(document(text=text, retested=retest(text)))) for text in ("harmless", HOSTILE))

    assert hostile.tags == harmless.tags
    assert hostile.attributes == harmless.attributes
    assert not hostile.tags & {"script", "a", "img", "iframe", "link", "form", "object"}
    assert "<script>alert(1)</script>" in "".join(hostile.texts)
    assert "{{ 7*7 }}" in "".join(hostile.texts)


def test_html_loads_nothing_and_says_so_in_itself() -> None:
    page = as_html.render(document())

    assert "default-src &#39;none&#39;" in page
    assert "http-equiv" in page
    assert "sandbox" in as_html.policy()
    assert not re.search(r"(?:src|href)=|url\(|@import", page)


def test_hostile_texts_in_markdown_add_no_element() -> None:
    def tags(text: str) -> list[str]:
        rendered = (
            MarkdownIt("commonmark", {"html": True}).enable("table").render(as_markdown.render(document(text=text, retested=retest(text))))
        )
        return [tag for tag in re.findall(r"<(/?[a-z0-9]+)", rendered) if tag not in ("br", "p", "/p")]

    assert tags(HOSTILE) == tags("harmless")


def test_hostile_texts_in_csv_stay_in_their_cells() -> None:
    written = as_csv.render(document(text=HOSTILE, retested=retest(HOSTILE)))
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    found = [row for row in rows if row["record"] == "finding"]

    assert all(None not in row and None not in row.values() for row in rows)
    assert found[0]["evidence"] == visible(HOSTILE)
    assert not [value for row in rows for value in row.values() if value.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("format_", WRITERS, ids=str)
def test_no_format_carries_control_characters(format_: Format) -> None:
    written = WRITERS[format_](document(text=HOSTILE, retested=retest(HOSTILE)))

    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", written)
    assert "\\u202e" in written or "\\\\u202e" in written


@pytest.mark.parametrize("format_", WRITERS, ids=str)
@pytest.mark.parametrize("verdict", ["partial", "failed", "cancelled", "preflight_failed"])
def test_scan_that_did_not_look_at_everything_is_clean_in_no_format(format_: Format, verdict: str) -> None:
    written = WRITERS[format_](document(verdict, findings=[]))

    assert verdict.replace("_", r"\_" if format_ is Format.MARKDOWN else "_") in written
    assert "It found nothing" not in written
    if format_ in (Format.JSON, Format.SARIF):
        assert '"clean": false' in written


@pytest.mark.parametrize("format_", WRITERS, ids=str)
def test_report_of_a_retest_says_of_each_finding_how_it_ended_and_why(format_: Format) -> None:
    written = WRITERS[format_](document(findings=[], retested=retest())).replace("\\", "")

    for outcome in ("fixed", "still_open", "could_not_check"):
        shown = outcome if format_ in (Format.CSV, Format.JSON, Format.SARIF) else outcome.replace("_", " ")
        assert written.index(shown) >= 0
        assert f"{outcome}, because harmless" in written


def test_banner_of_html_is_green_only_where_the_scan_is_clean() -> None:
    def banner(**told: Any) -> str:
        (found,) = re.findall(r'<p class="(banner[^"]*)">', as_html.render(document(**told)))
        return str(found)

    assert (banner(findings=[]), banner(), banner(findings=[], retested=retest())) == ("banner clean", "banner", "banner")


def test_retest_is_of_another_category_in_sarif_and_tells_what_it_could_not_check() -> None:
    whole, again = (json.loads(as_sarif.render(document(retested=ended)))["runs"][0] for ended in (None, retest()))

    assert whole["automationDetails"]["id"] == "apviso/shop.example.com/scan-1"
    assert again["automationDetails"]["id"] == "apviso/shop.example.com/retest/scan-1"
    notes = {note["descriptor"]["id"]: note for note in again["invocations"][0]["toolExecutionNotifications"]}
    assert notes["retest-could-not-check"]["level"] == "warning"
    assert notes["retest-could-not-check"]["message"]["text"].endswith("could_not_check, because harmless")


def test_run_of_sarif_is_successful_only_where_the_scan_was_complete() -> None:
    def invocation(verdict: str) -> tuple[bool, list[str]]:
        (told,) = json.loads(as_sarif.render(document(verdict)))["runs"][0]["invocations"]
        return told["executionSuccessful"], [note["level"] for note in told["toolExecutionNotifications"]]

    assert invocation("complete") == (True, ["note", "note"])
    assert invocation("partial") == (False, ["error", "warning", "note", "note", "note"])
    assert invocation("failed")[0] is False


@pytest.mark.parametrize(
    ("severity", "level"), [("critical", "error"), ("high", "error"), ("medium", "warning"), ("low", "note"), ("info", "note")]
)
def test_level_of_sarif_follows_the_severity(severity: str, level: str) -> None:
    run = json.loads(as_sarif.render(document(findings=[finding(severity=severity)])))["runs"][0]

    assert run["results"][0]["level"] == level
    assert run["tool"]["driver"]["rules"][0]["properties"]["security-severity"] == "9.8"


def test_findings_of_one_weakness_share_a_rule_in_sarif() -> None:
    found = [finding("a", cwe_id=79), finding("b", cwe_id=79), finding("c", cwe_id=None), finding("d", cwe_id=None, title="Other")]

    run = json.loads(as_sarif.render(document(findings=found)))["runs"][0]

    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == 3
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [result["ruleId"] for result in run["results"]]
    assert run["results"][0]["partialFingerprints"] == {"apvisoFinding/v1": "f-a"}
