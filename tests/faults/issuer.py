"""A certificate authority of the tests' own, and a certificate by it for this host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# A clock that is an hour off must not make it invalid.
DAY = timedelta(days=1)


class Issuer:
    """`authority` is the file that clients trust; `chain` what a server shows, with its key."""

    def __init__(self, folder: Path, name: str) -> None:
        self.authority, self.chain = folder / f"{name}-authority.pem", folder / f"{name}-chain.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        root = _described(own, own, key.public_key(), is_authority=True).sign(key, hashes.SHA256())
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        described = _described(leaf_name, own, leaf_key.public_key(), is_authority=False).add_extension(address, critical=False)
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        leaf = described.add_extension(issued_by, critical=False).sign(key, hashes.SHA256())
        self.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        private = leaf_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.chain.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))


def _described(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
