"""The typesetter: a report as JSON on standard input, its PDF on standard output. The template is ours; the report reaches it as data."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from importlib.resources import files

import typst

# Address space; typesetting the longest report takes a part of it.
_MOST_BYTES = 4 * 1024**3
_MOST_SECONDS = 60


def main() -> None:
    _bound()
    sys.stdout.buffer.write(pdf_of(sys.stdin.buffer.read().decode()))


def pdf_of(report: str) -> bytes:
    """The same bytes for the same report: its time is that at which it was written."""
    template = files("apviso.server.typesetting").joinpath("report.typ").read_bytes()
    made = typst.compile(
        template,
        format="pdf",
        sys_inputs={"report": report},
        timestamp=datetime.fromisoformat(json.loads(report)["asOf"]),
        # What a page looks like must not depend on the machine.
        ignore_system_fonts=True,
    )
    assert isinstance(made, bytes)
    return made


def _bound() -> None:
    if sys.platform == "win32":
        return
    import resource

    for kind, most in ((resource.RLIMIT_AS, _MOST_BYTES), (resource.RLIMIT_CPU, _MOST_SECONDS)):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
