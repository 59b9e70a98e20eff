"""From the name of an image in the local engine to the report on it: finds the engine, runs the trials one after the other."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from apviso.protocol.wire import Wire
from apviso.runner.conformance.checks import Check, Outcome, judge_trials
from apviso.runner.conformance.situations import Situation
from apviso.runner.conformance.trial import Stand, Trial, run_trial
from apviso.runner.engines import EngineFailed
from apviso.runner.engines.api import EngineSocket
from apviso.runner.engines.choice import find_container_engine, socket_of
from apviso.runner.engines.container_engine import ContainerEngine

# A little more than all trials may take together.
MOST_SECONDS = 600.0


class NoSuchImage(Exception):
    """The engine has no image of that name."""


class ImageReport(Wire):
    """`image_id` is what `scan_image` in a runner's settings takes for an image of the same engine."""

    image: str
    image_id: str
    conforms: bool
    checks: list[Check]


async def check_image(
    image: str, scanners_dir: Path, on_trial: Callable[[Situation], None], environ: Mapping[str, str] = os.environ
) -> ImageReport:
    """Raises NoSuchImage; EngineFailed where there is no engine or it went away; GuardFailed without a guard."""
    kind = find_container_engine(environ)
    if kind is None:
        raise EngineFailed("There is no container engine: no socket of Docker or Podman. Start one, or name its socket in DOCKER_HOST.")
    socket_file = socket_of(kind, environ)
    image_id = await EngineSocket(socket_file).find_named(image)
    if image_id is None:
        raise NoSuchImage(f"The engine has no image {image!r}; build or pull it first.")
    engine = ContainerEngine(kind, socket_file, image_id, f"scan-image-check-{secrets.token_hex(8)}")
    try:
        # The socket of the guard lies below it, and the engine must be able to see it.
        with tempfile.TemporaryDirectory(prefix="scan-image-check-") as folder:
            stand = Stand(engine, await engine.prepare(None), scanners_dir, Path(folder))
            async with asyncio.timeout(MOST_SECONDS):
                trials = await _run_trials(stand, on_trial)
    except TimeoutError as error:
        raise EngineFailed(f"The check did not come to an end within {MOST_SECONDS:.0f} s; the engine is too slow.") from error
    finally:
        await engine.end_leftovers()
    checks = judge_trials(trials)
    conforms = all(check.outcome in (Outcome.PASSED, Outcome.WARNING) for check in checks)
    return ImageReport(image=image, image_id=image_id, conforms=conforms, checks=checks)


async def _run_trials(stand: Stand, on_trial: Callable[[Situation], None]) -> dict[Situation, Trial]:
    """One after the other, so that none takes the other's time. An image that cannot start is tried once."""
    trials: dict[Situation, Trial] = {}
    for situation in Situation:
        on_trial(situation)
        trials[situation] = await run_trial(stand, situation)
        if trials[situation].cannot_start is not None:
            break
    return trials
