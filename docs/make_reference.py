"""Writes what `docs/reference` can take from the code: API, commands, settings, metrics, problem codes, schemas. Run by `make docs`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from apviso.cli import app as command_line
from apviso.cli.exits import Exit
from apviso.protocol.scan_events import output_line
from apviso.protocol.states import Scope
from apviso.protocol.timers import Timers
from apviso.scanning.order import ScanOrder
from apviso.server.admission import Admission, admissions
from apviso.server.app import create_app
from apviso.server.errors import every_refusal
from apviso.server.metrics import FLEET
from apviso.server.openapi import DESCRIPTION, document
from apviso.server.problem_advice import ADVICE
from apviso.server.reference import Answer, Field, Operation, contents, type_of
from apviso.server.settings import Settings

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by `make docs` from the code; edit the code instead. -->"
HELP_WIDTH = 110
WORDS = ("title", "description")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", NOTE, *(part for part in parts if part)]) + "\n"


def code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


# API


def api() -> str:
    told = contents(document(create_app(Settings.model_construct())))
    parts: list[str] = [DESCRIPTION.strip(), "A running server shows the same with examples at `/docs`, and as OpenAPI at `/openapi.json`."]
    for tag, operations in told["tags"]:
        parts += [f"## {tag['name'].capitalize()}", tag["description"], *(_operation(one) for one in operations)]
    parts.append("## Shapes")
    for name, schema, members in told["schemas"]:
        parts += [f"### {name}", schema.get("description", ""), _members(members) or f"One of: {type_of(schema)}."]
    return page("The HTTP API", *parts)


def _operation(one: Operation) -> str:
    credential = " or ".join(one.credentials) or "none"
    told = [f"### {one.method} {one.path}", one.description, f"Operation `{one.id}`; credential: {credential}."]
    if one.parameters:
        told.append(table(("parameter", "in", "type", "meaning"), (_parameter(field) for field in one.parameters)))
    if one.body:
        told.append(f"Body: {code(one.body)}.")
    told.append(table(("answer", "body", "problem codes"), (_answer(answer) for answer in one.answers)))
    return "\n\n".join(told)


def _parameter(field: Field) -> tuple[str, ...]:
    return code(field.name), field.place, field.type + (", required" if field.is_required else ""), field.description


def _answer(answer: Answer) -> tuple[str, ...]:
    return answer.status, code(answer.schema), ", ".join(f"[{known}](problem-codes.md#{known})" for known in answer.codes)


def _members(members: list[Field]) -> str:
    rows = ((code(field.name), field.type, "yes" if field.is_required else "no", field.description) for field in members)
    return table(("member", "type", "always there", "meaning"), rows) if members else ""


# Who may call what


def access() -> str:
    rows = [(f"`{one}`", ", ".join(one.credentials) or "none", _scopes(one)) for one in admissions(create_app(Settings.model_construct()))]
    granted = (
        (code(scope), ", ".join(code(needed) for needed in Scope if scope.grants(needed) and needed is not scope)) for scope in Scope
    )
    return page(
        "Who may call what",
        "Every route of a server with the credentials that open it, read from the routes. Any other credential is 401, a key without the "
        "scope is 403 `insufficient_scope`. A credential reaches its own organization alone: what belongs to another one is 404, as if it "
        "were not there. A runner token opens the jobs of its runner, a job token its own job while that is leased; an enrollment token "
        "is sent in the body, and works once. A session is what the dashboard keeps in a cookie: without it a page leads to signing in, "
        "and what somebody may do on a page follows from the role, because pages ask the API as the person who is signed in.",
        table(("route", "credential", "scope of the key"), rows),
        "`HEAD` is answered wherever `GET` is. The live stream also leaves out what the key may not read: scans without `scans:read`, "
        "findings without `findings:read`, targets without `targets:read`, keys and webhooks without `admin`.",
        "## Scopes",
        table(("scope", "grants also"), granted),
    )


def _scopes(one: Admission) -> str:
    if "API key" not in one.credentials:
        return ""
    return ", ".join(code(scope) for scope in sorted(one.scopes)) or "any"


# Commands


def commands() -> str:
    exits = table(("code", "name"), ((str(int(known)), known.name.lower()) for known in Exit))
    parts = [f"Exit codes:\n\n{exits}"]
    for path in sorted(_paths(command_line, ())):
        parts += [f"## apviso {' '.join(path)}", f"```text\n{_help(path)}\n```"]
    return page("The command line", "Every command explains itself with `--help`; these are the same words.", *parts)


def _paths(group: typer.Typer, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for command in group.registered_commands:
        yield (*above, command.name or getattr(command.callback, "__name__", "").replace("_", "-"))
    for inner in group.registered_groups:
        if inner.typer_instance is not None and isinstance(inner.name, str):
            yield from _paths(inner.typer_instance, (*above, inner.name))


def _help(path: tuple[str, ...]) -> str:
    environment = {"COLUMNS": str(HELP_WIDTH), "TERMINAL_WIDTH": str(HELP_WIDTH), "NO_COLOR": "1"}
    shown = CliRunner(env=environment).invoke(command_line, [*path, "--help"], prog_name="apviso", terminal_width=HELP_WIDTH)
    if shown.exit_code != 0:
        raise SystemExit(f"apviso {' '.join(path)} --help ended with {shown.exit_code}")
    return "\n".join(line.rstrip() for line in shown.stdout.strip().splitlines())


# Settings


def server_settings() -> str:
    own = ((name, field) for name, field in _fields(Settings) if name != "timers")
    plain = ((code(_variable(name)), _default(field.default), field.description or "") for name, field in own)
    timers = ((code(f"APVISO_TIMERS__{name.upper()}"), _default(field.default)) for name, field in _fields(Timers))
    return page(
        "Settings of the control plane",
        "Flags of `apviso server` and `apviso admin` win over environment variables, those over the defaults.",
        table(("variable", "default", "meaning"), plain),
        "## Timers",
        "Durations that decide states; what each one means is in [job-states.md](../job-states.md#timers). They are written as ISO 8601 "
        "says: `PT90S`, `PT2M`, `PT24H`. Change them with care: the safety inequality there has to hold for server and runners alike.",
        table(("variable", "default"), timers),
    )


def _fields(model: type[Settings] | type[Timers]) -> Iterator[tuple[str, FieldInfo]]:
    yield from model.model_fields.items()


def _variable(name: str) -> str:
    return f"APVISO_{name.upper()}"


def _default(value: object) -> str:
    if isinstance(value, timedelta):
        return code(f"PT{value / timedelta(seconds=1):.9g}S")
    return "-" if value in (None, "", []) else code(value)


# Metrics and problem codes


def metrics() -> str:
    create_app(Settings.model_construct())
    fleet = {metric.name for metric in FLEET.describe()}
    found = {metric.name: (metric.type, labels, metric.documentation) for metric, labels in _metrics()}
    rows = (
        (code(_exposed(name, kind)), kind, labels, "fleet" if name in fleet else "process", words)
        for name, (kind, labels, words) in sorted(found.items())
    )
    return page(
        "Metrics",
        "`GET /metrics` answers in Prometheus' text format. Each server process counts for itself; only what is marked as of the fleet is "
        "counted in the database, and every process says the same of it. Beside these there are the usual ones about the process "
        "(`process_`, `python_`). How to use them is told in [watch-the-server.md](../how-to/watch-the-server.md).",
        table(("metric", "kind", "labels", "of", "meaning"), rows),
    )


def _metrics() -> Iterator[tuple[Metric, str]]:
    # The library has no public way to ask a metric for its labels.
    for collector in dict.fromkeys(REGISTRY._names_to_collectors.values()):
        describe: Callable[[], Iterable[Metric]] | None = getattr(collector, "describe", None)
        for metric in describe() if describe is not None else ():
            if metric.name.startswith("apviso_"):
                labels: tuple[str, ...] = getattr(metric, "_labelnames", ()) or getattr(collector, "_labelnames", ())
                yield metric, ", ".join(code(label) for label in labels)


def _exposed(name: str, kind: str) -> str:
    return name + {"counter": "_total", "info": "_info"}.get(kind, "")


def problem_codes() -> str:
    parts = []
    for known in every_refusal():
        again = "Trying again later can help." if known.retryable else "Trying the same again does not help."
        parts.append(f"## {known.code}\n\nStatus {known.status}. {known.message} {again}\n\n{ADVICE[known.code]}")
    return page(
        "Problem codes",
        "Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. A running server explains each at `/problems/CODE`.",
        *parts,
    )


# Schemas of the contract with scan images


def scan_order_schema() -> str:
    told = ScanOrder.model_json_schema(by_alias=True)
    return _schema("Scan order: the first line of a scan's standard input. Fields that a program does not know are to be ignored.", told)


def scan_line_schema() -> str:
    told = output_line.json_schema(by_alias=True)
    # What tells the kinds apart has a default in the code and none on the wire.
    kinds = [told["$defs"][place.rpartition("/")[2]] for place in told["discriminator"]["mapping"].values()]
    for kind in kinds:
        kind["required"] = ["type", *kind["required"]] if "required" in kind else ["type"]
    return _schema("Scan line: each line of a scan's standard output.", told)


def _schema(title: str, told: dict[str, Any]) -> str:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "$comment": "Made by `make docs` from the code."}
    # The words inside are for readers of the code; the page explains the fields.
    return json.dumps({**_without_words(told), **head}, indent=1) + "\n"


def _without_words(told: Any) -> Any:
    match told:
        case dict():
            return {name: _without_words(value) for name, value in told.items() if not (name in WORDS and isinstance(value, str))}
        case list():
            return [_without_words(value) for value in told]
        case _:
            return told


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api,
    "access.md": access,
    "cli.md": commands,
    "server-settings.md": server_settings,
    "metrics.md": metrics,
    "problem-codes.md": problem_codes,
    "scan-order.schema.json": scan_order_schema,
    "scan-line.schema.json": scan_line_schema,
}


def write_into(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write_into(Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCE)
