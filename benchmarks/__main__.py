"""`python -m benchmarks [NAME...]`: runs the named benchmarks, or all, and prints their rows."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence

from benchmarks import claims, containers, flushes, guard, heartbeats, lists, parked, starts
from benchmarks.measuring import Bar, Told
from benchmarks.plant import end_in_order

BENCHMARKS: dict[str, Callable[[], Awaitable[Sequence[Told]]]] = {
    "claims": claims.rows,
    "containers": containers.rows,
    "guard": guard.rows,
    "heartbeats": heartbeats.rows,
    "flushes": flushes.rows,
    "lists": lists.rows,
    "parked": parked.rows,
    "starts": starts.rows,
}


async def main(names: list[str]) -> int:
    if strangers := set(names) - set(BENCHMARKS):
        print(f"There is no benchmark {', '.join(sorted(strangers))}; there are {', '.join(BENCHMARKS)}.")
        return 64
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores.")
    print("Medians, smallest and largest in brackets. Sides of one comparison take turns; compare ratios, not figures.\n")
    failed, bars = [], list[Bar]()
    for name in names or BENCHMARKS:
        print(f"== {name}; load {os.getloadavg()[0]:.1f}\n", flush=True)
        try:
            for row in await BENCHMARKS[name]():
                print(f"{row.text()}\n", flush=True)
                bars += [row] if isinstance(row, Bar) else []
        except Exception:  # noqa: BLE001  # the others are measured all the same
            traceback.print_exc()
            failed.append(name)
    print("\n".join(bar.line() for bar in sorted(bars, key=lambda bar: int(bar.name[1:]))))
    if failed:
        print(f"Not measured, see above: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(asyncio.run(main(sys.argv[1:])))
