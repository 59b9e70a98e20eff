"""What every attempt on this runner works with. Holds things, decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from apviso.protocol.timers import Timers
from apviso.runner.clock import Clock
from apviso.runner.config import Config
from apviso.runner.control_plane import ControlPlane
from apviso.runner.engines import Engine
from apviso.runner.redaction import Redactor
from apviso.runner.refusals import IdentityRejected
from apviso.runner.workspace import Workspace
from apviso.scanning.environment import ScannersStatus, status


@dataclass(frozen=True)
class Station:
    """`environ` holds the credentials of model providers. `on_rejected` is told when the control plane no longer accepts this runner."""

    config: Config
    workspace: Workspace
    plane: ControlPlane
    engine: Engine
    scanners_dir: Path
    redactor: Redactor
    clock: Clock
    timers: Timers
    on_rejected: Callable[[IdentityRejected], None]
    environ: Mapping[str, str] = field(repr=False)

    def scanners(self) -> ScannersStatus:
        return status(self.scanners_dir)
