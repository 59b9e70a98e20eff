"""What a preflight has found: each check with its message and, for one that failed, the next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apviso.protocol.daemon import Preflight, PreflightCheck
from apviso.protocol.states import EndReason
from apviso.runner.scope import MethodsDecision
from apviso.runner.target_auth.identities import TargetIdentity


@dataclass
class Examination:
    """`reason` is that of the first failure; `identities` hold the target's credentials, for the guard alone, the default one first.

    `addresses` are those that the scope was judged by: nothing else is dialed afterwards. `api_document` is the target's own, and
    `methods` are what the guard may let pass."""

    checks: dict[str, PreflightCheck] = field(default_factory=dict)
    reason: EndReason | None = None
    identities: tuple[TargetIdentity, ...] = ()
    provider_credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    addresses: tuple[str, ...] = ()
    api_document: str | None = None
    methods: MethodsDecision = field(default_factory=lambda: MethodsDecision((), ()))

    @property
    def ok(self) -> bool:
        return self.reason is None

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the identity that a scan uses when it names none."""
        return self.identities[0].headers if self.identities else {}

    @property
    def message(self) -> str:
        return next((check.message for check in self.checks.values() if not check.ok), "")

    def passed(self, name: str, message: str) -> None:
        self.checks[name] = PreflightCheck(ok=True, message=message)

    def failed(self, name: str, reason: EndReason, message: str, remediation: str) -> None:
        self.checks[name] = PreflightCheck(ok=False, message=message[:2000], remediation=remediation)
        self.reason = self.reason or reason

    def as_call(self, attempt: int) -> Preflight:
        return Preflight(
            attempt=attempt, ok=self.ok, checks=self.checks, error_code=self.reason, error_message=None if self.ok else self.message
        )
