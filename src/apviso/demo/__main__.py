"""`python -m apviso.demo`: the bookshop as a process of its own. Its first line of output names the port."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

from apviso.demo.server import NotLoopback, open_shop


def _tls(asked: argparse.Namespace) -> ssl.SSLContext:
    from apviso.demo.tls import server_context

    try:
        return server_context(datetime.now(UTC), hardened=asked.hardened, certificate=asked.certificate, key=asked.key)
    except OSError as error:
        raise OSError(f"--certificate and --key cannot be used: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m apviso.demo", description="A bookshop that is vulnerable on purpose, on loopback.")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--hardened", action="store_true", help="the same shop without its flaws")
    parser.add_argument("--fixed", action="append", default=[], metavar="PATH", help="this page alone is without its flaws; repeatable")
    parser.add_argument("--closed", action="append", default=[], metavar="PATH", help="this page answers 503; repeatable")
    parser.add_argument(
        "--tls", action="store_true", help="serve HTTPS; the careless shop has old versions, weak suites, a bad certificate"
    )
    parser.add_argument("--certificate", type=Path, help="with --tls: a PEM file in place of the certificate that is made at the start")
    parser.add_argument("--key", type=Path, help="its private key, as PEM without a password")
    asked = parser.parse_args()
    if (asked.certificate is None) != (asked.key is None) or (asked.certificate and not asked.tls):
        parser.error("--certificate and --key go together, and with --tls")
    try:
        tls = _tls(asked) if asked.tls else None
        server = open_shop(asked.host, asked.port, hardened=asked.hardened, tls=tls, fixed=asked.fixed, closed=asked.closed)
    except (NotLoopback, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 64
    # A plain exit with code 0 for whoever started the shop; a shell that put it in the background has it ignore SIGINT otherwise.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    sys.stdout.write(json.dumps({"listening": server.server_address[1]}) + "\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
