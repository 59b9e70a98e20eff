"""`apviso findings`: what scans found, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit
from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json, fail
from apviso.cli.showing import print_facts, print_json, print_json_list, print_table
from apviso.cli.targets import id_of
from apviso.protocol.states import Severity, UserStatus

if TYPE_CHECKING:
    from apviso.protocol.findings import Finding

group = typer.Typer(
    help="What scans found, and what becomes of it. Without a command, the findings are listed.", invoke_without_command=True
)
WhichFinding = Annotated[str, typer.Argument(metavar="FINDING", help="Id of a finding.")]
DEFAULT_LIMIT, MOST = 200, 10_000


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="findings")


OfScan = Annotated[str | None, typer.Option("--scan", help="Only of this scan.")]
OfTarget = Annotated[str | None, typer.Option("--target", help="Only of this target, by id or domain.")]
OfSeverity = Annotated[Severity | None, typer.Option("--severity", help="Only of this severity.")]
WithStatus = Annotated[UserStatus | None, typer.Option("--status", help="Only those that are marked so.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=MOST, help="So many at most, worst first.")]


@group.callback()
def without_command(
    context: typer.Context,
    scan: OfScan = None,
    target: OfTarget = None,
    severity: OfSeverity = None,
    status: WithStatus = None,
    limit: Limit = DEFAULT_LIMIT,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """What scans found, and what becomes of it. Without a command, the findings are listed."""
    if context.invoked_subcommand is None:
        list_(scan, target, severity, status, limit, json, api_url, api_key_file)
    elif {scan, target, severity, status, api_url, api_key_file} != {None} or json or limit != DEFAULT_LIMIT:
        fail(Exit.USAGE, f"Write the options after the command: apviso findings {context.invoked_subcommand} ...")


@group.command("list")
def list_(
    scan: OfScan = None,
    target: OfTarget = None,
    severity: OfSeverity = None,
    status: WithStatus = None,
    limit: Limit = DEFAULT_LIMIT,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """List findings of all scans or of one, worst first."""
    with connected(api_url, api_key_file) as client:
        if scan is not None:
            found = client.scans.findings(scan, severity=severity, user_status=status)
        else:
            target_id = None if target is None else id_of(client, target)
            found = client.findings.all(severity=severity, user_status=status, target_id=target_id)
        findings = list(islice(found, limit))
    if json:
        print_json_list("findings", findings)
        return
    rows = [
        (one.severity, one.cvss_score, one.title, f"{one.method} {one.url}", one.parameter, one.user_status, one.id) for one in findings
    ]
    print_table(("severity", "score", "finding", "where", "parameter", "status", "id"), rows, "There is no finding.")


@group.command()
def show(finding: WhichFinding, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Show one finding with its evidence."""
    with connected(api_url, api_key_file) as client:
        _show(client.findings.get(finding), json=json)


@group.command()
def mark(
    finding: WhichFinding,
    status: Annotated[UserStatus, typer.Argument(metavar="STATUS", help="What becomes of it.")],
    note: Annotated[str | None, typer.Option("--note", help="Why, for the audit trail.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="When an accepted risk ends (UTC); it is open again then.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Say what becomes of a finding: open, in_progress, fixed, accepted_risk or false_positive."""
    from apviso.protocol.findings import FindingStatusPatch

    with connected(api_url, api_key_file) as client:
        ends = None if until is None else until.replace(tzinfo=UTC)
        _show(client.findings.set_status(finding, FindingStatusPatch(user_status=status, note=note, until=ends)), json=json)


@group.command()
def history(
    finding: WhichFinding,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many at most, newest first.")] = 50,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show who or what changed the status of a finding, and what retests saw of it."""
    with connected(api_url, api_key_file) as client:
        found = list(islice(client.findings.history(finding), limit))
    if json:
        print_json_list("history", found)
        return
    rows = [(one.at, one.cause, one.actor, one.from_status, one.to_status, one.until, one.note) for one in found]
    print_table(("at", "by", "who", "from", "to", "until", "note"), rows, "Nothing has become of it yet.")


def _show(finding: Finding, *, json: bool) -> None:
    if json:
        from apviso.protocol.findings import FindingAnswer

        print_json(FindingAnswer(finding=finding))
        return
    print_facts(
        (
            ("Finding", finding.title),
            ("Id", finding.id),
            ("Severity", " ".join(str(word) for word in (finding.severity, finding.cvss_score, finding.cvss_vector) if word is not None)),
            ("Weakness", None if finding.cwe_id is None else f"CWE-{finding.cwe_id}"),
            ("Where", f"{finding.method} {finding.url}"),
            ("Parameter", finding.parameter),
            ("Status", finding.user_status),
            ("Accepted until", finding.accepted_until),
            ("First seen", finding.first_seen_at),
            ("Last seen", finding.last_seen_at),
            ("Description", finding.description or None),
            ("Evidence", finding.evidence or None),
            ("Remedy", finding.remediation or None),
        )
    )
