from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from apviso.demo.server import NotLoopback, open_shop
from apviso.demo.truth import FLAWS, FLAWS_OF_API, Flaw, compare, silent_detectors
from tests.scanning.shops import Fetch, fetcher


def test_careless_shop_has_each_of_its_flaws(careless: Fetch) -> None:
    assert "sqlite3.OperationalError" in careless("/book?id=1'").body
    assert careless("/author?name=x'%20OR%20'1'='1").body.count("<li>") == 4
    assert careless("/download?file=../../etc/passwd").body.startswith("root:x:0:0")
    assert "<script>alert(1)</script>" in careless("/search?q=<script>alert(1)</script>".replace("<", "%3C").replace(">", "%3E")).body
    assert careless("/go?to=https://elsewhere.example/").headers["location"] == "https://elsewhere.example/"
    assert careless("/greeting?lang=en%0d%0ax-planted:%20yes").headers["x-planted"] == "yes"
    assert "httponly" not in careless("/").headers["set-cookie"].lower()
    assert "content-security-policy" not in careless("/").headers


def test_hardened_shop_has_none_of_them(hardened: Fetch) -> None:
    assert hardened("/book?id=1'").status == 200
    assert hardened("/author?name=x'%20OR%20'1'='1").body.count("<li>") == 0
    assert hardened("/download?file=../../etc/passwd").status == 404
    assert "<script>" not in hardened("/search?q=%3Cscript%3E").body
    assert hardened("/go?to=https://elsewhere.example/").headers["location"] == "/"
    assert "x-planted" not in hardened("/greeting?lang=en%0d%0ax-planted:%20yes").headers
    assert {"httponly", "secure"} <= {part.strip().lower() for part in hardened("/").headers["set-cookie"].split(";")}
    assert hardened("/").headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/", "/books", "/book?id=1", "/search?q=tides", "/download?file=terms.txt", "/go?to=/books", "/contact"])
def test_pages_are_the_same_in_both_shops(path: str, careless: Fetch, hardened: Fetch) -> None:
    assert careless(path).status == hardened(path).status
    assert careless(path).status in (200, 302)


@pytest.mark.parametrize("name", ["/etc/hostname", "../../../proc/self/environ", "/shop", "..", "%00", ""])
def test_traversal_reaches_no_file_of_the_host(name: str, careless: Fetch) -> None:
    assert careless(f"/download?file={name}").status == 404


def test_injected_query_that_would_run_for_ever_is_cut_short(careless: Fetch) -> None:
    endless = "1%20AND%20(WITH%20RECURSIVE%20n(x)%20AS%20(SELECT%201%20UNION%20ALL%20SELECT%20x%20FROM%20n)%20SELECT%20count(*)%20FROM%20n)"

    page = careless(f"/book?id={endless}")

    assert (page.status, "interrupted" in page.body) == (500, True)


def test_injected_statement_cannot_change_the_shop(careless: Fetch) -> None:
    assert careless("/book?id=1;DELETE%20FROM%20books").status == 500

    assert careless("/books").body.count("<li>") == 4


def test_visits_count_what_a_scan_must_not_touch(careless: Fetch) -> None:
    careless("/logout")
    careless("/reset")
    careless("/reset")

    counted = json.loads(careless("/visits").body)
    assert (counted["/logout"], counted["/reset"]) == (1, 2)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_shop_beyond_loopback_is_refused(host: str) -> None:
    with pytest.raises(NotLoopback):
        open_shop(host, 0, hardened=False)


@pytest.mark.parametrize("request_to_end", [signal.SIGTERM, signal.SIGINT])
def test_shop_as_a_process_names_its_port_and_ends_on_request(request_to_end: signal.Signals) -> None:
    command = f"trap '' INT && exec '{sys.executable}' -m apviso.demo --port 0"
    # As a shell starts what it puts into the background: SIGINT is ignored until the program says otherwise.
    process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["listening"]

    status = fetcher(port)("/").status
    process.send_signal(request_to_end)

    assert status == 200
    assert process.wait(timeout=20) == 0
    process.stdout.close()


def test_shop_as_a_process_refuses_another_address() -> None:
    ended = subprocess.run([sys.executable, "-m", "apviso.demo", "--host", "0.0.0.0"], capture_output=True, text=True, timeout=30)

    assert ended.returncode == 64
    assert "loopback only" in ended.stderr


@dataclass(frozen=True)
class _Reported:
    cwe_id: int | None
    url: str
    parameter: str | None
    detectors: list[str] = field(default_factory=list)


def test_compare_tells_found_missed_and_false_alarms() -> None:
    reported = [
        _Reported(89, "http://127.0.0.1:1/book?id=%27", "id"),
        _Reported(22, "http://127.0.0.1:1/search", "q"),
        _Reported(755, "http://127.0.0.1:1/search", "q"),
    ]

    comparison = compare(reported)

    assert [flaw.path for flaw in comparison.found] == ["/book"]
    assert len(comparison.missed) == len(FLAWS) - 1
    assert comparison.false_alarms == ((22, "/search", "q"),)


def test_compare_for_the_hardened_twin_takes_every_injection_for_a_false_alarm() -> None:
    planted: tuple[Flaw, ...] = ()

    assert compare([_Reported(89, "http://h/book", "id")], planted).false_alarms == ((89, "/book", "id"),)


def test_compare_of_an_operation_reads_its_path_with_braces_and_without() -> None:
    asked = "http://127.0.0.1:1/api/books/{bookId}"
    encoded = asked.replace("{", "%7B").replace("}", "%7D")

    comparisons = [compare([_Reported(89, url, "bookId")], FLAWS_OF_API) for url in (asked, encoded)]

    assert [[flaw.parameter for flaw in comparison.found] for comparison in comparisons] == [["bookId"], ["bookId"]]
    assert [comparison.false_alarms for comparison in comparisons] == [(), ()]


def test_detector_that_ran_and_is_not_named_is_told() -> None:
    reported = [_Reported(89, "http://h/book", "id", ["wapiti"]), _Reported(89, "http://h/author", "name", ["sqlmap", "wapiti"])]

    both = silent_detectors(reported, FLAWS[:2], {"wapiti", "sqlmap"})
    wapiti_alone = silent_detectors(reported, FLAWS[:2], {"wapiti"})

    assert [(flaw.path, detector) for flaw, detector in both] == [("/book", "sqlmap")]
    assert wapiti_alone == ()
