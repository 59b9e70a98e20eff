"""A retest: looks again for each of its findings with what found it, at its place alone where that is enough.

Says what it sees and where it has looked; that nothing was seen anywhere means fixed is for others to decide."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from apviso.protocol.findings import Finding, ReportedFinding
from apviso.protocol.scan_events import Found, Log, LookLine, OutputLine, Phase, Progress
from apviso.protocol.states import ModelPreset
from apviso.protocol.wire import FindingId
from apviso.scanning import api_document, first_look
from apviso.scanning.adapters import schemathesis, sqlmap, sslyze, wapiti
from apviso.scanning.adapters.tool import Assignment, Result, Say, ToolFailed
from apviso.scanning.api_document import ApiDocument, BadDocument, Operation
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.evidence import one_line
from apviso.scanning.first_look import Look, Sight
from apviso.scanning.order import ScanOrder
from apviso.scanning.plans import PLANS, Crawl, Plan
from apviso.scanning.retest_needs import (
    BOUND_TO_VALUES,
    HIDDEN_BY_ERRORS,
    Need,
    Reach,
    class_of,
    invented_address,
    known_addresses,
    needs_of,
    parameter_of,
    path_of,
    same_address,
)

# A list of modules may not be empty; this one asks for one page.
_CRAWL_ALONE = ("csp",)
# As deep as the deepest scan: what that one found must not be missed for want of trying.
_DEEPEST = PLANS[ModelPreset.ULTRA]
_PLACES_AT_ONCE = 8
_GONE = "The API's document does not describe its operation any more."

# Class, method, path, parameter.
Place = tuple[FlawClass | None, str, str, str | None]


@dataclass
class Retest:
    """State of one retest. `missing` says of a finding why it was not looked for wholly; `addresses` are those of its place."""

    order: ScanOrder
    say: Say
    start: Look
    start_url: str
    seconds_left: Callable[[], float]
    needs: dict[FindingId, list[Need]] = field(default_factory=dict)
    missing: dict[FindingId, str] = field(default_factory=dict)
    addresses: dict[FindingId, list[str]] = field(default_factory=dict)
    errors: set[str] = field(default_factory=set)
    seen: set[Place] = field(default_factory=set)
    api: ApiDocument | None = None

    def __post_init__(self) -> None:
        self.findings = {one.id: one for one in self.order.retest_findings}
        self.classes = {class_of(one) for one in self.order.retest_findings}

    @property
    def origin(self) -> str:
        parts = urlsplit(self.order.target.scan_url)
        return f"{parts.scheme}://{parts.netloc}"

    def miss(self, ids: Iterable[FindingId], why: str) -> None:
        """The first reason stays."""
        for id_ in ids:
            self.missing.setdefault(id_, one_line(why, 300))

    def needing(self, *reaches: Reach, detector: str | None = None) -> list[Finding]:
        """The findings that are still to be looked for so far."""
        fitting = {id_ for id_, needs in self.needs.items() if any(n.reach in reaches and detector in (None, n.detector) for n in needs)}
        return [self.findings[id_] for id_ in self.findings if id_ in fitting and id_ not in self.missing]

    def modules(self, *reaches: Reach) -> tuple[str, ...]:
        wanted = (n for id_, needs in self.needs.items() if id_ not in self.missing for n in needs if n.reach in reaches)
        return tuple(dict.fromkeys(module for need in wanted for module in need.modules))

    def hear(self, found: Iterable[ReportedFinding]) -> None:
        """Say what is of the kinds in question; an error at a place is remembered, because it may hide what is looked for."""
        for one in found:
            flaw = class_of(one)
            if flaw is FlawClass.SERVER_ERROR:
                self.errors.add(path_of(one))
            if flaw in self.classes:
                self.seen.add(_place(one))
                self.say(Found(finding=one))


def _place(one: ReportedFinding | Finding) -> Place:
    return (class_of(one), one.method, path_of(one), one.parameter)


async def run(order: ScanOrder, say: Say, start: Look, start_url: str, seconds_left: Callable[[], float]) -> int:
    """Look for every finding of the order, say how far each look came, and give the number of those that were whole."""
    retest = Retest(order, say, start, start_url, seconds_left)
    for finding in order.retest_findings:
        needs = needs_of(finding, order)
        if isinstance(needs, str):
            retest.miss([finding.id], needs)
        else:
            retest.needs[finding.id] = needs
    if (plain := first_look.plain_http(start)) is not None:
        retest.hear([plain])
    steps: Sequence[Callable[[Retest, float], Awaitable[None]]] = (_tls, _operations, _site, _places, _injections)
    for number, step in enumerate(steps):
        await step(retest, seconds_left() / (len(steps) - number))
        say(Progress(percent=round(90 * (number + 1) / len(steps), 1)))
    await _look_at_places(retest, "afterwards ")
    distrust(retest)
    for id_ in retest.findings:
        why = retest.missing.get(id_)
        say(LookLine(finding_id=id_, complete=why is None, reason=why or ""))
    return len(retest.findings) - len(retest.missing)


def distrust(retest: Retest) -> None:
    """Silence about one finding means nothing where something else was said of its place that may be the same flaw, or hide it."""
    by_any_method = {(flaw, path, parameter) for flaw, _, path, parameter in retest.seen}
    for finding in retest.findings.values():
        flaw, path = class_of(finding), path_of(finding)
        if _place(finding) in retest.seen:
            continue
        if (flaw, path, finding.parameter) in by_any_method:
            retest.miss([finding.id], "The same kind of flaw was seen at its place by another method.")
        if flaw in HIDDEN_BY_ERRORS and path in retest.errors:
            retest.miss([finding.id], "Its place answers the attacks with a server error, which may hide it.")


# ---- the steps


async def _tls(retest: Retest, seconds: float) -> None:
    wanted = retest.needing(Reach.TLS)
    if not wanted:
        return
    if urlsplit(retest.start.url).scheme != "https":
        retest.miss(_ids(wanted), "The target is not asked by TLS any more.")
        return
    await _run(retest, "SSLyze", "tls", sslyze.scan, _assignment(retest, seconds, "tls"), wanted)


async def _operations(retest: Retest, seconds: float) -> None:
    """Find the API's document, keep what is needed of it, and ask with Schemathesis."""
    wanted = retest.needing(Reach.OPERATION)
    if not wanted:
        return
    order = retest.order
    try:
        retest.api = await asyncio.to_thread(api_document.find, retest.start.url, order.proxy_url, order.limits, order.api_document)
    except BadDocument as error:
        retest.miss(_ids(wanted), f"The API's document cannot be used: {error}.")
        return
    for finding in wanted:
        operation = _operation_of(finding, retest.api)
        if operation is None:
            retest.miss([finding.id], _GONE)
        else:
            retest.addresses[finding.id] = [operation.address(retest.origin)]
    await _look_at_places(retest, "", Reach.OPERATION)
    asked = retest.needing(Reach.OPERATION, detector="schemathesis")
    # Apart: operations that refuse everyone without credentials are mended, and the others have not shown themselves.
    guarded = [one for one in asked if class_of(one) is FlawClass.AUTH_IGNORED]
    await _ask(retest, seconds / 2, "api-credentials", guarded)
    result = await _ask(retest, seconds / 2, "api", others := [one for one in asked if one not in guarded])
    if result is not None and any(remark.startswith("api_only_refusals") for remark in result.remarks):
        retest.miss(_ids(others), "Operations answered with errors only.")


