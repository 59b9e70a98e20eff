"""Which fault comes next, so that a short time meets as many kinds as it can, the dearest first."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# Nothing else in the suite tries these; see docs/explanation/faults.md.
ONLY_HERE = frozenset(
    {
        "server_disk_full", "database_disk_full", "replica_frozen", "host_out_of_memory", "runner_refused_memory", "cut_off_and_restored",
        "wire_half_close", "server_suspended",
    }
)  # fmt: skip


@dataclass
class Order:
    """`fitting`: the faults of each ground, in the order of the grounds; `met`: how often each ground had each of them."""

    seed: str
    fitting: Mapping[str, Sequence[str]]
    met: Counter[tuple[str, str]] = field(default_factory=Counter)

    def next(self, ground: str) -> str:
        """The one that this ground has met least often. Of those, what nobody has met yet and no ground to come can meet goes first."""
        grounds = list(self.fitting)
        to_come = grounds[grounds.index(ground) + 1 :]

        def rank(fault: str) -> tuple[int, bool, bool, int, float]:
            chances = sum(fault in self.fitting[later] for later in to_come)
            drawn = random.Random(f"{self.seed}.{ground}.{fault}.{self.met[ground, fault]}").random()
            return self.met[ground, fault], fault not in self.unmet, fault not in ONLY_HERE, chances, drawn

        chosen = min(self.fitting[ground], key=rank)
        self.met[ground, chosen] += 1
        return chosen

    @property
    def unmet(self) -> set[str]:
        """What no ground has met, and one could."""
        return {fault for faults in self.fitting.values() for fault in faults} - {fault for _, fault in self.met}
