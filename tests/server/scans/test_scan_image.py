"""The scan image that jobs name, and the digest of the one that ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apviso.server.settings import Settings
from tests.server.scans.situations import Case, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import running

DIGEST = f"sha256:{'a' * 64}"


async def test_job_names_the_image_of_the_setting_by_its_digest(settings: Settings, clock: Clock) -> None:
    named = settings.model_copy(update={"scan_image": f"registry.example:5000/team/scan@{DIGEST}"})

    async with running(named, clock) as plane:
        acme = await plane.organization("Acme")
        case = await queued_scan(acme, await acme.runner())
        job = await case.runner.claimed()

    assert job["image"] == {"ref": "registry.example:5000/team/scan", "digest": DIGEST, "signature": None}


@pytest.mark.parametrize(
    ("told", "shown"),
    [(DIGEST, DIGEST), (None, None), ("latest", None), (f"{DIGEST}0", None), (7, None), ([DIGEST], None), ("sha256:" + "Z" * 64, None)],
)
async def test_scan_shows_the_digest_that_its_runner_told_at_the_start(case: Case, told: Any, shown: str | None) -> None:
    job = await case.runner.claimed()
    await case.runner.on_job(job, "preflight", ok=True, checks={})

    answer = await case.runner.on_job(job, "start", runtimeMetadata={"engine": "docker", "imageDigest": told})

    assert answer.status_code == 200
    assert (await case.scan())["scanImageDigest"] == shown


@pytest.mark.parametrize(
    "image",
    [
        "registry.example/scan", "registry.example/scan:1", f"scan@{DIGEST}", f"team/scan@{DIGEST}", DIGEST,
        f"registry.example/scan@{DIGEST}0",
        f"https://registry.example/scan@{DIGEST}", f"registry.example/scan@sha512:{'a' * 64}", f"registry.example/../scan@{DIGEST}",
        f" registry.example/scan@{DIGEST}", f"registry.example/Scan@{DIGEST}",
    ],
)  # fmt: skip
def test_image_that_is_not_named_in_full_keeps_the_server_from_starting(image: str) -> None:
    with pytest.raises(ValidationError, match="registry and digest"):
        Settings(data_dir=Path("unused"), scan_image=image)


@pytest.mark.parametrize("host", ["registry.example", "registry.example:5000", "localhost/team", "127.0.0.1:5000", "registry:5000"])
def test_image_that_is_named_in_full_is_taken_as_it_is(host: str) -> None:
    assert Settings(data_dir=Path("unused"), scan_image=f"{host}/scan@{DIGEST}").scan_image == f"{host}/scan@{DIGEST}"


def test_empty_image_setting_counts_as_not_set() -> None:
    assert Settings(data_dir=Path("unused"), scan_image="").scan_image is None
