"""Follows what Wapiti writes while it runs: phases, progress, and what it could not do. Findings come from its report alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from apviso.protocol.scan_events import OutputLine, Phase, Progress

_LAUNCH = re.compile(r"\[\*\] Launching module (\w{1,50})")
_FOUND = re.compile(r"\[\*\] Wapiti found (\d{1,9}) URLs and forms")
_OUT_OF_TIME = re.compile(r"Max attack time was reached for module (\w+)")
_BROKEN = re.compile(
    r"\[!\] (?:Module (\w+) seems broken|Unable to (?:import module|find a module named) (\w+))|exception occurred in module (\w+)"
)
# Shares of the whole in percent; the crawl is short, the attacks are long.
_CRAWLED, _ATTACKED = 15.0, 95.0


@dataclass
class Console:
    """`attacks` is the number of modules to come. `gaps` are reasons in the form of coverage: `code: sentence`."""

    attacks: int
    launched: int = 0
    pages: int = 0
    attacked_pages: int = 0
    percent: float = 0.0
    gaps: list[str] = field(default_factory=list)

    def hear(self, line: str) -> list[OutputLine]:
        """What one line of the scanner means for those who watch the scan."""
        if found := _LAUNCH.search(line):
            self.launched += 1
            self.attacked_pages = 0
            return [Phase(name=f"attack {found[1]}"), *self._progress()]
        if found := _FOUND.search(line):
            self.pages = int(found[1])
            return self._progress(_CRAWLED)
        if line.startswith("[+] ") and self.launched:
            self.attacked_pages += 1
            return self._progress()
        if line.startswith("[*] Generating report"):
            return [Phase(name="report"), *self._progress(_ATTACKED)]
        self._note_gap(line)
        return []

    def _note_gap(self, line: str) -> None:
        if found := _OUT_OF_TIME.search(line):
            self._gap(f"time_spent: The module {found[1]} was stopped when its time was spent.")
        elif "Max scan time was reached" in line:
            self._gap("crawl_stopped: The crawl was stopped when its time was spent, so pages may be missing.")
        elif found := _BROKEN.search(line):
            self._gap(f"module_failed: The module {found[1] or found[2] or found[3]} failed.")

    def _gap(self, reason: str) -> None:
        if reason not in self.gaps and len(self.gaps) < 30:
            self.gaps.append(reason)

    def _progress(self, at: float | None = None) -> list[OutputLine]:
        """At least one percent more than last time, or silence."""
        reached = self._reckoned() if at is None else at
        if reached < self.percent + 1:
            return []
        self.percent = reached
        return [Progress(percent=round(reached, 1))]

    def _reckoned(self) -> float:
        within = min(1.0, self.attacked_pages / self.pages) if self.pages else 0.0
        done = min(1.0, (max(0, self.launched - 1) + within) / max(1, self.attacks))
        return _CRAWLED + (_ATTACKED - _CRAWLED) * done
