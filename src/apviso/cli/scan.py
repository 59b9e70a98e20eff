"""`apviso scan`: start scans, watch them, and tell a build whether they passed."""

from __future__ import annotations

import json as json_
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apviso.cli.exits import Exit
from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json, fail
from apviso.cli.showing import notice, print_facts, print_json, print_table
from apviso.cli.targets import Which as WhichTarget
from apviso.cli.targets import id_of
from apviso.protocol.states import ModelPreset, ScanStatus, Severity
from apviso.runner.terminal import printable

if TYPE_CHECKING:
    from apviso.cli.judging import Verdict
    from apviso.client import Client
    from apviso.protocol.scans import NewScan, Scan

group = typer.Typer(help="Start scans, watch them, tell a build whether they passed.", no_args_is_help=True)
WhichScan = Annotated[str, typer.Argument(metavar="SCAN", help="Id of a scan.")]
FailOn = Annotated[Severity | None, typer.Option("--fail-on", help="Exit with 2 where something as severe as this, or worse, is found.")]
AllowPartial = Annotated[bool, typer.Option("--allow-partial", help="Do not exit with 2 for a scan that did not look at everything.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds after which the command ends with 75; the scan goes on.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="scan")


@group.command()
def start(
    target: WhichTarget,
    preset: Annotated[ModelPreset, typer.Option("--preset", help="How thoroughly to look.")] = ModelPreset.LOW,
    runner: Annotated[str | None, typer.Option("--runner", help="Id of the runner that is to scan.")] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Wait for a runner where none is ready, rather than refuse.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; exits with 2 unless the scan completed and looked at all.")
    ] = False,
    fail_on: FailOn = None,
    allow_partial: AllowPartial = False,
    timeout: Timeout = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Start a scan; with --wait, also judge it."""
    from apviso.protocol.scans import NewScan

    if not wait and (fail_on is not None or allow_partial or timeout is not None):
        fail(Exit.USAGE, "--fail-on, --allow-partial and --timeout judge an ended scan: give --wait, too.")
    with connected(api_url, api_key_file) as client:
        wanted = NewScan(
            target_id=id_of(client, target), runner_id=runner, model_preset=preset, when_unavailable="queue" if queue else "reject"
        )
        if wait:
            _start_and_judge(client, wanted, fail_on, timeout, allow_partial=allow_partial, json=json)
            return
        created = client.scans.start(wanted)
    if json:
        print_json(created)
    else:
        print_facts((("Scan", created.scan.id), ("Status", created.scan.status), ("Waits for", _blocker(created.scan))))


@group.command()
def retest(
    scan: Annotated[str, typer.Argument(metavar="SCAN", help="Id of the ended scan that saw the findings.")],
    findings: Annotated[list[str] | None, typer.Argument(metavar="[FINDING]...", help="Ids; otherwise all that the scan saw.")] = None,
    runner: Annotated[str | None, typer.Option("--runner", help="Id of the runner that is to look.")] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Wait for a runner where none is ready, rather than refuse.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exits with 2 unless each finding is fixed.")] = False,
    timeout: Timeout = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Test findings of an ended scan again; with --wait, also judge how they ended."""
    from apviso.protocol.scans import NewScan

    if not wait and timeout is not None:
        fail(Exit.USAGE, "--timeout is about waiting: give --wait, too.")
    with connected(api_url, api_key_file) as client:
        target_id = client.scans.get(scan).target_id
        wanted = NewScan(
            target_id=target_id,
            runner_id=runner,
            is_retest=True,
            parent_scan_id=scan,
            finding_ids=findings or [],
            when_unavailable="queue" if queue else "reject",
        )
        if wait:
            _show_results(client, _wait(client, wanted, timeout).id, json=json)
            return
        created = client.scans.start(wanted)
    if json:
        print_json(created)
    else:
        print_facts((("Scan", created.scan.id), ("Status", created.scan.status), ("Waits for", _blocker(created.scan))))


@group.command()
def results(scan: WhichScan, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Show how each finding of a retest ended, and judge it; exits with 2 unless each of them is fixed."""
    with connected(api_url, api_key_file) as client:
        _show_results(client, scan, json=json)


def _show_results(client: Client, scan_id: str, *, json: bool) -> None:
    from apviso.cli.judging import judge_retest

    answer = client.scans.retest(scan_id)
    if json:
        print_json(answer)
    else:
        rows = [(one.outcome, one.severity, one.title, one.reason, one.finding_id) for one in answer.results]
        print_table(("outcome", "severity", "finding", "why", "id"), rows, "This scan is no retest.")
    _end(judge_retest(answer.results))


def _start_and_judge(
    client: Client, wanted: NewScan, fail_on: Severity | None, timeout: float | None, *, allow_partial: bool, json: bool
) -> None:
    _conclude(client, _wait(client, wanted, timeout), fail_on, allow_partial=allow_partial, json=json)


def _wait(client: Client, wanted: NewScan, timeout: float | None) -> Scan:
    """Start a scan and tell each of its states until it has ended."""
    from apviso.client import WaitedTooLong

    scan_id = client.scans.start(wanted).scan.id
    notice(f"scan {scan_id}")
    told: list[str] = []

    def tell(scan: Scan) -> None:
        """Each state once: a build's log is read by people."""
        state = _state(scan)
        if told[-1:] != [state]:
            told.append(state)
            notice(state)

    try:
        return client.scans.wait(scan_id, seconds=timeout, on_change=tell)
    except (WaitedTooLong, KeyboardInterrupt):
        notice(f"The scan goes on: apviso scan watch {scan_id}")
        raise


def _state(scan: Scan) -> str:
    if scan.status is ScanStatus.PENDING_RUNNER:
        return f"waiting: {_blocker(scan) or 'for a runner to take it'}"
    return f"{scan.status}: {scan.progress.phase}" if scan.progress.phase and scan.finished_at is None else str(scan.status)


def _blocker(scan: Scan) -> str | None:
    return scan.waiting_for.reason if scan.waiting_for is not None else None


def _conclude(client: Client, scan: Scan, fail_on: Severity | None, *, allow_partial: bool, json: bool) -> None:
    """Show the ended scan and end with what it means for a build."""
    from apviso.cli.judging import judge
    from apviso.protocol.scans import ScanAnswer

    findings = client.scans.findings(scan.id) if fail_on is not None else ()
    verdict = judge(scan, findings, fail_on, allow_partial=allow_partial)
    if json:
        print_json(ScanAnswer(scan=scan))
    else:
        _show(client, scan)
    _end(verdict)


def _end(verdict: Verdict) -> None:
    for note in verdict.notes:
        notice(f"note: {note}")
    for problem in verdict.problems:
        notice(f"FAILED: {problem}")
    if not verdict.passes:
        raise typer.Exit(Exit.CHECK_FAILED)


def _show(client: Client, scan: Scan) -> None:
    counts = ", ".join(f"{number} {severity}" for severity, number in scan.finding_counts.model_dump().items() if number)
    coverage = None if scan.coverage is None else "complete" if scan.coverage.complete else f"partial: {'; '.join(scan.coverage.reasons)}"
    print_facts(
        (
            ("Scan", scan.id),
            ("Status", ", ".join(str(word) for word in (scan.status, scan.end_reason) if word)),
            ("Why", scan.status_reason),
            ("Waits for", _blocker(scan)),
            ("Findings", counts or "none"),
            ("Coverage", coverage),
            ("Requests", scan.progress.requests),
            ("Started", scan.started_at),
            ("Finished", scan.finished_at),
            # With the key; `apviso report` fetches it in any format.
            ("Report", None if scan.finished_at is None else f"{client.api_url}/api/v1/scans/{scan.id}/report.html"),
        )
    )


@group.command()
def watch(
    scan: WhichScan,
    fail_on: FailOn = None,
    allow_partial: AllowPartial = False,
    json: Annotated[bool, typer.Option("--json", help="Each event as a line of JSON.")] = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Follow a scan's log to its end, and judge it; exits with 2 unless the scan completed and looked at all."""
    with connected(api_url, api_key_file) as client:
        known = client.scans.get(scan)
        if known.status is ScanStatus.PENDING_RUNNER:
            notice(_state(known))
        for event in client.scans.follow(scan):
            typer.echo(json_.dumps(event)) if json else _tell(event)
        if json:
            _judge_quietly(client, client.scans.get(scan), fail_on, allow_partial=allow_partial)
        else:
            _conclude(client, client.scans.get(scan), fail_on, allow_partial=allow_partial, json=False)


def _judge_quietly(client: Client, scan: Scan, fail_on: Severity | None, *, allow_partial: bool) -> None:
    """The events were the output."""
    from apviso.cli.judging import judge

    findings = client.scans.findings(scan.id) if fail_on is not None else ()
    verdict = judge(scan, findings, fail_on, allow_partial=allow_partial)
    for problem in verdict.problems:
        notice(f"FAILED: {problem}")
    if not verdict.passes:
        raise typer.Exit(Exit.CHECK_FAILED)


def _tell(event: dict[str, Any]) -> None:
    """One line for what a person wants to see of an event; nothing for the rest."""
    match event:
        case {"type": "log", "at": at, "level": level, "message": message}:
            typer.echo(printable(f"{at}  {level:<7}  {message}"))
        case {"type": "phase", "at": at, "name": name}:
            typer.echo(printable(f"{at}  phase    {name}"))
        case {"type": "finding", "at": at, "finding": {"severity": severity, "title": title, "url": url}}:
            typer.echo(printable(f"{at}  FOUND    {severity}: {title} at {url}"))
        case _:
            pass


@group.command()
def show(scan: WhichScan, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Show one scan."""
    from apviso.protocol.scans import ScanAnswer

    with connected(api_url, api_key_file) as client:
        found = client.scans.get(scan)
    if json:
        print_json(ScanAnswer(scan=found))
    else:
        _show(client, found)


@group.command()
def cancel(scan: WhichScan, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """End a queued scan at once; tell the runner of a running one to stop."""
    from apviso.protocol.scans import ScanAnswer

    with connected(api_url, api_key_file) as client:
        ended = client.scans.cancel(scan)
    if json:
        print_json(ScanAnswer(scan=ended))
    else:
        _show(client, ended)


@group.command("list")
def list_(
    status: Annotated[ScanStatus | None, typer.Option("--status", help="Only these.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only of this target, by id or domain.")] = None,
    page: Annotated[int, typer.Option("--page", min=1)] = 1,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100)] = 50,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """List scans, newest first."""
    with connected(api_url, api_key_file) as client:
        target_id = None if target is None else id_of(client, target)
        answer = client.scans.page(page, limit, status=status, target_id=target_id)
    if json:
        print_json(answer)
        return
    rows = [(one.created_at, one.status, one.end_reason, _counts(one), one.progress.percent, one.target_id, one.id) for one in answer.scans]
    print_table(("created", "status", "end", "findings", "percent", "target", "id"), rows, "There is no scan: apviso scan start")


def _counts(scan: Scan) -> str:
    counts = scan.finding_counts
    return f"{counts.critical}/{counts.high}/{counts.medium}/{counts.low}/{counts.info}"
