"""User commands as real processes: what they print, and the exit codes that a build depends on."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from apviso.protocol.tokens import Namespace, new_token
from tests.server.client.conftest import Shell, ended
from tests.support.people import Organization, Runner

pytestmark = pytest.mark.slow
WHOLE = {"complete": True, "reasons": []}
PARTIAL = {"complete": False, "reasons": ["the budget of requests was used up"]}
HOSTILE = "evil \x1b[2J\x9b31m\u202e name"


def finding(seq: int = 1, severity: str = "high", title: str = "A flaw") -> dict[str, Any]:
    flaw = {"title": title, "severity": severity, "url": "http://localhost:3000/"}
    return {"seq": seq, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw}


async def claimed(runner: Runner) -> dict[str, Any]:
    """The job of a scan that a process is about to start."""
    answer = (await runner.claim(wait=20)).raise_for_status().json()
    assert answer["job"] is not None
    return dict(answer["job"])


async def finish(runner: Runner, job: dict[str, Any], *events: dict[str, Any], **ending: Any) -> None:
    (await runner.on_job(job, "preflight", ok=True)).raise_for_status()
    (await runner.on_job(job, "start")).raise_for_status()
    if events:
        (await runner.on_job(job, "events", events=list(events))).raise_for_status()
    told = {"status": "completed", "endReason": "completed", "lastSeq": len(events), "coverage": WHOLE, **ending}
    (await runner.on_job(job, "finish", **told)).raise_for_status()


@pytest.mark.parametrize(
    ("flags", "events", "ending", "code", "word"),
    [
        (("--fail-on", "high"), [finding()], {}, 2, "FAILED: high: A flaw"),
        (("--fail-on", "high"), [], {"coverage": PARTIAL}, 2, "FAILED: the scan is partial"),
        (("--allow-partial",), [], {"coverage": PARTIAL}, 0, "note: the scan is partial"),
    ],
)
async def test_scan_that_is_waited_for_ends_with_the_code_of_its_verdict(
    shell: Shell,
    acme: Organization,
    runner: Runner,
    flags: tuple[str, ...],
    events: list[Any],
    ending: dict[str, Any],
    code: int,
    word: str,
) -> None:
    await acme.target()
    process = await shell.start("scan", "start", "localhost:3000", "--wait", *flags, "--json")
    await finish(runner, await claimed(runner), *events, **ending)

    ran = await ended(process)

    assert (ran.code, word in ran.err) == (code, True), ran
    assert json.loads(ran.out)["scan"]["findingCounts"]["high"] == len(events)
    assert acme.key not in ran.out + ran.err


async def test_scan_that_cannot_start_or_does_not_end_in_time_has_codes_of_its_own(
    shell: Shell, acme: Organization, runner: Runner
) -> None:
    target = (await acme.target())["id"]
    await acme.post(f"/runners/{runner.id}/pause")

    refused = await shell.run("scan", "start", target)
    late = await shell.run("scan", "start", target, "--queue", "--wait", "--timeout", "0.1")
    active = await shell.run("scan", "start", target, "--queue")
    half = await shell.run("scan", "start", target, "--fail-on", "high")

    assert (refused.code, late.code, active.code, half.code) == (2, 75, 75, 64)
    assert refused.err.count("next:") == 1
    assert "apviso scan watch" in late.err
    assert "--wait" in half.err


async def test_scan_that_is_watched_shows_its_log_with_hostile_text_made_harmless(shell: Shell, acme: Organization, runner: Runner) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]["id"]
    log = {"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "log", "level": "info", "message": HOSTILE}
    await finish(runner, await claimed(runner), log, finding(2, title=HOSTILE))

    watched = await shell.run("scan", "watch", scan)
    lines = await shell.run("scan", "watch", scan, "--json", "--fail-on", "high")
    listed = await shell.run("findings", "list", "--scan", scan)
    without_command = await shell.run("findings", "--scan", scan, "--json")
    before_command = await shell.run("findings", "--json", "list")

    assert (len(json.loads(without_command.out)["findings"]), before_command.code) == (1, 64)
    said = watched.out + lines.out + lines.err + listed.out
    assert (watched.code, lines.code, listed.code) == (0, 2, 0)
    assert said.isascii()
    assert "\x1b" not in said
    assert "evil \\x1b[2J\\x9b31m\\u202e name" in watched.out
    assert [json.loads(line)["type"] for line in lines.out.splitlines()] == ["log", "finding", "end"]


async def test_retest_fails_a_build_until_each_flaw_is_fixed(shell: Shell, acme: Organization, runner: Runner) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]["id"]
    await finish(runner, await claimed(runner), finding())
    flaw = (await acme.get("/findings")).json()["findings"][0]["id"]
    looked = {"findingId": flaw, "complete": True}
    marked = await shell.run("findings", "mark", flaw, "accepted_risk", "--until", "2026-06-30", "--json")
    await acme.patch(f"/findings/{flaw}/status", {"userStatus": "open"})

    process = await shell.start("scan", "retest", scan, "--finding", flaw, "--wait", "--json")
    await finish(runner, await claimed(runner), finding(), looks=[looked])
    open_ = await ended(process)
    process = await shell.start("scan", "retest", scan, "--wait")
    await finish(runner, await claimed(runner), looks=[looked])
    fixed = await ended(process)
    history = await shell.run("findings", "history", flaw, "--json")

    assert (marked.code, json.loads(marked.out)["finding"]["acceptedUntil"]) == (0, "2026-06-30T00:00:00Z")
    assert (open_.code, fixed.code) == (2, 0), (open_, fixed)
    assert "FAILED: still_open: A flaw" in open_.err
    assert "/report.html" in open_.err
    assert json.loads(open_.out)["results"][0]["outcome"] == "still_open"
    assert "1 fixed, 0 still open" in fixed.out
    assert [one["cause"] for one in json.loads(history.out)["history"]] == ["retest", "retest", "person", "person"]


async def test_lists_are_aligned_in_a_pipe_and_the_same_as_json(shell: Shell, acme: Organization, runner: Runner) -> None:
    await acme.runner("a rather long name")
    await acme.target()

    plain = await shell.run("runners", "list")
    told = await shell.run("runners", "list", "--json")
    targets = await shell.run("targets", "list", "--json")
    ready = await shell.run("readiness", "--target", "localhost:3000", "--json")

    head, *rows = plain.out.splitlines()
    places = {line.index(word) for line, word in zip([head, *rows], ("STATUS", "online", "online"), strict=True)}
    assert len(places) == 1
    assert json.loads(told.out) == (await acme.get("/runners")).json()
    assert json.loads(targets.out) == (await acme.get("/targets")).json()
    assert (ready.code, json.loads(ready.out)["ready"]) == (0, True)


async def test_runner_that_is_waited_for_is_shown_when_it_takes_scans(shell: Shell, acme: Organization, runner: Runner) -> None:
    await acme.post(f"/runners/{runner.id}/pause")
    process = await shell.start("runners", "wait", "runner-1", "--timeout", "30", "--json")
    early = await shell.run("runners", "wait", runner.id, "--timeout", "0.1")
    await acme.post(f"/runners/{runner.id}/resume")

    ran = await ended(process)

    assert (early.code, ran.code) == (75, 0)
    assert json.loads(ran.out)["runner"]["acceptingJobs"]


async def test_report_is_written_whole_and_for_its_owner_alone(shell: Shell, acme: Organization, runner: Runner, tmp_path: Path) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]["id"]
    file = tmp_path / "report.md"

    early = await shell.run("report", scan, "--output", str(file))
    await finish(runner, await claimed(runner), finding())
    done = await shell.run("report", scan, "--output", str(file))

    assert (early.code, done.code) == (75, 0)
    assert file.read_text() == (await acme.get(f"/scans/{scan}/report")).json()["report"]["markdownContent"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*report*")] == ["report.md"]


async def test_call_that_fails_ends_with_the_code_of_its_cause(shell: Shell, acme: Organization) -> None:
    narrow = (await acme.limited_to("scans:read")).key
    stranger = new_token(Namespace.API_KEY).reveal()
    causes: list[tuple[int, dict[str, str], tuple[str, ...]]] = [
        (64, {}, ("scan", "show", "no-such-scan")),
        (69, {"APVISO_API_URL": "http://127.0.0.1:9"}, ("scan", "list")),
        (77, {"APVISO_API_KEY": stranger}, ("scan", "list")),
        (77, {"APVISO_API_KEY": narrow}, ("targets", "list")),
        (78, {"APVISO_API_KEY": ""}, ("scan", "list")),
    ]

    ran = [await shell.run(*words, **environ) for _, environ, words in causes]

    assert [one.code for one in ran] == [code for code, _, _ in causes], ran
    assert [one.out for one in ran] == [""] * len(causes)
    assert all(one.err for one in ran)
    assert not any(key in one.out + one.err for one in ran for key in (narrow, stranger, acme.key))


async def test_key_comes_from_standard_input_or_a_file_too(shell: Shell, acme: Organization, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(acme.key + "\n")

    piped = await shell.run("api-keys", "list", "--api-key-file", "-", "--json", stdin=acme.key + "\n", APVISO_API_KEY="")
    read = await shell.run("runners", "token", "--api-key-file", str(file), APVISO_API_KEY="")

    assert (piped.code, read.code) == (0, 0)
    assert len(json.loads(piped.out)["apiKeys"]) == 1
    # The token alone is on standard output, so that it can be piped to the command that takes it.
    assert (read.out.startswith("apve_"), read.out.count("\n")) == (True, 1)
    assert read.out.strip() not in read.err


async def test_shell_completes_what_an_option_takes(shell: Shell) -> None:
    values = await shell.run(_APVISO_COMPLETE="complete_bash", COMP_WORDS="apviso scan start x --fail-on ", COMP_CWORD="5")

    assert values.out.split() == ["critical", "high", "medium", "low", "info"]
