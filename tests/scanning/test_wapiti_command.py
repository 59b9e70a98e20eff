from __future__ import annotations

import itertools

import pytest

from apviso.protocol.limits import READ_ONLY_METHODS
from apviso.protocol.states import ModelPreset
from apviso.scanning.adapters.wapiti import Version, command, modules, seeds_file, times
from apviso.scanning.plans import PLANS, Crawl
from tests.scanning.orders import limits_of, order_for

URL = "http://127.0.0.1:8911/shop/"
LOW = PLANS[ModelPreset.LOW].crawl
# Modules that ask hosts of others, load lists from outside, try passwords or write.
FORBIDDEN = {"wapp", "nikto", "htp", "ssl", "takeover", "brute_login_form", "upload", "ssrf", "xxe", "log4shell", "cms", "wp_enum"}


def values_of(flag: str, line: list[str]) -> list[str]:
    return [line[at + 1] for at, part in enumerate(line) if part == flag]


@pytest.mark.parametrize(("version", "suffix"), [((3, 2), ":post"), ((3, 3), ":get")])
def test_modules_for_reading_only_attack_by_get_in_each_dialect(version: Version, suffix: str) -> None:
    chosen = modules(PLANS[ModelPreset.LOW].crawl, READ_ONLY_METHODS, version).split(",")

    assert {f"sql{suffix}", f"xss{suffix}", f"file{suffix}", f"exec{suffix}"} <= set(chosen)
    assert not {"sql", "xss"} & set(chosen)


def test_modules_where_writing_is_permitted_attack_forms_too() -> None:
    chosen = modules(PLANS[ModelPreset.LOW].crawl, ["GET", "POST"], (3, 3)).split(",")

    assert {"sql", "xss"} <= set(chosen)


@pytest.mark.parametrize("version", [(3, 2), (3, 3)])
@pytest.mark.parametrize("preset", list(ModelPreset))
def test_modules_of_every_preset_are_free_of_those_that_call_out(preset: ModelPreset, version: Version) -> None:
    chosen = {name.partition(":")[0] for name in modules(PLANS[preset].crawl, READ_ONLY_METHODS, version).split(",")}

    assert not chosen & FORBIDDEN
    assert {"http_headers", "csp", "cookieflags"} <= chosen


def test_plans_grow_with_the_preset() -> None:
    ordered = [PLANS[preset].crawl for preset in ModelPreset]

    assert all(set(less.attacks) <= set(more.attacks) for less, more in itertools.pairwise(ordered))
    assert [plan.depth for plan in ordered] == sorted(plan.depth for plan in ordered)


def test_command_keeps_the_scanner_offline_and_behind_the_guard() -> None:
    line = command(order_for(URL, proxy_url="http://127.0.0.1:4711"), LOW, URL, (3, 3), 600)

    assert values_of("-p", line) == ["http://127.0.0.1:4711/"]
    assert values_of("-u", line) == [URL]
    assert values_of("--scope", line) == ["folder"]
    assert values_of("--endpoint", line) == ["http://127.0.0.1:9/"]
    assert values_of("--dns-endpoint", line) == ["localhost"]
    assert {"--no-bugreport", "--flush-session"} <= set(line)


def test_command_skips_excluded_words_while_crawling() -> None:
    order = order_for(URL, limits=limits_of(exclude_paths=["logout", "^/admin(/|$)"]))

    line = command(order, LOW, URL, (3, 3), 600)

    assert values_of("-x", line) == ["http://127.0.0.1:8911/*logout*"]


def test_command_with_seeds_names_their_file_and_none_of_them() -> None:
    crawl = Crawl(("xss",), depth=0, files_per_folder=5, looking=("csp",), seeds=(f"{URL}book?id=1",))

    line = command(order_for(URL), crawl, URL, (3, 3), 600)

    assert values_of("-s", line) == ["/nowhere/work/seeds.txt"]
    assert (values_of("-d", line), values_of("-m", line)) == (["0"], ["xss:get,csp"])
    assert not any("book" in part for part in line)


def test_seeds_are_one_on_a_line_whatever_they_hold() -> None:
    assert seeds_file(["http://h/a?b=1\n/etc/passwd", "http://h/é"]) == "http://h/a?b=1%0A/etc/passwd\nhttp://h/%C3%A9\n"


def test_command_gives_a_slow_guard_more_patience() -> None:
    slow = command(order_for(URL, limits=limits_of(requests_per_second=0.5)), LOW, URL, (3, 3), 600)
    quick = command(order_for(URL, limits=limits_of(requests_per_second=40)), LOW, URL, (3, 3), 600)

    assert values_of("--tasks", slow) == ["1"]
    assert int(values_of("-t", slow)[0]) > int(values_of("-t", quick)[0])


@pytest.mark.parametrize("seconds", [10, 30, 600, 10_800])
def test_times_share_what_the_scanner_has(seconds: int) -> None:
    shares = times(seconds, 6)

    assert shares.stop == seconds
    assert shares.crawl < shares.stop
    assert shares.attack > 0
