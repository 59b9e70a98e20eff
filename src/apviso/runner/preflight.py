"""The checks before a scan: may this runner, and can it, look at this target now? Each failure names its reason and the next step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from apviso.protocol.daemon import Preflight, PreflightCheck
from apviso.protocol.limits import Limits
from apviso.protocol.states import EndReason
from apviso.protocol.targets import JobTarget
from apviso.runner.private_files import ExposedFile
from apviso.runner.reachability import Reachability, leads_to_login, probe
from apviso.runner.scope import BadScope, Destination, judge, load_scope, resolve
from apviso.runner.secrets import BadTargetAuth, find_auth, load_target_auth
from apviso.runner.station import Station
from apviso.scanning.guard_rules import InvalidTarget, allowed_host

# With these another runner may fare better, so the attempt is given back instead of ending the scan.
GIVEN_BACK = frozenset({EndReason.ENGINE_UNAVAILABLE, EndReason.DISK_FULL})


@dataclass
class Examination:
    """`reason` is that of the first failure; `headers` are the target's credentials, for the guard alone.

    `addresses` are those that the scope was judged by: nothing else is dialed afterwards."""

    checks: dict[str, PreflightCheck] = field(default_factory=dict)
    reason: EndReason | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    addresses: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.reason is None

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


async def examine(station: Station, target: JobTarget, limits: Limits) -> Examination:
    """All checks in their order. The target is asked only when it lies in scope."""
    found = Examination()
    await _check_engine(found, station)
    _check_disk(found, station)
    in_scope = await _check_scope(found, station, target)
    _check_target_auth(found, station, target)
    if in_scope and found.ok:
        _check_target(found, target, await probe(target.scan_url, found.headers, found.addresses))
        await _check_login(found, target, limits)
    return found


async def _check_engine(found: Examination, station: Station) -> None:
    problem = await station.engine.problem()
    if problem is None:
        found.passed("engine", f"The {station.engine.name} engine is ready.")
    else:
        found.failed("engine", EndReason.ENGINE_UNAVAILABLE, problem, "Run `apviso doctor` on the runner's host.")
    scanners = station.scanners()
    if scanners.problem is None:
        found.passed("scanners", "The scanners are installed.")
    else:
        found.failed("scanners", EndReason.ENGINE_UNAVAILABLE, scanners.problem, "Run `apviso scanners install` on the runner's host.")


def _check_disk(found: Examination, station: Station) -> None:
    free, floor = shutil.disk_usage(station.workspace.root).free, station.config.min_free_disk_bytes
    message = f"{free // 1024**2} MiB free, {floor // 1024**2} MiB needed."
    if free >= floor:
        found.passed("disk", message)
    else:
        found.failed("disk", EndReason.DISK_FULL, message, "Free space in the workspace, or move it with APVISO_RUNNER_WORKSPACE.")


async def _check_scope(found: Examination, station: Station, target: JobTarget) -> bool:
    try:
        address = allowed_host(target.scan_url)
        scope = load_scope(station.workspace.scope_file)
    except InvalidTarget as error:
        found.failed("scope", EndReason.INVALID_CONFIG, f"{error}.", "Correct the target's scan URL.")
        return False
    except BadScope as error:
        found.failed("scope", EndReason.SCOPE_REFUSED, str(error), "Correct scope.toml in the runner's workspace.")
        return False
    destination = Destination(address.host, address.port, await resolve(address.host, address.port), target.visibility)
    found.addresses = tuple(str(address) for address in destination.addresses)
    decision = judge(scope, destination)
    if decision.ok:
        found.passed("scope", decision.message)
    elif not destination.addresses:
        found.failed("scope", EndReason.TARGET_UNREACHABLE, decision.message, "Check the name, and the DNS of the runner's host.")
    else:
        found.failed("scope", EndReason.SCOPE_REFUSED, decision.message, "Whoever runs this runner can list the target in scope.toml.")
    return decision.ok


def _check_target_auth(found: Examination, station: Station, target: JobTarget) -> None:
    try:
        entries = load_target_auth(station.config.target_auth_config_file)
    except (BadTargetAuth, ExposedFile, OSError) as error:
        found.failed("target_auth", EndReason.INVALID_CONFIG, str(error), "Correct the file, then run `apviso doctor`.")
        return
    for entry in entries:
        station.redactor.learn(*entry.values())
    fitting = find_auth(entries, target)
    found.headers = fitting.headers() if fitting is not None else {}
    found.passed("target_auth", "Credentials are configured." if found.headers else "No credentials are configured for this target.")


def _check_target(found: Examination, target: JobTarget, answer: Reachability) -> None:
    if answer.problem is not None:
        remedy = "Check that the application runs and that this host can reach it."
        found.failed("target", EndReason.TARGET_UNREACHABLE, f"{target.scan_url} does not answer: {answer.problem}", remedy)
    elif answer.status == 401 and found.headers:
        remedy = "Renew the credentials in the target auth file."
        found.failed("target", EndReason.AUTH_FAILED, "The target refuses the configured credentials (401).", remedy)
    else:
        found.passed("target", f"The target answers ({answer.status}).")


async def _check_login(found: Examination, target: JobTarget, limits: Limits) -> None:
    """Credentials that have run out are often answered with a redirect to the login instead of a 401."""
    if found.ok and found.headers and await leads_to_login(target.scan_url, found.headers, limits.exclude_paths, found.addresses):
        remedy = "Renew the credentials in the target auth file."
        found.failed("target", EndReason.AUTH_FAILED, "The target leads to its login in spite of the configured credentials.", remedy)
