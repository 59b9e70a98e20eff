from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from apviso.demo import server
from apviso.demo.tls import server_context
from tests.scanning.certificates import self_signed
from tests.scanning.shops import fetcher, open_for_visits

HARDENED = pytest.mark.parametrize("hardened", [False, True])


def client(suites: str = "DEFAULT", version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any certificate, with these suites and, where it is named, this version alone."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_ciphers(suites)
    if version is not None:
        made.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        if version >= ssl.TLSVersion.TLSv1_2:
            made.maximum_version = version
        else:
            with pytest.warns(DeprecationWarning, match="deprecated"):
                made.maximum_version = version
    return made


def handshake(port: int, context: ssl.SSLContext) -> tuple[str | None, str, x509.Certificate]:
    """Version, suite and certificate."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw, context.wrap_socket(raw) as connection:
        shown, suite = connection.getpeercert(binary_form=True), connection.cipher()
        assert shown is not None
        assert suite is not None
        return connection.version(), suite[0], x509.load_der_x509_certificate(shown)


@pytest.fixture
def careless() -> Iterator[int]:
    with open_for_visits(hardened=False, tls=server_context(datetime.now(UTC), hardened=False)) as port:
        yield port


@pytest.fixture
def hardened() -> Iterator[int]:
    with open_for_visits(hardened=True, tls=server_context(datetime.now(UTC), hardened=True)) as port:
        yield port


@pytest.mark.parametrize(
    ("name", "version"), [("TLSv1", ssl.TLSVersion.TLSv1), ("TLSv1.1", ssl.TLSVersion.TLSv1_1), ("TLSv1.2", ssl.TLSVersion.TLSv1_2)]
)
def test_careless_shop_speaks_old_versions_and_suites_without_encryption(name: str, version: ssl.TLSVersion, careless: int) -> None:
    spoken, suite, _ = handshake(careless, client("eNULL:@SECLEVEL=0", version))

    assert (spoken, "NULL" in suite) == (name, True)


@pytest.mark.parametrize(
    ("suites", "version"),
    [
        ("ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1),
        ("ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1),
        ("eNULL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_2),
        ("aNULL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_2),
        ("AES256-SHA256", ssl.TLSVersion.TLSv1_2),
    ],
)
def test_hardened_shop_asked_for_an_old_version_or_weak_suite_ends_the_handshake(
    suites: str, version: ssl.TLSVersion, hardened: int
) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(hardened, client(suites, version))


def test_clients_of_today_reach_both_shops_by_tls_13(careless: int, hardened: int) -> None:
    assert [handshake(port, client())[0] for port in (careless, hardened)] == ["TLSv1.3", "TLSv1.3"]
    assert [fetcher(port, client())("/books").status for port in (careless, hardened)] == [200, 200]


def test_certificate_of_the_careless_shop_has_expired_and_its_key_is_short(careless: int) -> None:
    _, _, certificate = handshake(careless, client())

    key = certificate.public_key()
    assert certificate.issuer == certificate.subject
    assert certificate.not_valid_after_utc < datetime.now(UTC)
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 1024


def test_certificate_of_the_hardened_shop_is_in_order_but_self_signed(hardened: int) -> None:
    _, _, certificate = handshake(hardened, client())

    assert certificate.issuer == certificate.subject
    assert certificate.not_valid_before_utc < datetime.now(UTC) < certificate.not_valid_after_utc
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)


def test_given_certificate_is_shown_and_can_be_verified(tmp_path: Path) -> None:
    self_signed(tmp_path)
    pem = tmp_path / "server.pem"
    trusting = ssl.create_default_context(cafile=pem)

    with open_for_visits(hardened=True, tls=server_context(datetime.now(UTC), hardened=True, certificate=pem, key=pem)) as port:
        page = fetcher(port, trusting)("/books")

    assert page.status == 200


@HARDENED
def test_silent_connection_does_not_keep_others_waiting(hardened: bool) -> None:
    with (
        open_for_visits(hardened=hardened, tls=server_context(datetime.now(UTC), hardened=hardened)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10),
    ):
        assert fetcher(port, client())("/books").status == 200


def test_silent_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch, hardened: int) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.2)

    with socket.create_connection(("127.0.0.1", hardened), timeout=10) as silent:
        ended = silent.recv(1)

    assert ended == b""


def test_request_without_tls_is_not_answered(hardened: int) -> None:
    with socket.create_connection(("127.0.0.1", hardened), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        said = plain.recv(100)

    assert b"HTTP/1.1 200" not in said


def test_shop_as_a_process_behind_tls_is_quiet_about_broken_handshakes() -> None:
    process = subprocess.Popen([sys.executable, "-m", "apviso.demo", "--tls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["listening"]

    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"nonsense\r\n\r\n")
        plain.recv(100)
    status = fetcher(port, client())("/").status
    process.terminate()
    _, complaints = process.communicate(timeout=20)

    assert (status, process.returncode, complaints) == (200, 0, "")


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--certificate", "nowhere.pem", "--key", "nowhere.pem"], 2, "--tls"),
        (["--tls", "--certificate", "nowhere.pem"], 2, "--key"),
        (["--tls", "--certificate", "nowhere.pem", "--key", "nowhere.pem"], 64, "cannot be used"),
    ],
)
def test_certificate_that_cannot_be_used_is_told(words: list[str], exit_code: int, said: str, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-m", "apviso.demo", *words], cwd=tmp_path, capture_output=True, text=True, timeout=30)

    assert (ended.returncode, said in ended.stderr) == (exit_code, True)
