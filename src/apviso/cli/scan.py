"""`apviso scan`: start scans, watch them, and tell a build whether they passed."""

from __future__ import annotations

import contextlib
import json as json_
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    from apviso.client import Client
    from apviso.protocol.findings import RetestAnswer, RetestCounts
    from apviso.protocol.scans import NewScan, Scan

group = typer.Typer(help="Start scans, watch them, tell a build whether they passed.", no_args_is_help=True)
Queue = Annotated[bool, typer.Option("--queue", help="Wait for a runner where none is ready, rather than refuse.")]
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
    queue: Queue = False,
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
        target_id, unavailable = id_of(client, target), _unless_ready(queue=queue)
        wanted = NewScan(target_id=target_id, runner_id=runner, model_preset=preset, when_unavailable=unavailable)
        if wait:
            _start_and_judge(client, wanted, fail_on, timeout, allow_partial=allow_partial, json=json)
        else:
            _start(client, wanted, json=json)


@group.command()
def retest(
    scan: Annotated[str, typer.Argument(metavar="SCAN", help="Id of the ended scan that saw the findings.")],
    finding: Annotated[
        list[str] | None, typer.Option("--finding", help="Id of a finding; may be given several times. Without it, all that the scan saw.")
    ] = None,
    runner: Annotated[str | None, typer.Option("--runner", help="Id of the runner that is to scan.")] = None,
    queue: Queue = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exits with 2 unless each finding is fixed.")] = False,
    timeout: Timeout = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Look again for what an ended scan has found, and for nothing else; with --wait, also judge it."""
    from apviso.protocol.scans import NewScan

    if timeout is not None and not wait:
        fail(Exit.USAGE, "--timeout is for the wait: give --wait, too.")
    with connected(api_url, api_key_file) as client:
        parent = client.scans.get(scan)
        wanted = NewScan(
            target_id=parent.target_id,
            runner_id=runner,
            is_retest=True,
            parent_scan_id=parent.id,
            finding_ids=finding or [],
            when_unavailable=_unless_ready(queue=queue),
        )
        if wait:
            _start_and_judge(client, wanted, None, timeout, allow_partial=False, json=json)
        else:
            _start(client, wanted, json=json)


def _unless_ready(*, queue: bool) -> Literal["queue", "reject"]:
    return "queue" if queue else "reject"


def _start(client: Client, wanted: NewScan, *, json: bool) -> None:
    created = client.scans.start(wanted)
    if json:
        print_json(created)
    else:
        print_facts((("Scan", created.scan.id), ("Status", created.scan.status), ("Waits for", _blocker(created.scan))))


def _start_and_judge(
    client: Client, wanted: NewScan, fail_on: Severity | None, timeout: float | None, *, allow_partial: bool, json: bool
) -> None:
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
        scan = client.scans.wait(scan_id, seconds=timeout, on_change=tell)
    except (WaitedTooLong, KeyboardInterrupt):
        notice(f"The scan goes on: apviso scan watch {scan_id}")
        raise
    _conclude(client, scan, fail_on, allow_partial=allow_partial, json=json)


def _state(scan: Scan) -> str:
    if scan.status is ScanStatus.PENDING_RUNNER:
        return f"waiting: {_blocker(scan) or 'for a runner to take it'}"
    return f"{scan.status}: {scan.progress.phase}" if scan.progress.phase and scan.finished_at is None else str(scan.status)


def _blocker(scan: Scan) -> str | None:
    return scan.waiting_for.reason if scan.waiting_for is not None else None


def _conclude(client: Client, scan: Scan, fail_on: Severity | None, *, allow_partial: bool, json: bool) -> None:
    """Show the ended scan and end with what it means for a build."""
    if json:
        _print_scan(client, scan)
        notice(f"report: {_report_of(client, scan)}")
    else:
        _show(client, scan)
    _judge(client, scan, fail_on, allow_partial=allow_partial)


def _judge(client: Client, scan: Scan, fail_on: Severity | None, *, allow_partial: bool) -> None:
    from apviso.cli.judging import judge

    findings = client.scans.findings(scan.id) if fail_on is not None else ()
    retested = client.scans.retest(scan.id).results if scan.is_retest else ()
    verdict = judge(scan, findings, fail_on, retested, allow_partial=allow_partial)
    for note in verdict.notes:
        notice(f"note: {note}")
    for problem in verdict.problems:
        notice(f"FAILED: {problem}")
    if not verdict.passes:
        raise typer.Exit(Exit.CHECK_FAILED)


def _print_scan(client: Client, scan: Scan) -> None:
    """As JSON; a retest with what it says of each finding."""
    from apviso.protocol.scans import ScanAnswer

    retested = _retested(client, scan)
    print_json(ScanAnswer(scan=scan), *([retested] if retested is not None else []))


def _retested(client: Client, scan: Scan) -> RetestAnswer | None:
    """What a retest says; None for another scan, and where the key may not see findings."""
    from apviso.client import Forbidden

    with contextlib.suppress(Forbidden):
        return client.scans.retest(scan.id) if scan.is_retest else None
    return None


def _report_of(client: Client, scan: Scan) -> str:
    """With the key; `apviso report` fetches it in any format."""
    return f"{client.api_url}/api/v1/scans/{scan.id}/report.html"


def _show(client: Client, scan: Scan) -> None:
    counts = ", ".join(f"{number} {severity}" for severity, number in scan.finding_counts.model_dump().items() if number)
    retested = _retested(client, scan)
    coverage = None if scan.coverage is None else "complete" if scan.coverage.complete else f"partial: {'; '.join(scan.coverage.reasons)}"
    print_facts(
        (
            ("Scan", scan.id),
            ("Status", ", ".join(str(word) for word in (scan.status, scan.end_reason) if word)),
            ("Why", scan.status_reason),
            ("Waits for", _blocker(scan)),
            ("Findings", counts or "none"),
            ("Retest", None if retested is None else _decided(retested.counts)),
            ("Coverage", coverage),
            ("Requests", scan.progress.requests),
            ("Started", scan.started_at),
            ("Finished", scan.finished_at),
            ("Report", None if scan.finished_at is None else _report_of(client, scan)),
        )
    )


def _decided(counts: RetestCounts) -> str:
    return f"{counts.fixed} fixed, {counts.still_open} still open, {counts.could_not_check} could not be checked"


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
        ended = client.scans.get(scan)
        if json:
            # The events were the output.
            _judge(client, ended, fail_on, allow_partial=allow_partial)
        else:
            _conclude(client, ended, fail_on, allow_partial=allow_partial, json=False)


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
    with connected(api_url, api_key_file) as client:
        found = client.scans.get(scan)
        if json:
            _print_scan(client, found)
        else:
            _show(client, found)


@group.command()
def cancel(scan: WhichScan, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """End a queued scan at once; tell the runner of a running one to stop."""
    with connected(api_url, api_key_file) as client:
        ended = client.scans.cancel(scan)
        if json:
            _print_scan(client, ended)
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
