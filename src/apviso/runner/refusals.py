"""Every way in which a call to the control plane can go wrong, by what the runner has to do about it."""

from __future__ import annotations

from apviso.protocol.problems import Problem


class CallFailed(Exception):
    """Base of everything that a call can raise, apart from cancellation."""


class NoAnswer(CallFailed):
    """Trying again later can help: see the two kinds."""

    retry_after: float | None = None


class Unreachable(NoAnswer):
    """No HTTP answer came: name, route, TLS, time-out or a broken connection. Whether the call took effect is unknown."""


class TryAgain(NoAnswer):
    """An answer came, but not one of the control plane's decisions: busy, failing, or a proxy's page. Seconds in `retry_after`."""

    def __init__(self, sentence: str, status: int, retry_after: float | None = None, code: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Refused(CallFailed):
    """The control plane decided against it; the same call again gets the same answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.error}")
        self.problem = problem
        self.code = problem.code
        self.status = problem.status


class LeaseLost(Refused):
    """The attempt is no longer this runner's: stop, clean up, send nothing more for it."""


class SequenceGap(Refused):
    """The control plane has events only up to `expected_seq` - 1."""

    def __init__(self, problem: Problem, expected_seq: int) -> None:
        super().__init__(problem)
        self.expected_seq = expected_seq


class EventsMissing(Refused):
    """Finish came before the last events."""


class IdentityRejected(Refused):
    """The runner's own token is no longer accepted: terminal."""

    @property
    def is_revoked(self) -> bool:
        return self.code == "runner_revoked"

    @property
    def is_retired(self) -> bool:
        """Enrolled for one scan, and has run it."""
        return self.is_revoked and (self.problem.model_extra or {}).get("retired") is True
