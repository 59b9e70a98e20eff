from __future__ import annotations

from urllib.parse import urljoin

import pytest

from apviso.scanning.first_look import Look, Sight, bare, is_other_path, shows_password
from apviso.scanning.last_look import changes, login_gap, lost_pages, witnesses

ASKED = "http://shop.example/"
HOME = Look(Sight.USABLE, "http://shop.example/home?s=1", "", status=200)
LOGIN = Look(Sight.USABLE, "http://shop.example/login", "", status=200, asks_password=True)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (Look(Sight.UNREACHABLE, ASKED, "It is gone."), "target_lost"),
        (Look(Sight.ACCESS_REFUSED, ASKED, "It refuses."), "target_lost"),
        (Look(Sight.LEADS_AWAY, ASKED, "It leads away."), "target_changed"),
        (LOGIN, "login_lost"),
        (Look(Sight.USABLE, HOME.url, "", status=200, asks_password=True), "login_lost"),
        (Look(Sight.USABLE, "http://shop.example/maintenance", "", status=200), "target_changed"),
        (Look(Sight.USABLE, HOME.url, "", status=404), "target_changed"),
        (Look(Sight.REFUSED_BY_GUARD, "http://shop.example/logout", ""), "target_changed"),
    ],
)
def test_start_page_that_is_another_one_at_the_end_is_a_gap(last: Look, code: str) -> None:
    gaps = changes(ASKED, HOME, last)

    assert [gap.partition(":")[0] for gap in gaps] == [code]


@pytest.mark.parametrize(
    "last",
    [
        HOME,
        Look(Sight.USABLE, "http://shop.example/home?s=2", "", status=200),
        Look(Sight.REFUSED_BY_GUARD, ASKED, "The budget is spent."),
    ],
)
def test_start_page_that_is_still_the_same_is_no_gap(last: Look) -> None:
    assert changes(ASKED, HOME, last) == []


def test_start_page_that_was_a_login_all_the_time_has_not_changed() -> None:
    assert changes(ASKED, LOGIN, LOGIN) == []


@pytest.mark.parametrize(
    ("asked", "first", "codes"),
    [
        (ASKED, LOGIN, ["login_required"]),
        (LOGIN.url, LOGIN, []),
        (ASKED, HOME, []),
    ],
)
def test_start_page_that_leads_to_a_login_is_a_gap(asked: str, first: Look, codes: list[str]) -> None:
    assert [gap.partition(":")[0] for gap in login_gap(asked, first)] == codes


def test_bare_address_keeps_its_port_and_neither_query_nor_user() -> None:
    assert bare("http://me:secret@shop.example:8443/book?session=1") == "http://shop.example:8443/book"


BOOK = "http://shop.example/book?id=1"
OPEN = Look(Sight.USABLE, BOOK, "", status=200)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (LOGIN, "login_lost"),
        (Look(Sight.ACCESS_REFUSED, BOOK, ""), "login_lost"),
        (Look(Sight.LEADS_AWAY, BOOK, ""), "target_changed"),
    ],
)
def test_page_that_is_closed_at_the_end_is_a_gap(last: Look, code: str) -> None:
    gaps = lost_pages({BOOK: OPEN}, {BOOK: last})

    assert [gap.partition(":")[0] for gap in gaps] == [code]
    assert "id=1" not in gaps[0]


@pytest.mark.parametrize(
    ("first", "last"),
    [(OPEN, OPEN), (LOGIN, LOGIN), (OPEN, Look(Sight.UNREACHABLE, BOOK, "")), (OPEN, Look(Sight.REFUSED_BY_GUARD, BOOK, ""))],
)
def test_page_that_is_not_known_to_have_closed_is_no_gap(first: Look, last: Look) -> None:
    assert lost_pages({BOOK: first}, {BOOK: last}) == []


@pytest.mark.parametrize(
    ("links", "chosen"),
    [
        ([], []),
        (["a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        (["a", "b", "c", "d", "e"], ["a", "c", "e"]),
        (["logout", "../above", "", "a"], ["a"]),
    ],
)
def test_witnesses_are_pages_that_the_scan_may_crawl(links: list[str], chosen: list[str]) -> None:
    folder = "http://h/shop/"
    start = Look(Sight.USABLE, folder, "", status=200, links=tuple(urljoin(folder, link) for link in links))

    assert witnesses(start, ["logout"]) == [folder + name for name in chosen]


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        (b'<INPUT name="p" TYPE="password">', True),
        (b"<input type = 'password' name=p>", True),
        (b"<input type=password>", True),
        (b"<p>The type of the password</p><input type=text>", False),
        (b"<input type=passwords>", False),
    ],
)
def test_password_field_is_seen_in_any_spelling(page: bytes, shown: bool) -> None:
    assert shows_password(page) == shown


@pytest.mark.parametrize(("url", "other"), [("http://h/shop/", False), ("http://h/shop", False), ("http://h/login", True)])
def test_path_with_a_final_slash_is_the_same_page(url: str, other: bool) -> None:
    assert is_other_path(url, "http://h/shop") == other
