from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from apviso.scanning.guard import AllowedHost, Guard, Refusal
from apviso.scanning.guard_handshakes import Records, Tunnel, extensions
from tests.scanning.certificates import self_signed
from tests.scanning.conftest import StartGuard, Target, rules_of, serve, until

CREDENTIALS = base64.b64encode(b"handshake:only").decode()


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Target]:
    made = Target()
    server = serve(made, self_signed(tmp_path))
    yield made
    await asyncio.to_thread(server.shutdown)
    server.server_close()


async def guard_of(target: Target, guarded: StartGuard, scheme: str = "https") -> Guard:
    host = AllowedHost.model_validate({"scheme": scheme, "host": "127.0.0.1", "port": target.port, "addresses": ("127.0.0.1",)})
    return await guarded(rules_of(target, allowed=[host]))


def tunnel(guard: Guard, address: str, credentials: str = CREDENTIALS) -> tuple[socket.socket, str]:
    """A connection to `address` by way of the guard, and the guard's answer."""
    connection = socket.create_connection(("127.0.0.1", urlsplit(guard.proxy_url).port or 0), timeout=15)
    connection.sendall(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n".encode())
    return connection, connection.recv(4096).decode()


def context(version: ssl.TLSVersion) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    return made


def shake_hands(guard: Guard, port: int, version: ssl.TLSVersion) -> tuple[str | None, bytes | None]:
    """A whole handshake by way of the guard: the version agreed on, and the certificate that was shown."""
    connection, _ = tunnel(guard, f"127.0.0.1:{port}")
    with context(version).wrap_socket(connection) as secured:
        return secured.version(), secured.getpeercert(binary_form=True)


def ask_inside(guard: Guard, port: int, version: ssl.TLSVersion, pieces: list[bytes]) -> bytes:
    """What comes back for a request, sent in pieces inside such a tunnel; nothing, where the wait ends first."""
    connection, _ = tunnel(guard, f"127.0.0.1:{port}")
    with context(version).wrap_socket(connection) as secured:
        secured.settimeout(1)
        try:
            for piece in pieces:
                secured.send(piece)
            return secured.recv(4096)
        except OSError:
            return b""


def certificate_in(folder: Path) -> bytes:
    """The target's own, as `self_signed` wrote it behind its key."""
    text = (folder / "server.pem").read_text()
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])


BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@BOTH
async def test_tunnel_shows_the_targets_own_certificate(
    version: ssl.TLSVersion, secure: Target, guarded: StartGuard, tmp_path: Path
) -> None:
    guard = await guard_of(secure, guarded)

    agreed, shown = await asyncio.to_thread(shake_hands, guard, secure.port, version)
    counters = await guard.close()

    assert agreed == version.name.replace("v1_", "v1.")
    assert shown == certificate_in(tmp_path)
    assert (counters.handshakes, counters.requests, counters.refusals) == (1, 0, {})


@BOTH
@pytest.mark.parametrize("pieces", [[b"GET /logout HTTP/1.1\r\nHost: h\r\n\r\n"], [bytes([letter]) for letter in b"GET /\r\n\r\n"]])
async def test_request_inside_such_a_tunnel_never_reaches_the_target(
    version: ssl.TLSVersion, pieces: list[bytes], secure: Target, guarded: StartGuard
) -> None:
    guard = await guard_of(secure, guarded)

    answer = await asyncio.to_thread(ask_inside, guard, secure.port, version, pieces)
    counters = await guard.close()

    assert (answer, secure.seen) == (b"", [])
    assert counters.refusals == {Refusal.NOT_A_HANDSHAKE: 1}


async def test_plain_request_in_such_a_tunnel_never_reaches_the_target(secure: Target, guarded: StartGuard) -> None:
    guard = await guard_of(secure, guarded)

    connection, _ = await asyncio.to_thread(tunnel, guard, f"127.0.0.1:{secure.port}")
    connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

    await until(lambda: guard.counters.refusals == {Refusal.NOT_A_HANDSHAKE: 1})
    connection.close()
    assert secure.seen == []


@pytest.mark.parametrize(("address", "scheme"), [("127.0.0.1:1", "https"), ("127.0.0.2:{port}", "https"), ("127.0.0.1:{port}", "http")])
async def test_tunnel_to_another_address_or_an_unencrypted_target_is_refused(
    address: str, scheme: str, secure: Target, guarded: StartGuard
) -> None:
    guard = await guard_of(secure, guarded, scheme)

    connection, answer = await asyncio.to_thread(tunnel, guard, address.format(port=secure.port))
    connection.close()
    counters = await guard.close()

    assert answer.startswith("HTTP/1.1 403")
    assert (counters.refusals, counters.handshakes, secure.connections) == ({Refusal.HOST_NOT_ALLOWED: 1}, 0, 0)


async def test_tunnel_under_another_name_is_looked_into(secure: Target, guarded: StartGuard, tmp_path: Path) -> None:
    guard = await guard_of(secure, guarded)
    other = base64.b64encode(b"somebody:else").decode()

    def shown() -> bytes | None:
        connection, _ = tunnel(guard, f"127.0.0.1:{secure.port}", other)
        with context(ssl.TLSVersion.TLSv1_3).wrap_socket(connection) as secured:
            return secured.getpeercert(binary_form=True)

    issued = await asyncio.to_thread(shown)

    assert issued is not None
    assert issued != certificate_in(tmp_path)


async def test_handshake_after_the_permit_is_refused(secure: Target, guarded: StartGuard) -> None:
    guard = await guard_of(secure, guarded)
    await guard.permit(0)

    async def refused() -> bool:
        connection, answer = await asyncio.to_thread(tunnel, guard, f"127.0.0.1:{secure.port}")
        connection.close()
        return "permit_expired" in answer

    async with asyncio.timeout(15):
        while not await refused():
            pass


