"""`python -m apviso.scanning`: one scan as a process. Order on standard input, events on standard output, outcome as exit code.

Ends, with everything it started, when its standard input ends: nobody is there any more to stop it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from urllib.parse import urlsplit

from pydantic import ValidationError

from apviso.protocol.scan_events import CoverageLine, Log, OutputLine
from apviso.scanning import relay
from apviso.scanning.order import MAX_ORDER_BYTES, ScanOrder
from apviso.scanning.scan import run_scan
from apviso.scanning.verdict import ScanExit


def say(line: OutputLine) -> None:
    sys.stdout.write(line.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    sys.stdout.flush()


def lead_own_group() -> None:
    """So that ending the group ends the scanners too and nobody else."""
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)


def watch_starter() -> None:
    """Wait for the end of standard input, then end the whole group; runs in a thread of its own."""
    while sys.stdin.buffer.readline(4096):
        pass
    os.killpg(0, signal.SIGKILL)
    # The first process of a container is deaf to signals of its own; when it ends, the container ends.
    os._exit(128 + signal.SIGKILL)


def heed_termination() -> None:
    """The first process of a container ignores what it has no handler for."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def read_order() -> ScanOrder | None:
    """The order, or None where the first line is not one. Its content is never echoed."""
    try:
        return ScanOrder.model_validate_json(sys.stdin.buffer.readline(MAX_ORDER_BYTES))
    except ValidationError:
        return None


def main() -> int:
    heed_termination()
    order = read_order()
    if order is None:
        say(Log(level="error", message="The first line of standard input is not a scan order."))
        say(CoverageLine(complete=False, reasons=["invalid_order: The scan could not understand its order."]))
        return ScanExit.INVALID_ORDER
    lead_own_group()
    threading.Thread(target=watch_starter, daemon=True).start()
    return asyncio.run(scan_by_way_of_guard(order))


async def scan_by_way_of_guard(order: ScanOrder) -> ScanExit:
    """The scan, with the guard's socket shown as the proxy that scanners know how to use."""
    if order.proxy_socket is None:
        return await run_scan(order, say)
    async with relay.from_port(urlsplit(order.proxy_url).port or 0, order.proxy_socket):
        return await run_scan(order, say)


if __name__ == "__main__":
    # Without the interpreter's own ending, which would wait for the thread that reads standard input.
    code = main()
    sys.stdout.flush()
    os._exit(code)