async def _ask(retest: Retest, seconds: float, folder: str, wanted: list[Finding]) -> Result | None:
    """Schemathesis, with the operations of these findings and no other."""
    if not wanted or retest.api is None:
        return None
    assignment = _assignment(retest, seconds, folder, api=_narrowed(retest.api, wanted))
    return await _run(retest, "Schemathesis", "api", schemathesis.scan, assignment, wanted)


async def _site(retest: Retest, seconds: float) -> None:
    """Crawl for what only a crawl finds, and for the addresses that lead to the places."""
    wanted = retest.needing(Reach.SITE)
    places = [one for one in retest.needing(Reach.PLACE) if parameter_of(one) is not None]
    crawled: tuple[str, ...] = ()
    if wanted or places:
        crawl = _DEEPEST.crawl
        own = PLANS[retest.order.model_preset].crawl
        crawl = replace(crawl, attacks=(), looking=retest.modules(Reach.SITE) or _CRAWL_ALONE, depth=own.depth)
        assignment = _assignment(retest, seconds, "crawl", crawl=_sorted_out(crawl))
        result = await _run(retest, "Wapiti", "crawl", wapiti.scan, assignment, wanted)
        crawled = result.addresses if result is not None else ()
    for finding in retest.needing(Reach.PLACE):
        known = known_addresses(finding, crawled) if parameter_of(finding) is not None else [finding.url]
        if not known and class_of(finding) in BOUND_TO_VALUES:
            retest.miss([finding.id], f"No page leads to its place with a value for {finding.parameter} any more.")
        retest.addresses[finding.id] = known or [invented_address(finding)]
    await _look_at_places(retest, "", Reach.PLACE)


