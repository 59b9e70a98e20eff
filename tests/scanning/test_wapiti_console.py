from __future__ import annotations

import pytest

from apviso.protocol.scan_events import Phase, Progress
from apviso.scanning.adapters.wapiti_console import Console


def test_console_tells_phases_and_progress_that_never_falls() -> None:
    console = Console(attacks=2)
    lines = [
        "[*] Wapiti found 2 URLs and forms during the scan", "[*] Launching module sql", "[+] GET http://h/a (0)", "[+] GET http://h/b (1)",
        "[*] Launching module xss", "[+] GET http://h/a (0)", "[*] Launching module csp", "[*] Generating report...",
    ]  # fmt: skip

    heard = [event for line in lines for event in console.hear(line)]

    assert [event.name for event in heard if isinstance(event, Phase)] == ["attack sql", "attack xss", "attack csp", "report"]
    reached = [event.percent for event in heard if isinstance(event, Progress)]
    assert reached == sorted(reached)
    assert reached[0] == 15
    assert reached[-1] == 95


@pytest.mark.parametrize("line", [f"[*] Launching module {'a' * 5_000}", f"[*] Wapiti found {'9' * 5_000} URLs and forms"])
def test_console_reads_a_line_that_a_target_made_endless(line: str) -> None:
    console = Console(attacks=2)

    assert [event.name for event in console.hear(line) if isinstance(event, Phase)] in ([], ["attack " + 50 * "a"])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("Max attack time was reached for module sql, stopping.", "time_spent"),
        ("Max scan time was reached, stopping.", "crawl_stopped"),
        ("[!] Module xss seems broken and will be skipped", "module_failed"),
        ("[!] Unable to find a module named ldap", "module_failed"),
        ("An exception occurred in module file", "module_failed"),
    ],
)
def test_console_notes_what_the_scanner_could_not_do_once(line: str, code: str) -> None:
    console = Console(attacks=2)

    heard = [*console.hear(line), *console.hear(line)]

    assert heard == []
    assert [gap.partition(":")[0] for gap in console.gaps] == [code]


def test_console_says_nothing_of_other_lines() -> None:
    console = Console(attacks=2)

    heard = [
        event for line in ("", "---", "Evil request:", "    GET /?x=1 HTTP/1.1", "[+] GET http://h/ (0)") for event in console.hear(line)
    ]

    assert heard == []
    assert console.gaps == []
