"""What `/metrics` says, as Prometheus reads it."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.support.control_plane import Plane


@dataclass(frozen=True)
class Metrics:
    """Samples by name and labels. Counters belong to the whole process, so tests compare before and after."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def __call__(self, name: str, **labels: str) -> float:
        """The value; 0 for a series that is not there."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def has(self, name: str) -> bool:
        return any(known == name for known, _ in self.samples)

    def by(self, label: str, name: str) -> dict[str, float]:
        """Values of one name by one of its labels."""
        return {dict(labels)[label]: value for (known, labels), value in self.samples.items() if known == name}


async def scraped(plane: Plane) -> Metrics:
    """What is said now; counts of the fleet that are some seconds old are counted anew."""
    plane.clock.pass_by(seconds=5)
    answer = await plane.call("GET", "/metrics")
    families = text_string_to_metric_families(answer.raise_for_status().text)
    return Metrics({(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples})
