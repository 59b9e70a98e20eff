"""Secrets stay home: canaries for each kind of credentials, scans of a site that repeats them, and a search of all that left the host."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.end_to_end.canaries import Search, is_process_or_its_copy, new_core, sampling
from tests.end_to_end.echoing_shop import EchoingShop, echoing_shop
from tests.end_to_end.installation import Installation, Process, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KINDS = ("bearer", "basic", "cookie", "cookies", "api_key", "custom_headers", "login", "browser_state")
DECOY = "decoy"


@pytest.fixture
def cores() -> dict[str, str]:
    return {name: new_core() for name in (*KINDS, "session", "provider", DECOY)}


@pytest.fixture
def sites(installation: Installation, cores: dict[str, str]) -> Iterator[dict[str, EchoingShop]]:
    """One for each kind of credentials, all in front of one shop."""
    shop = installation.open_shop()
    login = (f"p&w/+{cores['login']}ü", cores["session"])
    with ExitStack() as stack:
        yield {kind: stack.enter_context(echoing_shop(shop, login if kind == "login" else None)) for kind in KINDS}


def credentials(workspace: Path, cores: dict[str, str], kind: str) -> dict[str, Any]:
    core = cores[kind]
    if kind == "browser_state":
        state = workspace / "state.json"
        cookie = {"name": "sid", "value": f"v.{core}", "domain": "127.0.0.1", "path": "/", "expires": -1, "secure": False}
        state.write_text(json.dumps({"cookies": [cookie], "origins": []}))
        state.chmod(0o600)
    kept: dict[str, dict[str, Any]] = {
        "bearer": {"token": f"tok_{core}"},
        "basic": {"username": "ada", "password": f"p&w/+{core}"},
        "cookie": {"cookie": f'theme=dark; sid="{core}"'},
        "cookies": {"cookies": {"sid": f"v.{core}", "theme": "dark"}},
        "api_key": {"header": "X-Api-Key", "key": f"key-{core}"},
        "custom_headers": {"headers": {"X-Access": f"Token id=1, secret={core}"}},
        "login": {"login_url": "/sign-in", "username": "ada", "password": f"p&w/+{core}ü"},
        "browser_state": {"state_file": "state.json"},
    }
    return kept[kind]


def keep_credentials(workspace: Path, cores: dict[str, str], sites: dict[str, EchoingShop]) -> list[Path]:
    """The files that hold the secrets; nothing else may."""
    entries = [{"domain": site.address, "type": kind, **credentials(workspace, cores, kind)} for kind, site in sites.items()]
    kept = workspace / "auth.json"
    kept.write_text(json.dumps({"targets": entries}))
    kept.chmod(0o600)
    (workspace / "runner.toml").write_text(f"target_auth_config_file = {json.dumps(str(kept))}\n")
    return [kept, workspace / "state.json"]


def plant_decoys(installation: Installation, workspace: Path, core: str) -> None:
    """Where a leak would be: so the search is seen to find what is there."""
    body = {"domain": f"{core}.localhost", "scanUrl": f"http://{core}.localhost/", "visibility": "localhost"}
    installation.call("POST", "/targets", body)
    (workspace / "logs" / "decoy").write_text(f"in a log: {core}")
    (workspace / "spool" / "decoy").write_text(f"in the spool: {core}")
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()", core]
    popen = subprocess.Popen(sleeper, env={"DECOY": core}, stdin=subprocess.PIPE, start_new_session=True)
    installation.stack.callback(Process(popen, workspace / "none").stop)


def listen_to_events(installation: Installation, heard: bytearray) -> None:
    """The organization's live stream, for as long as the control plane lives."""
    headers = {"X-API-Key": installation.api_key}
    try:
        with httpx2.stream("GET", f"{installation.url}/api/v1/events", headers=headers, timeout=None, trust_env=False) as stream:
            for part in stream.iter_bytes():
                heard += part
    except httpx2.HTTPError:
        return


