"""`python -m benchmarks [NAME...]`: runs the named benchmarks, or all, and prints their rows."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable

from benchmarks import containers, guard, heartbeats
from benchmarks.measuring import Row

BENCHMARKS: dict[str, Callable[[], Awaitable[list[Row]]]] = {
    "containers": containers.rows,
    "guard": guard.rows,
    "heartbeats": heartbeats.rows,
}


async def main(names: list[str]) -> int:
    if strangers := set(names) - set(BENCHMARKS):
        print(f"There is no benchmark {', '.join(sorted(strangers))}; there are {', '.join(BENCHMARKS)}.")
        return 64
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores.")
    print("Medians, smallest and largest in brackets; a ratio above 1 is what ours takes longer.\n")
    for name in names or BENCHMARKS:
        for row in await BENCHMARKS[name]():
            print(f"{row.text()}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
