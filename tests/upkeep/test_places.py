"""Some things are done in one place only: SQL, commits, output, clocks. Where a rule has exceptions they are listed with their reason."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.upkeep.sources import Module, modules

STATEMENTS = {"select", "insert", "update", "delete", "text", "union", "union_all"}
ENDINGS = ("commit", "rollback")
OUTPUTS = ("print", "sys.stdout.write", "sys.stdout.buffer.write")
WALL_CLOCKS = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns")
# Everything else is told the time.
READS_THE_WALL_CLOCK = {
    "server/app.py": "the server's only clock",
    "server/operator.py": "commands of the operator run without the server",
    "cli/admin.py": "the issuer's own machine dates a license",
    "runner/clock.py": "the runner's only clock",
    "scanning/guard_proxy.py": "runs alone in the scanners' environment",
    "scanning/adapters/sslyze.py": "a certificate is valid or not on the day of the scan",
    "demo/__main__.py": "dates the certificate that it makes at the start",
}
WRITES_TO_STANDARD_OUTPUT = {
    "demo/__main__.py": "names its port",
    "server/typesetting/__main__.py": "gives the PDF to the server that started it",
    "scanning/__main__.py": "a scan speaks through its standard output",
    "scanning/guard_proxy.py": "the guard speaks through its standard output",
    "scanning/environment.py": "can be run by itself, before the command line is installed",
}
KNOWS_THE_PROXY = {"scanning/guard_proxy.py": "is run by the scanners' own interpreter"}
SCANNERS = {"wapitiCore", "mitmproxy", "schemathesis", "sqlmap", "sslyze", "nassl"}


def sql_outside_stores(module: Module) -> Iterator[str]:
    """Statements of SQLAlchemy outside `store.py` and `db/`."""
    if not module.place.endswith("/store.py") and not module.place.startswith("server/db/"):
        yield from (name for origin, name in module.imports() if origin.startswith("sqlalchemy") and name in STATEMENTS)


def transactions_ended(module: Module) -> Iterator[str]:
    """Transactions ended anywhere but in the unit of work."""
    if module.place != "server/db/engine.py":
        yield from (call for call in module.calls() if call.rpartition(".")[2] in ENDINGS)


def output_outside_commands(module: Module) -> Iterator[str]:
    """`print` outside the command line, and outside the programs whose standard output is an interface."""
    if not module.place.startswith("cli/") and module.place not in WRITES_TO_STANDARD_OUTPUT:
        yield from (call for call in module.calls() if call in OUTPUTS)


def wall_clocks_read(module: Module) -> Iterator[str]:
    """The time of day, read anywhere but at a listed edge."""
    if module.place not in READS_THE_WALL_CLOCK:
        yield from (call for call in module.calls() if call.endswith(WALL_CLOCKS))


def scanners_imported(module: Module) -> Iterator[str]:
    """Code of a scanner inside the product."""
    if module.place not in KNOWS_THE_PROXY:
        yield from (origin for origin, _ in module.imports() if origin.split(".")[0] in SCANNERS)


def strangers_in_the_protocol(module: Module) -> Iterator[str]:
    """What the protocol imports beyond itself, the standard library and pydantic with its core."""
    if module.place.startswith("protocol/"):
        for origin, _ in module.imports():
            root = origin.split(".")[0]
            if (
                root not in sys.stdlib_module_names
                and root not in ("pydantic", "pydantic_core")
                and not origin.startswith("apviso.protocol")
            ):
                yield origin


SECRETS = re.compile(r"\b(?:secret|digest|password|signature|exchange_key|token)\b(?:\(\))?$")
COMPARES_WHAT_IS_NO_SECRET = {
    "server/idempotency.py": "the digest of a request, by its own caller",
    "runner/engines/registry.py": "the digest of an image, which is public",
    "runner/engines/signatures.py": "the digest of an image, which is public",
    "runner/identity.py": "the runner's own token with the one in its own file",
    "server/dashboard/sign_in.py": "a new password with its repetition in the same form",
}


def secrets_compared_in_varying_time(module: Module) -> Iterator[str]:
    """`==` on a secret or its digest: it takes the longer the more of a guess is right."""
    if module.place not in COMPARES_WHAT_IS_NO_SECRET:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Compare) and any(isinstance(how, ast.Eq | ast.NotEq) for how in node.ops):
                sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
                yield from (side for side in sides if SECRETS.search(side))


RULES: tuple[Callable[[Module], Iterator[str]], ...] = (
    sql_outside_stores,
    transactions_ended,
    output_outside_commands,
    wall_clocks_read,
    scanners_imported,
    strangers_in_the_protocol,
    secrets_compared_in_varying_time,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_product_keeps_things_in_their_place(rule: Callable[[Module], Iterator[str]]) -> None:
    found = {module.place: list(rule(module)) for module in modules()}

    assert {place: what for place, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("rule", "place", "text"),
    [
        (sql_outside_stores, "server/scans/routes.py", "from sqlalchemy import select"),
        (transactions_ended, "server/scans/store.py", "await work.db.commit()"),
        (output_outside_commands, "runner/worker.py", "print('started')"),
        (wall_clocks_read, "server/scans/leases.py", "now = datetime.datetime.now(UTC)"),
        (scanners_imported, "scanning/wapiti.py", "import wapitiCore.main"),
        (strangers_in_the_protocol, "protocol/scans.py", "from fastapi import Body"),
        (strangers_in_the_protocol, "protocol/scans.py", "from apviso.server.errors import Refusal"),
        (secrets_compared_in_varying_time, "server/access.py", "is_right = known.digest == token.digest()"),
        (secrets_compared_in_varying_time, "mcp/door.py", "is_wrong = given != self.secret"),
    ],
)
def test_thing_out_of_its_place_is_found(rule: Callable[[Module], Iterator[str]], place: str, text: str) -> None:
    assert list(rule(Module(place, text))) != []


def test_secrets_of_the_product_are_compared_in_constant_time() -> None:
    ways = {module.place for module in modules() if "hmac.compare_digest" in module.calls()}

    assert {"protocol/tokens.py", "server/enrollment/exchange.py", "mcp/door.py"} <= ways
    assert [found for module in modules() for found in secrets_compared_in_varying_time(module)] == []


def test_listed_exceptions_are_still_needed() -> None:
    speakers = {module.place for module in modules() if any(call in OUTPUTS for call in module.calls())}
    clocks = {module.place for module in modules() if any(call.endswith(WALL_CLOCKS) for call in module.calls())}
    proxies = {module.place for module in modules() if any(origin.split(".")[0] in SCANNERS for origin, _ in module.imports())}

    assert speakers >= set(WRITES_TO_STANDARD_OUTPUT)
    assert clocks == set(READS_THE_WALL_CLOCK)
    assert proxies == set(KNOWS_THE_PROXY)
