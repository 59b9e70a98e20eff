"""What all scanners of a scan found, so that one flaw is one finding, whoever saw it. Pure."""

from __future__ import annotations

from apviso.protocol.findings import ReportedFinding
from apviso.scanning.catalogue import FlawClass, entry
from apviso.scanning.evidence import excerpt

_Key = tuple[str, str, str, str | None]
_SERVER_ERROR = entry(FlawClass.SERVER_ERROR).cwe_id
# What an unhandled error at the same place is a sign of.
_EXPLAINING = frozenset(
    entry(flaw).cwe_id
    for flaw in (FlawClass.SQL_INJECTION, FlawClass.COMMAND_EXECUTION, FlawClass.PATH_TRAVERSAL, FlawClass.XPATH_INJECTION)
)
_MAX_DETECTORS = 20


class Collected:
    """Findings by what they are and where. Server errors are held until the end: a flaw that is found later may explain them."""

    def __init__(self) -> None:
        self._known: dict[_Key, ReportedFinding] = {}
        self._errors: list[ReportedFinding] = []

    def add(self, found: ReportedFinding) -> ReportedFinding | None:
        """What is to be said now: the finding, or the one that it joins, grown; None where there is nothing new yet."""
        if found.cwe_id == _SERVER_ERROR:
            self._errors.append(found)
            return None
        return self._join(_key(found), found)

    def rest(self) -> list[ReportedFinding]:
        """What was held: grown findings that explain an error, and the errors that none explains."""
        said = {}
        for error in self._errors:
            key = next((key for key, known in self._known.items() if _explains(known, error)), _key(error))
            joined = self._join(key, error)
            if joined is not None:
                said[key] = joined
        self._errors = []
        return list(said.values())

    def _join(self, key: _Key, found: ReportedFinding) -> ReportedFinding | None:
        known = self._known.get(key)
        if known is None:
            self._known[key] = found
            return found
        new = [detector for detector in found.detectors if detector not in known.detectors]
        if not new:
            return None
        evidence = f"{known.evidence}\n\nAlso seen by {', '.join(new)}:\n{found.evidence}"
        reproduction = list(dict.fromkeys([*known.reproduction, *found.reproduction]))[:20]
        detectors = [*known.detectors, *new][:_MAX_DETECTORS]
        grown = known.model_copy(update={"detectors": detectors, "evidence": excerpt(evidence, 8_000), "reproduction": reproduction})
        self._known[key] = grown
        return grown


def _key(found: ReportedFinding) -> _Key:
    # Not the weakness: missing headers share one, and so do reflected and stored scripting, of which a parameter may have both.
    return (found.title, found.method, found.url, found.parameter)


def _explains(known: ReportedFinding, error: ReportedFinding) -> bool:
    same_place = (known.method, known.url) == (error.method, error.url)
    return known.cwe_id in _EXPLAINING and same_place and error.parameter in (None, known.parameter)
