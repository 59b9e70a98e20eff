"""`apviso demo`: one scan from enrollment to report on this machine, with real processes, in a folder that is removed afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from apviso.cli.demo_stage import Stage


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    hardened: Annotated[bool, typer.Option("--hardened", help="Scan the shop without its flaws instead.")] = False,
) -> None:
    """Start a control plane, a runner and a vulnerable shop, scan it, and show what was found."""
    from rich.console import Console

    from apviso.cli.demo_stage import DemoFailed, Stage

    console = Console()
    try:
        with Stage.set() as stage:
            _play(stage, console, hardened=hardened)
            if keep:
                _hold(stage, console)
    except DemoFailed as failure:
        console.print(f"The demo stopped: {failure}", style="red", markup=False)
        raise typer.Exit(Exit.CHECK_FAILED) from failure
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None


def _play(stage: Stage, console: Console, *, hardened: bool) -> None:
    from apviso.cli import demo_display as display

    console.rule("1. Control plane")
    stage.start_server()
    console.print(f"API at {stage.api_url}/api/v1 with its own SQLite database; documents at {stage.api_url}/docs")
    console.rule("2. A shop to test")
    console.print(f"A {'hardened' if hardened else 'deliberately vulnerable'} bookshop at {stage.start_shop(hardened=hardened)}")
    target_id = stage.add_target()
    console.rule("3. Why not yet?")
    display.show_readiness(console, stage.readiness(target_id))
    console.rule("4. A runner enrolls")
    console.print(f"Runner {stage.enroll_runner()} enrolled with a one-time token and runs as process {stage.start_runner()}")
    display.show_readiness(console, stage.wait_until_ready(target_id))
    console.rule("5. Scan")
    scan = display.watch(console, stage, stage.start_scan(target_id))
    console.rule("6. Findings")
    display.show_findings(console, stage.findings(scan["id"]))
    display.show_coverage(console, scan)
    console.rule("7. Report")
    console.print(f"Report: {stage.save_report(scan['id'])}", soft_wrap=True)
    console.print(f"API: {stage.api_url}/api/v1/scans/{scan['id']}", soft_wrap=True)
    stage.check(scan)


def _hold(stage: Stage, console: Console) -> None:
    console.print("Everything is left running; Ctrl-C ends it. To call the API:")
    console.print(f"  curl -H 'X-API-Key: {stage.api_key}' {stage.api_url}/api/v1/runners", soft_wrap=True, markup=False, highlight=False)
    stage.wait_for_end()
