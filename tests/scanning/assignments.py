"""What an adapter is given, for tests of command lines and reports."""

from __future__ import annotations

from apviso.protocol.scan_events import OutputLine
from apviso.protocol.states import ModelPreset
from apviso.scanning.adapters.tool import Assignment
from apviso.scanning.api_document import ApiDocument
from apviso.scanning.order import ScanOrder
from apviso.scanning.plans import PLANS
from tests.scanning.orders import order_for

ORIGIN = "http://127.0.0.1:8911"


def assignment_for(
    order: ScanOrder | None = None,
    *,
    preset: ModelPreset = ModelPreset.MEDIUM,
    api: ApiDocument | None = None,
    addresses: tuple[str, ...] = (),
    seconds: float = 300,
) -> Assignment:
    given = order or order_for(f"{ORIGIN}/", preset=preset)

    def say(line: OutputLine) -> None:
        """Nobody listens."""

    return Assignment(given, PLANS[given.model_preset], given.target.scan_url, api, addresses, seconds, say)


def values_of(flag: str, line: list[str]) -> list[str]:
    return [line[at + 1] for at, part in enumerate(line) if part == flag]