def hello(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """A real client hello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = context(version).wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    return outgoing.read()


def with_early_data(record: bytes) -> bytes:
    """The same hello with the extension that announces early data at its end."""
    body = record[5:]
    compression = 4 + 2 + 32
    compression += 1 + body[compression]
    compression += 2 + int.from_bytes(body[compression : compression + 2], "big")
    compression += 1 + body[compression]
    listed = body[compression + 2 :] + b"\x00\x2a\x00\x00"
    grown = body[4:compression] + len(listed).to_bytes(2, "big") + listed
    return record[:3] + (len(grown) + 4).to_bytes(2, "big") + b"\x01" + len(grown).to_bytes(3, "big") + grown


def test_hello_of_a_real_client_passes_in_one_piece_however_it_arrives() -> None:
    told, passing = hello(), Tunnel()

    pieces = [passing.send(told[number : number + 1]) for number in range(len(told))]

    assert pieces == [b""] * (len(told) - 1) + [told]
    assert 43 in extensions(told[5:])


def test_hello_that_announces_early_data_is_refused() -> None:
    with pytest.raises(ValueError, match="before the end"):
        Tunnel().send(with_early_data(hello()))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x17\x03\x03\x00\x35" + b"x" * 53,
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x02\x01\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x80\x2e\x01\x00\x02",
    ],
)
def test_what_does_not_begin_like_a_handshake_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"TLS|hello|handshake"):
        Tunnel().send(sent)


def sealed(length: int) -> bytes:
    return b"\x17\x03\x03" + length.to_bytes(2, "big") + b"x" * length


def answer_to(told: bytes, folder: Path) -> bytes:
    """What a real server says to it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(told)
    talk = self_signed(folder).wrap_bio(incoming, outgoing, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("records", "passes"),
    [
        ([53], True),
        ([69], True),
        ([53, 19], True),
        ([52], False),
        ([53, 20], False),
        ([53, 19, 19], False),
        ([19], False),
        ([16_000], False),
    ],
)
def test_sealed_records_pass_only_as_the_end_of_a_handshake(records: list[int], passes: bool, tmp_path: Path) -> None:
    tunnelled, told = Tunnel(), hello()
    tunnelled.send(told)
    for letter in answer_to(told, tmp_path):
        tunnelled.receive(bytes([letter]))

    def send_all() -> list[bytes]:
        return [tunnelled.send(sealed(length)) for length in records]

    if passes:
        assert send_all() == [sealed(length) for length in records]
    else:
        with pytest.raises(ValueError, match="handshake"):
            send_all()


def test_sealed_record_before_the_target_sealed_any_is_refused() -> None:
    tunnelled = Tunnel()
    tunnelled.send(hello())

    with pytest.raises(ValueError, match="handshake"):
        tunnelled.send(sealed(53))


@pytest.mark.parametrize("length", [53, 69])
def test_sealed_record_that_is_no_part_of_a_handshake_of_tls_1_2_is_refused(length: int, tmp_path: Path) -> None:
    tunnelled, told = Tunnel(), hello(ssl.TLSVersion.TLSv1_2)
    tunnelled.send(told)
    tunnelled.receive(answer_to(told, tmp_path))
    tunnelled.receive(sealed(9))

    with pytest.raises(ValueError, match="handshake"):
        tunnelled.send(sealed(length))


@pytest.mark.parametrize("answer", [sealed(1_000), b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x03\x00\x00"])
def test_target_that_answers_with_something_else_than_a_hello_opens_no_way(answer: bytes) -> None:
    tunnelled = Tunnel()
    tunnelled.send(hello())
    tunnelled.receive(answer + sealed(1_000))

    with pytest.raises(ValueError, match="handshake"):
        tunnelled.send(sealed(53))


async def test_request_to_a_target_that_speaks_first_never_reaches_it(guarded: StartGuard, tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # As every server does that speaks HTTP/2.
        writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        heard.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=self_signed(tmp_path))
    port = server.sockets[0].getsockname()[1]
    guard = await guard_of(Target(port), guarded)

    def ask() -> None:
        connection, _ = tunnel(guard, f"127.0.0.1:{port}")
        told = context(ssl.TLSVersion.TLSv1_2)
        told.set_ciphers("ECDHE+CHACHA20")
        with told.wrap_socket(connection) as secured:
            secured.recv(9)
            # With what seals it, as long as the end of a handshake of TLS 1.3.
            secured.sendall(b"GET /logout HTTP/1.1\r\nHost: h\r\n\r\n".ljust(53))

    async with server:
        await asyncio.to_thread(ask)
        await until(lambda: heard != [])

    assert (heard, guard.counters.requests) == ([b""], 0)


def test_endless_handshake_is_cut_off() -> None:
    tunnelled = Tunnel()
    tunnelled.send(hello())

    def shake_for_ever() -> None:
        for _ in range(1_000):
            tunnelled.send(b"\x16\x03\x03\x01\x00" + b"x" * 256)

    with pytest.raises(ValueError, match="more than"):
        shake_for_ever()


def test_records_are_read_across_pieces() -> None:
    stream = b"\x16\x03\x01\x00\x03abc" + sealed(2) + b"\x15\x03\x03\x00\x00"
    whole, parts = Records(), Records()

    assert list(whole.feed(stream)) == [(22, 3), (23, 2), (21, 0)]
    assert [found for number in range(len(stream)) for found in parts.feed(stream[number : number + 1])] == [(22, 3), (23, 2), (21, 0)]
