"""`python -m apviso.demo`: the bookshop as a process of its own. Its first line of output names the port."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys

from apviso.demo.server import NotLoopback, open_shop


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m apviso.demo", description="A bookshop that is vulnerable on purpose, on loopback.")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--hardened", action="store_true", help="the same shop without its flaws")
    asked = parser.parse_args()
    try:
        server = open_shop(asked.host, asked.port, hardened=asked.hardened)
    except (NotLoopback, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 64
    # A plain exit on SIGTERM, so that whoever started the shop sees exit code 0.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.write(json.dumps({"listening": server.server_address[1]}) + "\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
