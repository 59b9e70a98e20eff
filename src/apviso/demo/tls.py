"""TLS for the bookshop, careless or hardened, with a certificate of this process alone unless one is given."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

# Level 0 brings back what the library has long given up: TLS 1.0 and 1.1, suites that do not encrypt, suites that ask for no certificate.
_CARELESS_SUITES = "ALL:eNULL:@SECLEVEL=0"
_HARDENED_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ADDRESSES = ("127.0.0.1", "::1")


def server_context(now: datetime, *, hardened: bool, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """What a server wraps its connections in. Raises OSError where certificate and key cannot be used."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2 if hardened else ssl.TLSVersion.MINIMUM_SUPPORTED
    made.set_ciphers(_HARDENED_SUITES if hardened else _CARELESS_SUITES)
    if certificate is not None:
        _load(made, certificate, key)
        return made
    with TemporaryDirectory(prefix="bookshop-") as folder:
        file = Path(folder) / "certificate-and-key.pem"
        file.write_bytes(_self_signed(now, hardened=hardened))
        _load(made, file, None)
    return made


def _load(made: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    # Without a password at hand the library would ask for one on the terminal.
    made.load_cert_chain(certificate, key, password=b"")


def _self_signed(now: datetime, *, hardened: bool) -> bytes:
    """Certificate and key as PEM; the careless one has expired and its key is short."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    key = ec.generate_private_key(ec.SECP256R1()) if hardened else rsa.generate_private_key(65537, 1024)  # noqa: S505 - a flaw on purpose
    ends = now + timedelta(days=30 if hardened else -1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bookshop")])
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(address)) for address in _ADDRESSES)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=31))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM) + private
