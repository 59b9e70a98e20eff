"""What the tests measured by the way is told at the end of the run, whichever process ran them."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each test may say a line with `record_property("measured", ...)`."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [str(value) for report in reports for name, value in report.user_properties if name == "measured" and report.when == "call"]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
