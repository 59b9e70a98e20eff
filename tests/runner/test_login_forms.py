"""Login pages that are odd or hostile: what is read of them, and that they raise nothing else than their own errors."""

from __future__ import annotations

import asyncio

import pytest

from apviso.runner.target_auth.login_forms import find_login_form
from apviso.runner.target_visit import NoAnswer, visit

URL = "http://shop.internal/login"
FORM = '<form method=post action="in"><input name=u><input type=password name=p></form>'


@pytest.mark.parametrize("odd", ["<![odd]>", "<form action='http://['><input name=q></form>"])
def test_login_form_is_found_beside_what_makes_no_sense(odd: str) -> None:
    assert find_login_form(FORM + odd, URL).action == "http://shop.internal/in"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: session=canary\x0b\x01\r\n\r\n", "no valid HTTP"),
        (b"canary\r\n\r\n", "no valid HTTP"),
        (b"", "Server disconnected"),
    ],
)
async def test_answer_that_is_no_http_is_told_without_its_words(answer: bytes, said: str) -> None:
    async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk_nonsense, "127.0.0.1", 0) as server:
        url = "http://{}:{}/".format(*server.sockets[0].getsockname())
        async with visit(url, ["127.0.0.1"], []) as made:
            with pytest.raises(NoAnswer, match=said) as told:
                await made.get("/login")

    assert "canary" not in str(told.value)


async def test_redirect_to_no_address_is_no_answer_and_no_surprise() -> None:
    async def lead_nowhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(lead_nowhere, "127.0.0.1", 0) as server:
        url = "http://{}:{}/".format(*server.sockets[0].getsockname())
        async with visit(url, ["127.0.0.1"], []) as made:
            with pytest.raises(NoAnswer, match="cannot be understood"):
                await made.get("/login")
