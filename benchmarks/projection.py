"""What a measured fleet means for larger ones, on paper: the arithmetic, printed with its assumptions. Measures nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIZES = (10_000, 100_000, 1_000_000)
# What a process should be loaded to at most, so that a wake of everyone and a lost neighbor still fit.
FILL = 0.5
HEARTBEAT_SECONDS = 15
POLL_SECONDS = 20
# What a bare statement of 1,000 rows wrote on PostgreSQL where the bars were set, see docs/explanation/performance.md.
ROWS_PER_SECOND = 80_000


@dataclass(frozen=True)
class Measured:
    """One fleet on one process: share of a core, MiB resident with all of it and before anyone came."""

    runners: int
    cores: float
    resident: float
    empty: float


def projection(measured: Measured) -> str:
    """Linear, which the flat cost per runner permits; what does not grow linearly is named."""
    each, kib = measured.cores / measured.runners, (measured.resident - measured.empty) * 1024 / measured.runners
    lines = [
        f"projection from {measured.runners} runners: each takes {each * 1e6:.1f} millionths of a core and {kib:.1f} KiB",
        f"  {'runners':>9} {'beats/s':>8} {'polls/s':>8} {'cores':>7} {'processes':>9} {'GiB in all':>10} {'rows/s of the database':>22}",
    ]
    for size in SIZES:
        beats, cores = size / HEARTBEAT_SECONDS, each * size
        processes = math.ceil(cores / FILL)
        gib = (kib * size / 1024 + measured.empty * processes) / 1024
        rows = f"{beats / ROWS_PER_SECOND:.1%}"
        lines.append(f"  {size:>9} {beats:>8.0f} {size / POLL_SECONDS:>8.0f} {cores:>7.2f} {processes:>9} {gib:>10.2f} {rows:>22}")
    lines.append(
        f"  cores: runners x cores of each; processes: cores / {FILL}; GiB: runners x KiB of each + processes x {measured.empty:.0f} MiB\n"
        f"  rows = one for each heartbeat, of the {ROWS_PER_SECOND} a second that one database writes in batches. Not linear, and not in\n"
        "  this: claims of one organization queue behind one lock, and each process hears the hints of all others."
    )
    return "\n".join(lines)
