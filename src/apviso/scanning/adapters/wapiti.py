"""The adapter of the scanner Wapiti: its command line and bounds, and its report turned into findings. Never imports it.

Knows two dialects: 3.2 (Python 3.11) and 3.3 (Python 3.12 and later)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, JsonValue, ValidationError, model_validator

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.limits import Limits
from apviso.scanning import environment, scanner_process
from apviso.scanning.adapters.tool import Assignment, Result, ToolFailed
from apviso.scanning.adapters.wapiti_console import Console
from apviso.scanning.adapters.wapiti_session import SessionUnreadable, addresses
from apviso.scanning.catalogue import FlawClass, entry
from apviso.scanning.evidence import curl_command, excerpt, one_line
from apviso.scanning.order import ScanOrder
from apviso.scanning.plans import Crawl
from apviso.scanning.reporting import reported

MAX_REPORT_BYTES = 64 * 1024 * 1024
MAX_FINDINGS = 1_000
MAX_SEEDS = 200
SEEDS_FILE = "seeds.txt"
SESSION_FOLDER = "session"
# Where nothing listens: payloads and call-outs that want a helper server of the scanner's makers end here.
_DEAD_ENDPOINT = "http://127.0.0.1:9/"
# Not `https_redirect`: it connects to the target by itself, past the guard. The first look says whether there is encryption.
_LOOKING = ("http_headers", "cookieflags", "csp")
_LOOKING_SINCE_3_3 = ("inconsistent_redirection", "information_disclosure", "stacktrace_disclosure", "unsecure_password")
LOOKING = (*_LOOKING, *_LOOKING_SINCE_3_3)
_PRINTED = "".join(map(chr, range(0x21, 0x7F)))

Version = tuple[int, int]
# Interrupted, Wapiti asks what to do: (r)eport what was found so far.
_STOPPING = scanner_process.Stopping(answer=b"r\n", grace_seconds=20.0)


async def scan(assignment: Assignment) -> Result:
    """Crawl and attack the pages of the target. Raises ToolFailed."""
    order, crawl = assignment.order, assignment.plan.crawl
    console = Console(attacks=len(crawl.attacks))

    def hear(line: str) -> None:
        for heard in console.hear(line):
            assignment.say(heard)

    if crawl.seeds:
        (assignment.work_dir / SEEDS_FILE).write_text(seeds_file(crawl.seeds), encoding="ascii")
    line = command(order, crawl, assignment.start_url, _installed(order), assignment.seconds)
    ended = await assignment.run(line, _STOPPING, hear)
    parsed = _read_report(order, ended)
    gaps = [*console.gaps, *_gaps(ended, parsed)]
    found: tuple[str, ...] = ()
    try:
        found = addresses(assignment.work_dir / SESSION_FOLDER)
    except SessionUnreadable:
        gaps.append("addresses_unreadable: The addresses that the crawl found could not be read, so only Wapiti has tested them.")
    return Result(parsed.findings, gaps, looked_at=parsed.pages, addresses=found)


def _installed(order: ScanOrder) -> Version:
    major, minor = environment.status(Path(order.scanners_dir)).versions["wapiti"].split(".")[:2]
    return int(major), int(minor)


def _read_report(order: ScanOrder, ended: scanner_process.Ended) -> Parsed:
    """The exit code says nothing; only a readable report does."""
    path = report_path(order)
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ToolFailed("its report is larger than a scan may keep", stopped=ended.stopped)
        return parse(path.read_bytes(), order)
    except (OSError, ReportUnreadable) as error:
        raise ToolFailed(f"it left no usable report (exit code {ended.exit_code})", stopped=ended.stopped) from error


def _gaps(ended: scanner_process.Ended, parsed: Parsed) -> list[str]:
    found = []
    if ended.stopped:
        found.append("run_stopped: The scanner was stopped when the time of the scan was spent.")
    if parsed.dropped:
        found.append(f"findings_dropped: {parsed.dropped} findings beyond the first {MAX_FINDINGS} were left out.")
    if parsed.unread:
        found.append(f"entries_unreadable: {parsed.unread} entries of the scanner's report could not be read and were left out.")
    return found


@dataclass(frozen=True)
class Times:
    """Seconds: for the crawl, for each attack module, and until the scanner is told to report what it has."""

    crawl: float
    attack: float
    stop: float


def times(seconds: float, attacks: int) -> Times:
    """Shares of the time that the scanner has."""
    crawl = seconds / 4
    return Times(crawl=crawl, attack=max(5.0, (seconds - crawl) / max(1, attacks)), stop=seconds)


def modules(crawl: Crawl, methods: Iterable[str], version: Version) -> str:
    """The value of `-m`: an explicit list, so that no module that calls out is ever loaded for use."""
    old = version < (3, 3)
    # Version 3.2 reads `sql:post` as "not by POST", 3.3 reads `sql:get` as "only by GET".
    reading = "" if "POST" in methods else ":post" if old else ":get"
    attacks = [name if name in ("csrf", "methods") else name + reading for name in crawl.attacks]
    looking = (_LOOKING if old else LOOKING) if crawl.looking is None else crawl.looking
    return ",".join([*attacks, *looking])


def command(order: ScanOrder, crawl: Crawl, start_url: str, version: Version, seconds: float) -> list[str]:
    """The whole command line. Holds no secret: credentials are added behind the proxy."""
    work = Path(order.work_dir)
    bounds = times(seconds, len(crawl.attacks))
    tasks = max(1, min(8, int(order.limits.requests_per_second)))
    # The guard makes requests wait; the scanner must not take that for a slow target.
    timeout = 15 + 4 * tasks / order.limits.requests_per_second
    return [
        *environment.program(Path(order.scanners_dir), "wapiti"), "-u", start_url, "--scope", "folder",
        "-m", modules(crawl, order.limits.methods, version), "-p", order.proxy_url.rstrip("/") + "/",
        "-f", "json", "-o", str(report_path(order)), "-dr", "1", "-v", "1", "--flush-session",
        "--store-session", str(work / SESSION_FOLDER), "--store-config", str(work / "config"),
        "--no-bugreport", "--endpoint", _DEAD_ENDPOINT, "--dns-endpoint", "localhost", "--verify-ssl", "0",
        "--max-scan-time", f"{bounds.crawl:.0f}", "--max-attack-time", f"{bounds.attack:.0f}",
        "-d", str(crawl.depth), "--max-files-per-dir", str(crawl.files_per_folder), "--max-parameters", "40",
        "--tasks", str(tasks), "-t", f"{timeout:.0f}",
        *(part for pattern in _skipped(order, start_url) for part in ("-x", pattern)),
        *(("-s", str(work / SEEDS_FILE)) if crawl.seeds else ()),
    ]  # fmt: skip


def report_path(order: ScanOrder) -> Path:
    return Path(order.work_dir) / "wapiti.json"


def seeds_file(urls: Iterable[str]) -> str:
    """Pages to begin at, one on a line whatever the target wrote; not as arguments, which all of the host could read."""
    return "".join(f"{quote(url, safe=_PRINTED)}\n" for url in urls)


def _skipped(order: ScanOrder, start_url: str) -> list[str]:
    """Excluded words as wildcards, so that the crawl does not even ask; the guard refuses whatever these cannot express."""
    origin = _origin(start_url)
    return [f"{origin}/*{word}*" for word in order.limits.exclude_paths if re.fullmatch(r"[\w/.-]+", word)]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class ReportUnreadable(Exception):
    """There is no report, or it is not one of Wapiti's."""


