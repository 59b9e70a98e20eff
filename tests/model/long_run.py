"""Many sequences, on both databases: `python -m tests.model.long_run` walks MODEL_SEQUENCES of MODEL_STEPS each from MODEL_SEED on.

They come in batches with a seed each, so that what a batch finds is found again by its seed alone. A request that is refused with 503 again
and again is broken, too.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import BROKEN, ControlPlaneModel
from tests.support.databases import KINDS, Databases, Kind, make_sqlite_template
from tests.support.postgres import postgres_server

BATCH = 10


def walk(databases: Databases, sequences: int, steps: int, number: int | None = None) -> Counter[str]:
    """So many sequences of so many steps: always the same ones, or those of a number; what was answered how often.

    Raises on the first sequence that breaks a promise.

    What it raises holds the sequence; that is not shortened, which would take many times as long.
    """
    met = Counter[str]()
    on_these = type("ControlPlaneOnThese", (ControlPlaneModel,), {"databases": databases, "met": met})
    bounds = settings(
        max_examples=sequences,
        stateful_step_count=steps,
        deadline=None,
        derandomize=number is None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    # A line for each of thousands of requests costs as much as some of them.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        run_state_machine_as_test(on_these if number is None else seed(number)(on_these), settings=bounds)
    except Exception as error:
        for what in met:
            if what.startswith(BROKEN):
                error.add_note(what)
        raise
    finally:
        structlog.reset_defaults()
    return met


@contextmanager
def _databases(kind: Kind) -> Iterator[Databases]:
    with TemporaryDirectory(prefix="model-") as folder:
        if kind == "sqlite":
            yield Databases(make_sqlite_template(Path(folder)))
            return
        with postgres_server() as server:
            server.make_template()
            yield Databases(server)


def main() -> int:
    first = int(os.environ.get("MODEL_SEED") or random.SystemRandom().randrange(10**6))
    sequences = int(os.environ.get("MODEL_SEQUENCES") or 100)
    steps = int(os.environ.get("MODEL_STEPS") or 100)
    kinds = [kind for kind in KINDS if kind in (os.environ.get("MODEL_DATABASES") or kind)]
    failed, met = 0, Counter[str]()
    for kind in kinds:
        with _databases(kind) as databases:
            for batch, done in enumerate(range(0, sequences, BATCH)):
                number, size, began = first + batch, min(BATCH, sequences - done), time.monotonic()
                again = f"MODEL_SEED={number} MODEL_SEQUENCES={size} MODEL_STEPS={steps} MODEL_DATABASES={kind}"
                try:
                    met += walk(databases, size, steps, number)
                except Exception:  # noqa: BLE001  # whatever it was is told, and the next batch may find something else
                    failed += 1
                    _tell(f"{again}: BROKEN\n{traceback.format_exc()}")
                else:
                    _tell(f"{again}: {size * steps} steps kept every promise in {time.monotonic() - began:.0f} s")
    _tell("\n".join(f"{number:7d}  {what}" for what, number in sorted(met.items())))
    _tell(f"{sequences * steps} steps on each of {', '.join(kinds)} from MODEL_SEED={first}: {failed} batches broken")
    return 1 if failed else 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
