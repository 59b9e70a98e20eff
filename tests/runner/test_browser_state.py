"""Which cookies of a browser's state belong to an address, as the standard of cookies has it."""

from __future__ import annotations

import pytest

from apviso.runner.target_auth.browser_state import KeptCookie, fits


@pytest.mark.parametrize(
    ("domain", "path", "url", "belongs"),
    [
        ("shop.internal", "/", "http://shop.internal/", True),
        ("shop.internal", "/", "http://shop.internal", True),
        ("shop.internal", "/", "http://www.shop.internal/", False),
        (".shop.internal", "/", "http://www.shop.internal/", True),
        (".shop.internal", "/", "http://shop.internal/", True),
        (".shop.internal", "/", "http://workshop.internal/", False),
        (".0.0.1", "/", "http://127.0.0.1/", False),
        ("127.0.0.1", "/", "http://127.0.0.1:8080/", True),
        ("shop.internal", "/app", "http://shop.internal/app", True),
        ("shop.internal", "/app", "http://shop.internal/app/more", True),
        ("shop.internal", "/app/", "http://shop.internal/app/more", True),
        ("shop.internal", "/app", "http://shop.internal/application", False),
        ("shop.internal", "/app", "http://shop.internal/", False),
    ],
)
def test_cookie_belongs_to_an_address_by_domain_and_path(domain: str, path: str, url: str, belongs: bool) -> None:
    cookie = KeptCookie(name="session", value="hidden", domain=domain, path=path)

    assert fits(cookie, url) is belongs
    assert "hidden" not in repr(cookie)


@pytest.mark.parametrize(("url", "belongs"), [("https://shop.internal/", True), ("http://shop.internal/", False)])
def test_cookie_that_is_secure_belongs_to_https_only(url: str, belongs: bool) -> None:
    assert fits(KeptCookie(name="session", value="hidden", domain="shop.internal", secure=True), url) is belongs