def _rooted(path: str) -> str:
    """Without the slash, what follows the origin could read as a part of its host: `http://h:1` and `@evil.example`."""
    return path if path.startswith("/") else f"/{path}"


class _Entry(BaseModel):
    """One sighting. A null counts as left out: the flaw was seen all the same."""

    method: str = "GET"
    path: Annotated[str, AfterValidator(_rooted)] = "/"
    info: str = ""
    parameter: str | None = None
    http_request: str = ""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, told: object) -> object:
        return {name: value for name, value in told.items() if value is not None} if isinstance(told, dict) else told


class _Infos(BaseModel):
    crawled_pages_nbr: int = 0


class _Report(BaseModel):
    vulnerabilities: dict[str, list[JsonValue]] = {}
    anomalies: dict[str, list[JsonValue]] = {}
    additionals: dict[str, list[JsonValue]] = {}
    infos: _Infos


@dataclass(frozen=True)
class Parsed:
    """`pages`: what the crawl found, pages and forms together. `dropped`: findings beyond MAX_FINDINGS. `unread`: entries that are none."""

    findings: list[ReportedFinding]
    pages: int
    dropped: int = 0
    unread: int = 0


@dataclass(frozen=True)
class _Sighting:
    flaw: FlawClass
    name: str
    entry: _Entry
    parameter: str | None

    @property
    def key(self) -> tuple[str, str, str | None]:
        return (self.name, "" if entry(self.flaw).site_wide else self.entry.path, self.parameter)


