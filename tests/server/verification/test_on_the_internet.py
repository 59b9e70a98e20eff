"""Proof of control where names mean public addresses: in a network namespace of its own, with the host's own way to find names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.upkeep.sources import ROOT

NAMESPACE = ["unshare", "--net", "--mount"] if os.geteuid() == 0 else ["unshare", "--net", "--mount", "--map-root-user"]
SECONDS = 60


def _has_namespaces() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run([*NAMESPACE, "ip", "link", "set", "lo", "up"], capture_output=True, timeout=SECONDS).returncode == 0


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of everything that the small Internet tries."""
    if "CI" not in os.environ and not _has_namespaces():
        pytest.skip("this host permits no network namespaces")
    folder = tmp_path_factory.mktemp("internet")
    command = [*NAMESPACE, sys.executable, "-m", "tests.server.verification.internet", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize(("step", "method"), [("record", "dns_txt"), ("tag", "meta_tag"), ("file", "file"), ("rebound", "file")])
def test_public_target_is_verified_at_the_usual_ports(came: dict[str, Any], step: str, method: str) -> None:
    (answer,) = came[step]

    assert answer["status"] == 200, answer
    assert (answer["target"]["verified"], answer["target"]["verificationMethod"]) == (True, method)


@pytest.mark.parametrize("step", ["redirected", "redirected inside"])
def test_redirect_away_from_the_target_is_refused(came: dict[str, Any], step: str) -> None:
    (answer,) = came[step]

    assert (answer["status"], answer["code"]) == (409, "verification_failed")
    assert "a redirect to another host or port" in answer["checks"][-1]["seen"]


@pytest.mark.parametrize("step", ["stolen", "mixed", "rebound again"])
def test_public_target_that_leads_to_an_internal_address_is_refused(came: dict[str, Any], step: str) -> None:
    for answer in came[step]:
        assert (answer["status"], answer["code"]) == (409, "verification_failed")
        assert "an internal address that the control plane does not ask" in answer["error"]


def test_nobody_but_the_target_itself_was_ever_asked(came: dict[str, Any]) -> None:
    assert (came["asked"]["other"], came["asked"]["metadata"]) == ([], [])
    assert {host for host, _ in came["asked"]["plain"]} == {"shop.example.com"}
