"""What must hold after every run, whatever was done to it. Looks only; each check answers the problems that it has found."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.faults.proxy import Exchange
from tests.faults.watched_site import Touch

LINE = re.compile(r"request (?P<number>\d+) of (?P<total>\d+): (?P<status>\S+) (?P<link>[0-9a-f]{64})")
# What a process that has grown used to its work may still take in addition.
MOST_NEW_FILES, MOST_NEW_BYTES = 12, 64 * 1024**2


class Kind(StrEnum):
    """A problem by what it would mean for somebody."""

    LOSS = "loss"
    DOUBLE = "double"
    OVERLAP = "overlap"
    AUDIT = "audit"
    TOKEN = "token"
    LEFTOVER = "leftover"
    SECRET = "secret"
    LEAK = "leak"


@dataclass(frozen=True)
class Problem:
    kind: Kind
    what: str


@dataclass(frozen=True)
class Record:
    """What the control plane says about a scan that has ended."""

    scan: dict[str, Any]
    log: Sequence[dict[str, Any]]
    actions: Sequence[str]
    findings: int

    @property
    def id(self) -> str:
        return str(self.scan["id"])


@dataclass(frozen=True)
class Use:
    """What a process takes while it has nothing to do."""

    files: int
    resident: int


def check_record(record: Record, endings: Iterable[str]) -> list[Problem]:
    """One scan: its end, its trail and its events."""
    found = []
    scan, allowed = record.scan, set(endings)
    if scan["status"] not in allowed:
        told = f"{scan['status']} ({scan['endReason']}: {scan['statusReason']}) instead of {sorted(allowed)}"
        found.append(Problem(Kind.LOSS, f"scan {record.id} ended as {told}"))
    return [*found, *_check_trail(record), *_check_events(record)]


def _check_trail(record: Record) -> list[Problem]:
    """Begun once, ended once, each attempt with its beginning; nobody writes twice what happened once."""
    counted, attempt = Counter(record.actions), record.scan["attempt"]
    found = []
    for action in ("scan.created", "scan.ended"):
        if counted[action] != 1:
            kind = Kind.DOUBLE if counted[action] > 1 else Kind.AUDIT
            found.append(Problem(kind, f"scan {record.id} has {counted[action]} times {action}"))
    if counted["scan.assigned"] != attempt:
        found.append(Problem(Kind.AUDIT, f"scan {record.id} has {attempt} attempts and {counted['scan.assigned']} times scan.assigned"))
    # One that was cancelled while it waited for its next attempt has given back all of them.
    if counted["scan.requeued"] not in (attempt - 1, attempt):
        found.append(Problem(Kind.AUDIT, f"scan {record.id} has {attempt} attempts and {counted['scan.requeued']} times scan.requeued"))
    return found


def _check_events(record: Record) -> list[Problem]:
    scan, found = record.scan, []
    numbers = [event["seq"] for event in record.log]
    if numbers != list(range(1, len(numbers) + 1)):
        kind = Kind.DOUBLE if len(set(numbers)) < len(numbers) else Kind.LOSS
        found.append(Problem(kind, f"the log of scan {record.id} has the events {numbers}"))
    strangers = {event["attempt"] for event in record.log} - {scan["attempt"]}
    if strangers:
        found.append(Problem(Kind.DOUBLE, f"the log of scan {record.id}, attempt {scan['attempt']}, shows attempts {strangers}"))
    lines = [match for event in record.log if (match := LINE.fullmatch(event.get("message") or ""))]
    found += _check_chain(record, lines)
    if scan["status"] == "completed":
        if not lines or int(lines[-1]["number"]) != int(lines[-1]["total"]):
            found.append(Problem(Kind.LOSS, f"scan {record.id} has completed and told {len(lines)} requests"))
        if record.findings != 1:
            kind = Kind.DOUBLE if record.findings > 1 else Kind.LOSS
            found.append(Problem(kind, f"scan {record.id} has completed with {record.findings} findings"))
    return found


def _check_chain(record: Record, lines: Sequence[re.Match[str]]) -> list[Problem]:
    """Each line says what follows from all before it in its attempt."""
    link = f"{record.id}.{record.scan['attempt']}"
    for place, line in enumerate(lines, 1):
        link = hashlib.sha256(f"{link} {line['number']} {line['status']}".encode()).hexdigest()
        if int(line["number"]) != place or line["link"] != link:
            return [Problem(Kind.LOSS, f"the log of scan {record.id} breaks off its chain at line {place}: {line[0]}")]
    return []


def check_traffic(touches: Sequence[Touch]) -> list[Problem]:
    """What reached one target: never two attempts in turns, no request twice."""
    ordered = sorted(touches, key=lambda touch: touch.at)
    seen, found = list[tuple[str, int, str]](), []
    for attempt, group in groupby(ordered, lambda touch: (touch.scan, touch.attempt, touch.who)):
        if attempt in seen:
            found.append(Problem(Kind.OVERLAP, f"{attempt} sent {len(list(group))} requests after {seen[-1]} had begun"))
        seen.append(attempt)
    twice = [touch for touch, number in Counter((touch.who, touch.number) for touch in touches).items() if number > 1]
    return [*found, *(Problem(Kind.DOUBLE, f"request {number} of process {who} reached the target twice") for who, number in twice)]


def check_answers(record: Record, touches: Sequence[Touch]) -> list[Problem]:
    """What the log says was answered did reach the target, and nothing of the attempt did that the log does not tell."""
    if record.scan["status"] != "completed":
        return []
    told = [
        int(match["number"]) for event in record.log if (match := LINE.fullmatch(event.get("message") or "")) and match["status"] == "200"
    ]
    reached = [touch.number for touch in touches if (touch.scan, touch.attempt) == (record.id, record.scan["attempt"])]
    if not set(told) <= set(reached):
        return [Problem(Kind.LOSS, f"scan {record.id} tells answers to {sorted(set(told) - set(reached))}, which the target did not give")]
    return []


def check_tokens(revoked: dict[bytes, float], exchanges: Sequence[Exchange]) -> list[Problem]:
    """Nothing is accepted that was asked with a token after it was revoked."""
    late = [one for one in exchanges if one.token in revoked and one.at > revoked[one.token] and (one.status or 401) < 400]
    return [Problem(Kind.TOKEN, f"{one.path} was answered {one.status} after the token was revoked") for one in late]


def check_secrets(folder: Path, secrets: Iterable[bytes], kept_in: Sequence[str]) -> list[Problem]:
    """No file below the folder holds the secret part of a token, but those whose name is in `kept_in`."""
    wanted = list(secrets)
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in kept_in:
            content = path.read_bytes()
            found += [Problem(Kind.SECRET, f"{path.relative_to(folder)} holds a token") for secret in wanted if secret in content]
    return found


def check_uses(name: str, uses: Sequence[Use]) -> list[Problem]:
    """One process over time, each time without work."""
    if len(uses) < 2:
        return []
    files, resident = uses[-1].files - uses[0].files, uses[-1].resident - uses[0].resident
    if files > MOST_NEW_FILES or resident > MOST_NEW_BYTES:
        return [Problem(Kind.LEAK, f"{name} has grown by {files} open files and {resident // 1024**2} MiB")]
    return []