CLASSES: dict[str, FlawClass] = {
    "SQL Injection": FlawClass.SQL_INJECTION,
    "Blind SQL Injection": FlawClass.SQL_INJECTION,
    "Command execution": FlawClass.COMMAND_EXECUTION,
    "Path Traversal": FlawClass.PATH_TRAVERSAL,
    "Reflected Cross Site Scripting": FlawClass.REFLECTED_XSS,
    "Stored Cross Site Scripting": FlawClass.STORED_XSS,
    "HTML Injection": FlawClass.HTML_INJECTION,
    "Stored HTML Injection": FlawClass.HTML_INJECTION,
    "LDAP Injection": FlawClass.LDAP_INJECTION,
    "XPATH Injection": FlawClass.XPATH_INJECTION,
    "XML External Entity": FlawClass.XXE,
    "Server Side Request Forgery": FlawClass.SSRF,
    "Unrestricted File Upload": FlawClass.UNRESTRICTED_UPLOAD,
    "Open Redirect": FlawClass.OPEN_REDIRECT,
    "CRLF Injection": FlawClass.CRLF_INJECTION,
    "Cross Site Request Forgery": FlawClass.CSRF,
    "Backup file": FlawClass.BACKUP_FILE,
    "Review Webserver Metafiles for Information Leakage": FlawClass.HIDDEN_RESOURCE,
    "Stack Trace Disclosure": FlawClass.STACK_TRACE,
    "Information Disclosure - Full Path": FlawClass.PATH_DISCLOSURE,
    "Internal Server Error": FlawClass.SERVER_ERROR,
    "Resource consumption": FlawClass.RESOURCE_CONSUMPTION,
    "Unencrypted Channels": FlawClass.CLEARTEXT_TRANSPORT,
    "Cleartext Submission of Password": FlawClass.CLEARTEXT_PASSWORD,
    "HTTP Strict Transport Security (HSTS)": FlawClass.MISSING_HSTS,
    "Content Security Policy Configuration": FlawClass.WEAK_CSP,
    "Clickjacking Protection": FlawClass.CLICKJACKING,
    "MIME Type Confusion": FlawClass.MIME_SNIFFING,
    "HttpOnly Flag cookie": FlawClass.COOKIE_NOT_HTTPONLY,
    "Secure Flag cookie": FlawClass.COOKIE_NOT_SECURE,
    "Inconsistent Redirection": FlawClass.INCONSISTENT_REDIRECT,
    "HTTP Methods": FlawClass.HTTP_METHODS,
}