async def _places(retest: Retest, seconds: float) -> None:
    """Attack the places, and nothing but them, with what found the flaws there."""
    wanted, at_start = retest.needing(Reach.PLACE, detector="wapiti"), retest.needing(Reach.START)
    if not wanted and not at_start:
        return
    seeds = tuple(dict.fromkeys(url for one in wanted for url in retest.addresses[one.id]))[: wapiti.MAX_SEEDS]
    crawl = Crawl((), depth=0, files_per_folder=wapiti.MAX_SEEDS, looking=retest.modules(Reach.PLACE, Reach.START), seeds=seeds)
    assignment = _assignment(retest, seconds, "places", crawl=_sorted_out(crawl))
    result = await _run(retest, "Wapiti", "places", wapiti.scan, assignment, [*wanted, *at_start])
    if result is None:
        return
    for finding in wanted:
        asked = [url for url in retest.addresses[finding.id] if urlsplit(url).query]
        if not all(url in seeds and any(same_address(url, one) for one in result.addresses) for url in asked):
            retest.miss([finding.id], "Wapiti got no answer from its place.")


async def _injections(retest: Retest, seconds: float) -> None:
    wanted = retest.needing(Reach.PLACE, Reach.OPERATION, detector="sqlmap")
    if not wanted:
        return
    in_document = [one for one in wanted if _operation_of(one, retest.api) is not None]
    api = _narrowed(retest.api, in_document) if retest.api is not None and in_document else None
    addresses = tuple(url for one in wanted if one not in in_document for url in retest.addresses[one.id])
    assignment = _assignment(retest, seconds, "injections", api=api, addresses=addresses)
    await _run(retest, "sqlmap", "sql injection", sqlmap.scan, assignment, wanted)


# ---- what they share


async def _run(
    retest: Retest, name: str, phase: str, scan: Callable[[Assignment], Awaitable[Result]], assignment: Assignment, wanted: list[Finding]
) -> Result | None:
    """Run one scanner. Whatever it leaves out, the findings that need it are not looked for wholly."""
    retest.say(Phase(name=phase))
    try:
        await asyncio.to_thread(assignment.work_dir.mkdir, parents=True, exist_ok=True)
        result = await scan(assignment)
    except ToolFailed as failed:
        _note_failure(retest, f"{name} did not look: {failed}.", wanted)
        return None
    except Exception as surprise:  # noqa: BLE001 - whatever a report holds, what the others find is not lost by it
        _note_failure(retest, f"{name} did not look: its adapter met {type(surprise).__name__}.", wanted)
        return None
    retest.hear(result.findings)
    if result.gaps:
        retest.miss(_ids(wanted), f"{name} did not look at everything: {result.gaps[0]}")
    return result


