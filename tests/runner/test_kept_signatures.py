"""Signatures of images on disk: kept whole, bounded, and never a reason to fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from apviso.runner.engines.images import ImageRef
from apviso.runner.engines.kept_signatures import MOST_KEPT, KeptSignatures, Signature
from apviso.runner.engines.signatures import is_signed

ONE = ImageRef("registry.example/scan", f"sha256:{'1' * 64}")


def signature(payload: bytes) -> Signature:
    return Signature(payload=payload, signature="c2ln")


def test_signature_that_was_kept_is_found_again_by_its_image_alone(tmp_path: Path) -> None:
    kept = KeptSignatures(tmp_path / "kept.json")

    kept.keep(ONE, signature(b"\x00first"))
    kept.keep(ONE, signature(b"\xffsecond"))

    assert KeptSignatures(kept.path).of(ONE) == [signature(b"\xffsecond")]
    assert kept.of(ImageRef("registry.example/other", ONE.digest)) == []


def test_kept_signatures_beyond_the_bound_lose_the_oldest(tmp_path: Path) -> None:
    kept = KeptSignatures(tmp_path / "kept.json")
    images = [ImageRef("registry.example/scan", f"sha256:{number:064x}") for number in range(MOST_KEPT + 1)]

    for image in images:
        kept.keep(image, signature(b"payload"))

    assert [bool(kept.of(image)) for image in images] == [False] + [True] * MOST_KEPT


@pytest.mark.parametrize("content", [b"", b"no json", b"\xff\xfe", b'{"kept": 5}', b"[]"])
def test_damaged_file_of_signatures_is_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(content)
    path.chmod(0o600)

    assert KeptSignatures(path).of(ONE) == []


def test_file_of_signatures_that_others_may_change_is_not_read(tmp_path: Path) -> None:
    kept = KeptSignatures(tmp_path / "kept.json")
    kept.keep(ONE, signature(b"payload"))
    kept.path.chmod(0o666)

    assert kept.of(ONE) == []


def test_signature_that_cannot_be_kept_is_no_failure(tmp_path: Path) -> None:
    kept = KeptSignatures(tmp_path / "nowhere" / "kept.json")

    kept.keep(ONE, signature(b"payload"))

    assert kept.of(ONE) == []


@pytest.mark.parametrize("told", ["", "no base64", "\u00e9", "\ud800", "c2ln"])
def test_text_that_is_no_signature_signs_nothing_whatever_its_letters(told: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()

    assert not is_signed(b"{}", told, ONE.digest, key)
