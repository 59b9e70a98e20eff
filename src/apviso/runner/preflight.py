"""The checks before a scan: may this runner, and can it, look at this target now? Each failure names its reason and the next step."""

from __future__ import annotations

import shutil

from apviso.protocol.limits import Limits
from apviso.protocol.states import EndReason
from apviso.protocol.targets import JobTarget
from apviso.runner.engines import Prepared
from apviso.runner.examination import Examination
from apviso.runner.login_checks import check_login, check_target_auth, take_on_identities
from apviso.runner.provider_check import check_model_provider
from apviso.runner.reachability import Reachability, probe
from apviso.runner.scope import BadScope, Destination, judge, judge_methods, load_scope, resolve
from apviso.runner.station import Station
from apviso.runner.target_auth.identities import Whereabouts
from apviso.scanning.guard_rules import InvalidTarget, allowed_host

# With these another runner may fare better, so the attempt is given back instead of ending the scan.
GIVEN_BACK = frozenset({EndReason.ENGINE_UNAVAILABLE, EndReason.DISK_FULL})


async def examine(station: Station, prepared: Prepared, target: JobTarget, limits: Limits) -> Examination:
    """All checks in their order. The target is asked only when it lies in scope."""
    found = Examination()
    await _check_engine(found, station)
    _check_disk(found, station)
    in_scope = await _check_scope(found, station, target, limits)
    check_model_provider(found, station, prepared)
    entries = check_target_auth(found, station, target)
    if in_scope and found.ok:
        place = Whereabouts(target.scan_url, found.addresses, limits.exclude_paths)
        await take_on_identities(found, station, entries, place)
        if found.ok:
            _check_target(found, target, await probe(target.scan_url, found.headers, found.addresses, found.methods.methods))
        if found.ok:
            await check_login(found, place)
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


async def _check_scope(found: Examination, station: Station, target: JobTarget, limits: Limits) -> bool:
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
    found.methods = judge_methods(scope, limits.methods)
    if decision.ok and not found.methods.ok:
        remedy = "Whoever runs this runner can list the method in scope.toml."
        found.failed("scope", EndReason.SCOPE_REFUSED, found.methods.message, remedy)
        return False
    if decision.ok:
        found.passed("scope", decision.message)
    elif not destination.addresses:
        found.failed("scope", EndReason.TARGET_UNREACHABLE, decision.message, "Check the name, and the DNS of the runner's host.")
    else:
        found.failed("scope", EndReason.SCOPE_REFUSED, decision.message, "Whoever runs this runner can list the target in scope.toml.")
    return decision.ok


def _check_target(found: Examination, target: JobTarget, answer: Reachability) -> None:
    if answer.problem is not None:
        remedy = "Check that the application runs and that this host can reach it."
        found.failed("target", EndReason.TARGET_UNREACHABLE, f"{target.scan_url} does not answer: {answer.problem}", remedy)
    elif answer.status == 401 and found.headers:
        remedy = "Renew the credentials in the target auth file."
        found.failed("target", EndReason.AUTH_FAILED, "The target refuses the configured credentials (401).", remedy)
    else:
        found.passed("target", f"The target answers ({answer.status}).")
