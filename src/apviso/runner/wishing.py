"""What somebody at this host wants of its runner, said to the control plane, which keeps it: also while the daemon does not run."""

from __future__ import annotations

from apviso.protocol.daemon import HostAnswer
from apviso.protocol.runners import Drain, Pause
from apviso.runner.config import ConfigProblem
from apviso.runner.redaction import Redactor
from apviso.runner.setup import Setup, control_plane


async def wish(setup: Setup, wanted: Pause | Drain | None) -> HostAnswer:
    """Pause, drain, or, with None, resume. Raises CallFailed, ConfigProblem, BadProxy or BadAuthority."""
    if setup.identity is None:
        raise ConfigProblem(setup.identity_problem or "this host is not registered; run `apviso onboard`, or set APVISO_RUNNER_TOKEN")
    token = setup.identity.token
    async with control_plane(setup.api_url, setup.config.custom_ca_path, Redactor([token.reveal()]), token) as plane:
        match wanted:
            case Pause():
                return await plane.pause(wanted)
            case Drain():
                return await plane.drain(wanted)
            case None:
                return await plane.resume()
