"""Fetches a new token when the control plane wants one, and keeps it before it is used. No person sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from apviso.protocol.tokens import parse_token
from apviso.runner.backoff import Backoff, Patience
from apviso.runner.directives import Obedience
from apviso.runner.identity import Identity, store
from apviso.runner.refusals import IdentityRejected, Refused
from apviso.runner.retrying import until_answered
from apviso.runner.station import Station

log = structlog.get_logger("apviso.runner.rotation")

# Replaced tokens die within a day; more than a few names of them are of no use.
_REMEMBERED = 8


@dataclass
class RotationLoop:
    station: Station
    obedience: Obedience
    identity: Identity

    async def run(self) -> None:
        """Rotate whenever it is wanted, until cancelled; raises IdentityRejected."""
        while True:
            await self.obedience.rotation_wanted.wait()
            try:
                await self._rotate()
            except IdentityRejected:
                raise
            except Refused as error:
                log.warning("rotation_refused", reason=str(error))
            except OSError as error:
                # The new token is used only once it is kept; the old one goes on, and the next beat brings the wish again.
                log.warning("rotation_not_kept", reason=str(error))
            # The directive stays set until the new token is used; a beat with it brings the next wish, if there is one.
            self.obedience.rotation_wanted.clear()

    async def _rotate(self) -> None:
        plane = self.station.plane
        answer = await until_answered(plane.rotate_token, Patience(Backoff(first=1.0, most=60.0)))
        token = parse_token(answer.token)
        if token is None:
            log.error("rotation_failed", reason="the answer holds no runner token")
            return
        self.station.redactor.learn(token.reveal(), token.secret)
        pulse = self.obedience.pulse
        replaced = (*self.identity.replaced, self.identity.token.prefix)[-_REMEMBERED:]
        renewed = replace(
            self.identity,
            token=token,
            runner_id=self.identity.runner_id or pulse.runner_id,
            api_url=self.identity.api_url or self.station.config.api_url,
            replaced=replaced,
        )
        store(self.station.workspace, renewed)
        self.identity = renewed
        plane.use_token(token)
        log.info("token_rotated", prefix=token.prefix)
