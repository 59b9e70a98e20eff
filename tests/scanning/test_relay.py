from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, chdir, suppress
from pathlib import Path

import pytest

from apviso.scanning import relay

SECONDS = 10


@asynccontextmanager
async def _echo() -> AsyncIterator[int]:
    """A server that answers with all it was sent, once the sender has ended; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(await reader.read())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def _ask(port: int, message: bytes) -> bytes:
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
def socket_file(tmp_path: Path) -> Path:
    """In a folder whose name alone is longer than a socket address may be."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    return folder / "guard.sock"


async def test_what_is_sent_to_the_port_comes_out_behind_the_socket_and_back(socket_file: Path, unused_tcp_port: int) -> None:
    message = b"x" * 300_000
    inside = f"/proc/self/cwd/{socket_file.name}"

    with chdir(socket_file.parent):
        async with _echo() as port, relay.from_socket(socket_file, port), relay.from_port(unused_tcp_port, inside):
            answers = await asyncio.gather(*(_ask(unused_tcp_port, message) for _ in range(5)))

    assert answers == [message] * 5


async def test_socket_is_open_to_every_account(socket_file: Path) -> None:
    async with _echo() as port, relay.from_socket(socket_file, port):
        assert stat.S_IMODE(socket_file.stat().st_mode) == 0o666


async def test_connection_is_closed_where_nobody_answers_behind_it(unused_tcp_port: int) -> None:
    async with relay.from_port(unused_tcp_port, "nobody.sock"):
        reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        answer = await asyncio.wait_for(reader.read(), SECONDS)
        writer.close()

    assert answer == b""


async def test_connections_above_the_bound_are_closed_and_the_others_go_on(socket_file: Path, unused_tcp_port: int) -> None:
    with chdir(socket_file.parent):
        async with (
            _echo() as port,
            relay.from_socket(socket_file, port),
            relay.from_port(unused_tcp_port, f"/proc/self/cwd/{socket_file.name}", most=1),
        ):
            first_reader, first = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
            first.write(b"first")
            await first.drain()

            second_reader, second = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
            turned_away = await asyncio.wait_for(second_reader.read(), SECONDS)
            first.write_eof()
            answered = await asyncio.wait_for(first_reader.read(), SECONDS)

            first.close()
            second.close()

    assert (turned_away, answered) == (b"", b"first")


async def test_end_of_the_relay_cuts_what_is_open(socket_file: Path, unused_tcp_port: int) -> None:
    with chdir(socket_file.parent):
        async with _echo() as port, relay.from_socket(socket_file, port):
            async with relay.from_port(unused_tcp_port, f"/proc/self/cwd/{socket_file.name}"):
                reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
                writer.write(b"never ended")
                await writer.drain()

            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), SECONDS) == b""
            writer.close()