def look_at_answers(installation: Installation, scans: list[str], search: Search) -> None:
    """Everything that the API says of these scans and around them."""
    paths = [f"/api/v1/scans/{scan}{part}" for scan in scans for part in ("", "/log", "/findings?limit=100", "/report")]
    paths += [f"/api/v1/{name}?limit=100" for name in ("targets", "scans", "findings", "runners", "audit-events")] + ["/metrics"]
    headers = {"X-API-Key": installation.api_key}
    with httpx2.Client(base_url=installation.url, headers=headers, timeout=30, trust_env=False) as client:
        for scan in scans:
            report = client.get(f"/api/v1/scans/{scan}/report").json()["report"]
            paths += [url for name, url in report.items() if name.endswith("Url") and isinstance(url, str)]
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, f"{path}: {answer.status_code}"
            search.look(f"answer {path.partition('?')[0]}", answer.content)


def test_secrets_of_targets_and_providers_are_in_nothing_that_leaves_the_runner(
    installation: Installation, cores: dict[str, str], sites: dict[str, EchoingShop]
) -> None:
    workspace = installation.enroll("north")
    own_files = keep_credentials(workspace, cores, sites)
    runner = installation.start_runner("north", workspace, ANTHROPIC_API_KEY=f"sk-{cores['provider']}", APVISO_RUNNER_CONCURRENCY="2")
    wait_for(lambda: installation.call("GET", "/runners")["runners"][0]["acceptingJobs"], 60, "the runner accepts")
    heard = bytearray()
    threading.Thread(target=listen_to_events, args=(installation, heard), daemon=True).start()
    plant_decoys(installation, workspace, cores[DECOY])
    during, after = Search(cores), Search(cores)

    def look_around() -> None:
        during.look_at_processes(lambda pid: is_process_or_its_copy(pid, runner.popen.pid))
        for folder in ("spool", "logs"):
            during.look_at_files(workspace / folder)
        # What a target repeats lies in a scan's working folder until its end; the guard's log there holds none of it.
        during.look_at_files(workspace / "jobs", pattern="requests.ndjson")

    with sampling(look_around) as looks:
        targets = {kind: installation.add_target(f"http://{site.address}/") for kind, site in sites.items()}
        scans = {kind: installation.start_scan(target, whenUnavailable="queue") for kind, target in targets.items()}
        ended = {kind: installation.wait_for_end(scan, 400) for kind, scan in scans.items()}
    runner.stop()
    after.look_at_files(installation.folder, own_files)
    look_at_answers(installation, list(scans.values()), after)
    after.look("the live stream", bytes(heard))

    # The secrets really were in use.
    assert {kind: scan["status"] for kind, scan in ended.items()} == dict.fromkeys(KINDS, "completed"), ended
    at_sites = {kind: Search(cores) for kind in KINDS}
    for kind, site in sites.items():
        at_sites[kind].look("site", "\n".join(site.seen).encode())
    assert {kind: {name for name, _ in search.found} for kind, search in at_sites.items()} == {
        kind: {kind, "session"} if kind == "login" else {kind} for kind in KINDS
    }
    # The search finds what is there.
    assert len(looks) > 20
    assert during.places(DECOY) == {"decoy", "arguments of a process", "environment of a process"}
    assert {"north/logs/decoy", "north/spool/decoy", "answer /api/v1/targets", "answer /api/v1/audit-events"} <= after.places(DECOY)
    assert any(place.startswith("data/") for place in after.places(DECOY))
    assert any(place.endswith("requests.ndjson") for place in during.looked_at)
    # And it finds nothing else.
    assert {(name, place) for name, place in during.found | after.found if name != DECOY} == set()
    # What the site repeated was there, and was taken out.
    for kind, scan in scans.items():
        findings = json.dumps(installation.call("GET", f"/scans/{scan}/findings?limit=100"))
        assert "seen=" in findings, kind
        assert "******" in findings, kind