def _note_failure(retest: Retest, sentence: str, wanted: list[Finding]) -> None:
    retest.say(Log(level="error", message=sentence))
    retest.miss(_ids(wanted), sentence)


def _ids(findings: Iterable[Finding]) -> list[FindingId]:
    return [one.id for one in findings]


def _assignment(
    retest: Retest,
    seconds: float,
    folder: str,
    *,
    crawl: Crawl | None = None,
    api: ApiDocument | None = None,
    addresses: tuple[str, ...] = (),
) -> Assignment:
    """Each scanner in a folder of its own, so that none reads what another left."""
    order = retest.order.model_copy(update={"work_dir": str(Path(retest.order.work_dir) / f"retest-{folder}")})
    plan: Plan = replace(_DEEPEST, crawl=crawl or _DEEPEST.crawl)

    def say(line: OutputLine) -> None:
        # Its progress is that of one step.
        if not isinstance(line, Progress):
            retest.say(line)

    return Assignment(order, plan, retest.start_url, api, addresses, max(1.0, seconds), say)


def _sorted_out(crawl: Crawl) -> Crawl:
    """Its modules as attacks and as those that only look."""
    named = crawl.looking or ()
    return replace(
        crawl,
        attacks=tuple(name for name in named if name not in wapiti.LOOKING),
        looking=tuple(name for name in named if name in wapiti.LOOKING),
    )


def _operation_of(finding: Finding, api: ApiDocument | None) -> Operation | None:
    fitting = (one for one in api.operations if (one.method, one.path) == (finding.method, path_of(finding))) if api is not None else ()
    return next(iter(fitting), None)


def _narrowed(api: ApiDocument, findings: Iterable[Finding]) -> ApiDocument:
    """The document with the operations of these findings alone."""
    kept = {operation.label: operation for one in findings if (operation := _operation_of(one, api)) is not None}
    paths = {
        path: {name: said for name, said in item.items() if name not in api_document.METHODS or f"{name.upper()} {path}" in kept}
        for path, item in api.document["paths"].items()
        if any(f"{method.upper()} {path}" in kept for method in api_document.METHODS)
    }
    return replace(api, document={**api.document, "paths": paths}, operations=tuple(kept.values()))


async def _look_at_places(retest: Retest, when: str, *reaches: Reach) -> None:
    """One plain request to each place: where none is answered as a page is, silence of the scanners means nothing."""
    wanted = [one for one in retest.needing(*(reaches or (Reach.PLACE, Reach.OPERATION))) if one.id in retest.addresses]
    urls = list(dict.fromkeys(url for one in wanted for url in retest.addresses[one.id]))
    seen: dict[str, Look] = {}
    for start in range(0, len(urls), _PLACES_AT_ONCE):
        some = urls[start : start + _PLACES_AT_ONCE]
        looks = await asyncio.gather(*(asyncio.to_thread(first_look.look, url, retest.order.proxy_url) for url in some))
        seen.update(zip(some, looks, strict=True))
    for finding in wanted:
        problems = [problem_of(seen[url], url, class_of(finding)) for url in retest.addresses[finding.id]]
        if (problem := next(filter(None, problems), None)) is not None:
            retest.miss([finding.id], f"Its place {when}could not be looked at: {problem}")


def problem_of(seen: Look, asked: str, flaw: FlawClass | None) -> str | None:
    """Why a place is none at which a flaw could be missed; None where it shows itself."""
    if seen.sight is Sight.ACCESS_REFUSED and flaw is FlawClass.AUTH_IGNORED:
        return None
    if seen.sight is not Sight.USABLE:
        return seen.message
    if seen.status >= 400:
        return f"it answers with status {seen.status}."
    if seen.asks_password and first_look.is_other_path(seen.url, asked):
        return "it leads to a login."
    return None
