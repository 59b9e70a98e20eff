"""What each preset does: its scanners and how deep each of them goes, in one table. What it may cost is in `protocol/limits.py`."""

from __future__ import annotations

from dataclasses import dataclass

from apviso.protocol.states import ModelPreset


@dataclass(frozen=True)
class Crawl:
    """For Wapiti: the modules that send attacks, and how far the crawl goes.

    `looking` are the modules that only look, None for all there are; `seeds` are pages to begin at beside the start page."""

    attacks: tuple[str, ...]
    depth: int
    files_per_folder: int
    looking: tuple[str, ...] | None = None
    seeds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Injections:
    """For sqlmap: at most so many addresses, by these techniques (`BEUT`: boolean, error, union, time), at this level."""

    places: int
    techniques: str = "BEU"
    level: int = 1


@dataclass(frozen=True)
class Api:
    """For Schemathesis: generated requests for each operation, and the share of them that carries an attack from the dictionary."""

    examples: int
    attack_share: float = 0.0


@dataclass(frozen=True)
class Plan:
    """`tls_versions`: whether SSLyze tries every cipher suite of every version, or looks at the certificate and old versions alone.

    `injections` and `api` are None where the preset leaves that scanner out."""

    crawl: Crawl
    tls_versions: bool
    injections: Injections | None = None
    api: Api | None = None


# Left out: modules that call out or load lists from outside, that need writing, and `ldap`, which takes any error for a find.
_FREE = ("redirect",)
_LOW = (*_FREE, "sql", "xss", "file", "exec", "crlf")
_MEDIUM = (*_LOW, "csrf", "permanentxss", "methods")
_HIGH = (*_MEDIUM, "timesql", "backup")

PLANS: dict[ModelPreset, Plan] = {
    ModelPreset.FREE: Plan(Crawl(_FREE, depth=3, files_per_folder=20), tls_versions=False),
    ModelPreset.LOW: Plan(Crawl(_LOW, depth=8, files_per_folder=50), tls_versions=True),
    ModelPreset.MEDIUM: Plan(Crawl(_MEDIUM, depth=12, files_per_folder=100), True, Injections(places=30), Api(examples=30)),
    ModelPreset.HIGH: Plan(Crawl(_HIGH, depth=20, files_per_folder=200), True, Injections(places=100), Api(examples=60, attack_share=0.2)),
    ModelPreset.ULTRA: Plan(
        Crawl(_HIGH, depth=40, files_per_folder=500), True, Injections(places=300, techniques="BEUT", level=2), Api(150, attack_share=0.3)
    ),
}