def parse(text: bytes, order: ScanOrder) -> Parsed:
    """Findings of a report, one per class, path and parameter. Raises ReportUnreadable."""
    try:
        report = _Report.model_validate_json(text)
    except ValidationError as error:
        raise ReportUnreadable("the scanner's report is not in a known form") from error
    folded: dict[tuple[str, str, str | None], list[_Sighting]] = {}
    unread = 0
    for sighting in _sightings(report):
        if sighting is None:
            unread += 1
        elif not _is_noise(sighting, order.limits):
            folded.setdefault(sighting.key, []).append(sighting)
    findings = [_finding(group, _origin(order.target.scan_url)) for group in folded.values()]
    findings.sort(key=lambda finding: -(finding.cvss_score or 0))
    return Parsed(findings[:MAX_FINDINGS], report.infos.crawled_pages_nbr, max(0, len(findings) - MAX_FINDINGS), unread)


def _sightings(report: _Report) -> Iterable[_Sighting | None]:
    """None for an entry that cannot be read: it must not take the others with it."""
    for group in (report.vulnerabilities, report.anomalies, report.additionals):
        for name, entries in group.items():
            flaw = CLASSES.get(name, FlawClass.OTHER)
            for told in entries:
                one = _find_entry(told)
                kind = name if flaw is FlawClass.OTHER else flaw
                yield None if one is None else _Sighting(flaw, kind, one, _parameter(flaw, one))


def _find_entry(told: JsonValue) -> _Entry | None:
    try:
        return _Entry.model_validate(told)
    except ValidationError:
        return None


def _parameter(flaw: FlawClass, one: _Entry) -> str | None:
    """The parameter (absent: "" in 3.2, null in 3.3), or the name of the cookie, which stands only in the sentence."""
    if flaw in (FlawClass.COOKIE_NOT_HTTPONLY, FlawClass.COOKIE_NOT_SECURE):
        named = re.search(r"cookie\s*:?\s*'?([^\s']+)", one.info)
        return one_line(named[1], 500) if named else None
    return one_line(one.parameter or "", 500) or None


def _is_noise(sighting: _Sighting, limits: Limits) -> bool:
    """Sayings about the guard instead of the target, and sayings without content."""
    one = sighting.entry
    if any(re.search(pattern, one.path, re.IGNORECASE) for pattern in limits.exclude_paths):
        return True
    # A form can be judged without being sent; any other word on a refused method is about the guard's refusal.
    if one.method not in limits.methods and sighting.flaw is not FlawClass.CSRF:
        return True
    if sighting.flaw is FlawClass.PATH_DISCLOSURE:
        return one.info.rpartition(": ")[2] in one.http_request
    return sighting.flaw is FlawClass.HTTP_METHODS and one.info.rstrip().endswith(":")


def _finding(group: list[_Sighting], origin: str) -> ReportedFinding:
    first = group[0]
    one = first.entry
    target, body = _request_parts(one)
    return reported(
        first.flaw,
        detector="wapiti",
        origin=origin,
        path=one.path,
        evidence=_evidence(group),
        reproduction=[curl_command(one.method, origin + target, body)],
        method=one.method,
        parameter=first.parameter,
        title=first.name if first.flaw is FlawClass.OTHER else None,
    )


def _evidence(group: list[_Sighting]) -> str:
    one = group[0].entry
    others = list(dict.fromkeys(f"{s.entry.method} {s.entry.path}: {s.entry.info}" for s in group[1:]))
    also = ["", f"Seen {len(group)} times, also:", *(excerpt(line, 300) for line in others[:5])] if others else []
    return "\n".join([excerpt(one.info, 1_000), "", excerpt(one.http_request), *also]).strip()


def _request_parts(one: _Entry) -> tuple[str, str]:
    """Request target and body of the recorded request; the plain path where the record is not one."""
    head, _, body = one.http_request.partition("\n\n")
    line = head.partition("\n")[0].split(" ")
    target = line[1] if len(line) == 3 and line[1].startswith("/") else one.path
    return excerpt(target, 3_000), excerpt(body, 1_000)
