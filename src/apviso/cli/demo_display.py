"""How the demo shows readiness, a running scan and its findings on a terminal. Text from the scanned site is shown as text."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from apviso.cli.demo_stage import Stage

SEVERITY_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}


def show_readiness(console: Console, readiness: dict[str, Any]) -> None:
    table = Table("", "check", "what is seen", "what to do", show_edge=False)
    for check in readiness["checks"]:
        mark = Text("ok", style="green") if check["ok"] else Text("no", style="red")
        table.add_row(mark, check["code"], Text(check["message"]), Text(check["fix"] or ""))
    console.print(table)
    console.print("Ready." if readiness["ready"] else Text(f"Not ready: {readiness['reason']}", style="yellow"))


def watch(console: Console, stage: Stage, scan_id: str) -> dict[str, Any]:
    """Show the scan while it runs; the ended scan."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[seen]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("waiting for a runner", total=100, seen="")
        found = requests = 0
        for event in stage.follow(scan_id):
            match event["type"]:
                case "phase":
                    progress.update(task, description=event["name"])
                case "progress":
                    requests = max(requests, event.get("requests") or 0)
                    progress.update(task, completed=event["percent"])
                case "stats":
                    requests = event["requests"]
                case "finding":
                    found += 1
                    progress.console.print(Text(f"  found: {event['finding']['title']} at {event['finding']['url']}"), soft_wrap=True)
            progress.update(task, seen=f"{requests} requests, {found} findings")
        scan = stage.scan(scan_id)
        progress.update(task, completed=100, description=f"{scan['status']}")
    return scan


def show_findings(console: Console, findings: list[dict[str, Any]]) -> None:
    table = Table("severity", "score", "finding", Column("where", overflow="fold"), "parameter", "CWE", show_edge=False)
    for finding in findings:
        severity = finding["severity"]
        table.add_row(
            Text(severity, style=SEVERITY_STYLES.get(severity, "")),
            str(finding["cvssScore"] or ""),
            Text(finding["title"]),
            Text(f"{finding['method']} {finding['url']}"),
            Text(finding["parameter"] or ""),
            str(finding["cweId"] or ""),
        )
    console.print(table)
    console.print(f"{len(findings)} findings.")


def show_coverage(console: Console, scan: dict[str, Any]) -> None:
    coverage = scan["coverage"] or {"complete": False, "reasons": ["the scan reported no coverage"]}
    said = "The scan looked at everything it was meant to look at." if coverage["complete"] else "The scan is partial:"
    console.print(Text("\n- ".join([said, *coverage["reasons"]])))
