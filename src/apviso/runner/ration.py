"""How much of what a scan says is kept: a share for findings, one for all else. What goes beyond is counted, not kept."""

from __future__ import annotations

from dataclasses import dataclass, field

# A person reads some hundreds of findings of one scan; thousands are a scanner that runs wild.
MOST_FINDINGS, MOST_FINDING_BYTES = 2_000, 32 * 1024**2
# Several lines a second for the longest scan there is.
MOST_LINES, MOST_LINE_BYTES = 20_000, 16 * 1024**2


@dataclass
class Share:
    most: int
    most_bytes: int
    kept: int = 0
    kept_bytes: int = 0
    left_out: int = 0

    def takes(self, size: int) -> bool:
        """Whether one more of `size` bytes has room; counts it either way. Once one had none, none of its kind is kept."""
        if self.left_out or self.kept >= self.most or self.kept_bytes + size > self.most_bytes:
            self.left_out += 1
            return False
        self.kept += 1
        self.kept_bytes += size
        return True


@dataclass
class Ration:
    """For one attempt. `unread` counts lines that may have held a finding and could not be read."""

    findings: Share = field(default_factory=lambda: Share(MOST_FINDINGS, MOST_FINDING_BYTES))
    lines: Share = field(default_factory=lambda: Share(MOST_LINES, MOST_LINE_BYTES))
    unread: int = 0

    def losses(self) -> list[str]:
        """What the reader of the findings misses, as reasons of a coverage."""
        found = []
        if self.findings.left_out:
            kept, left_out = self.findings.kept, self.findings.left_out
            found.append(f"output_lost: {left_out} findings were left out; of one scan no more than the first {kept} are kept.")
        if self.unread:
            found.append(f"output_lost: {self.unread} lines that the scan wrote could not be read; findings may be among them.")
        return found
