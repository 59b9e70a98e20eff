from __future__ import annotations

import time

import pytest

from apviso.scanning.first_look import MAX_BODY_BYTES, shows_password
from apviso.scanning.links import is_excluded, links_of


def test_links_of_a_page_are_absolute_and_each_named_once() -> None:
    page = b"""<a href="/a?x=1&amp;y=2#top">a</a> <A HREF=b>b</A> <form action='/c'></form> <iframe src=//other.example/d></iframe>
        <a href="b#again">b</a> <a href="mailto:x@y.example">mail</a> <a href="javascript:go()">go</a> <a name=here> <a href="http://[">?</a>"""

    found = links_of(page, "http://h/shop/")

    assert found == ("http://h/a?x=1&y=2", "http://h/shop/b", "http://h/c", "http://other.example/d")


@pytest.mark.parametrize("page", [b"", b"\xff\xfe\x00<a href=", b"<a href=''>", b"<![bad[ <a href"])
def test_links_of_something_that_is_no_page_are_none(page: bytes) -> None:
    assert links_of(page, "http://h/") == ()


@pytest.mark.parametrize("piece", [b"<a ", b"<a href=", b"<a href='", b"<input ", b"<input type", b"<a " + b" " * 50])
def test_page_that_is_hostile_is_read_in_a_moment(piece: bytes) -> None:
    page = (piece * (MAX_BODY_BYTES // len(piece)))[:MAX_BODY_BYTES]

    began = time.process_time()
    links_of(page, "http://h/")
    shows_password(page)

    assert time.process_time() - began < 5


@pytest.mark.parametrize("path", ["/logout", "/LogOut", "/a?next=logout", "/log%6Fut", "/log%256Fut", f"/log%{'25' * 9}6Fut"])
def test_address_with_an_excluded_word_in_any_spelling_is_excluded(path: str) -> None:
    assert is_excluded(f"http://h{path}", ["logout"])


@pytest.mark.parametrize("path", ["/admin", "//admin", "/a/..%2fadmin", "/.\\admin/"])
def test_address_that_a_server_reads_as_an_excluded_path_is_excluded(path: str) -> None:
    assert is_excluded(f"http://h{path}", ["^/admin"])


@pytest.mark.parametrize("url", ["http://h/", "http://logout.example/", "http://h/log/out"])
def test_address_without_an_excluded_word_in_path_or_query_is_not_excluded(url: str) -> None:
    assert not is_excluded(url, ["logout"])
