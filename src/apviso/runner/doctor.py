"""Looks at everything a runner needs and says, for each failure, what to do next. Changes nothing; shows no secret."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
from cryptography import x509

from apviso.protocol.timers import Timers
from apviso.protocol.wire import Wire
from apviso.runner.clock import Clock
from apviso.runner.config import ENVIRONMENT, Config
from apviso.runner.connection import BadProxy, open_client
from apviso.runner.control_plane import why_unreachable
from apviso.runner.engines import Engine, EngineFailed
from apviso.runner.engines.choice import choose_engine, find_container_engine
from apviso.runner.private_files import ExposedFile
from apviso.runner.providers import NO_PROVIDER, UnusableLogin, configured_provider, find_provider
from apviso.runner.redaction import MIN_SECRET_LENGTH, Redactor
from apviso.runner.refusals import CallFailed, IdentityRejected
from apviso.runner.scope import BadScope, Scope, load_scope
from apviso.runner.setup import Setup, control_plane
from apviso.runner.target_auth.browser_state import read_browser_state
from apviso.runner.target_auth.entries import BrowserStateAuth
from apviso.runner.target_auth.file import BadTargetAuth, find_target_auth_file, load_target_auth
from apviso.runner.trust import BadAuthority
from apviso.scanning.environment import default_dir, status

CONNECT_SECONDS = 10.0


class DoctorCheck(Wire):
    name: str
    state: Literal["ok", "warning", "failed"]
    message: str
    next_step: str | None = None


class ShownSetting(Wire):
    name: str
    value: str
    source: str


class Diagnosis(Wire):
    healthy: bool
    checks: list[DoctorCheck]
    settings: list[ShownSetting]
    engine_limits: list[str]


def ok(name: str, message: str) -> DoctorCheck:
    return DoctorCheck(name=name, state="ok", message=message)


def warning(name: str, message: str, next_step: str) -> DoctorCheck:
    return DoctorCheck(name=name, state="warning", message=message, next_step=next_step)


def failure(name: str, message: str, next_step: str) -> DoctorCheck:
    return DoctorCheck(name=name, state="failed", message=message, next_step=next_step)


async def diagnose(setup: Setup) -> Diagnosis:
    engine = choose_engine(setup.config, "", setup.environ)
    local = [
        check_workspace(setup),
        check_disk(setup),
        check_identity(setup),
        await check_engine(engine, setup.config, setup.environ),
        *await check_image(engine),
        check_scanners(setup.config),
        check_scope(setup),
        *check_target_auth(setup.config),
        check_model_provider(setup.environ),
    ]
    checks = [*local, *await check_control_plane(setup)]
    return Diagnosis(
        healthy=all(check.state != "failed" for check in checks),
        checks=checks,
        settings=shown_settings(setup),
        engine_limits=[str(limit) for limit in cast("list[str]", engine.describe()["limits"])],
    )


def bad_settings(problem: str) -> Diagnosis:
    """The diagnosis of a runner whose settings cannot be read: nothing else can be looked at."""
    step = "Correct the setting where the message says that it comes from."
    return Diagnosis(healthy=False, checks=[failure("settings", problem, step)], settings=[], engine_limits=[])


def shown_settings(setup: Setup) -> list[ShownSetting]:
    return [
        ShownSetting(name=name, value=_shown(getattr(setup.config, name)), source=_source(name, setup.resolved.sources[name]))
        for name in Config.model_fields
    ]


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case tuple():
            # A command of several words may hold what is nobody's business; its program says enough.
            return str(value[0]) + (" ..." if len(value) > 1 else "")
        case _:
            return str(value)


def _source(name: str, source: str) -> str:
    return f"environment ({ENVIRONMENT[name]})" if source == "environment" else source


def check_workspace(setup: Setup) -> DoctorCheck:
    root = setup.workspace.root
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if not os.access(nearest, os.W_OK | os.X_OK) or not nearest.is_dir():
        step = f"Give this account the folder {nearest}, or choose another with APVISO_RUNNER_WORKSPACE."
        return failure("workspace", f"{nearest} cannot be written", step)
    if root.exists() and root.stat().st_mode & 0o022:
        return warning("workspace", f"{root} can be changed by other accounts", f"Run: chmod 700 {root}")
    return ok("workspace", f"{root}" if root.exists() else f"{root} will be made")


def check_disk(setup: Setup) -> DoctorCheck:
    root = setup.workspace.root
    free = shutil.disk_usage(next(folder for folder in (root, *root.parents) if folder.exists())).free
    message = f"{free / 1024**3:.1f} GiB free"
    step = "Free space there, or move the workspace with APVISO_RUNNER_WORKSPACE."
    if free < setup.config.min_free_disk_bytes:
        return failure("disk", f"{message}; no scan starts below {setup.config.min_free_disk_bytes / 1024**3:.1f} GiB", step)
    if free < Timers().disk_floor_bytes:
        return failure("disk", f"{message}; the control plane sends no scans below {Timers().disk_floor_bytes / 1024**3:.0f} GiB", step)
    return ok("disk", message)


def check_identity(setup: Setup) -> DoctorCheck:
    if setup.identity_problem is not None:
        step = "Correct it as the message says, or register again: apviso register --force --token-file -"
        return failure("identity", setup.identity_problem, step)
    if setup.identity is None:
        return failure("identity", "This host is not registered", "Run `apviso onboard`, or set APVISO_RUNNER_TOKEN.")
    identity = setup.identity
    return ok("identity", f"{identity.name or 'runner'} with token {identity.token.prefix} from {identity.source}")


async def check_engine(engine: Engine, config: Config, environ: Mapping[str, str]) -> DoctorCheck:
    problem = await engine.problem()
    if engine.name == "process":
        return _process_engine(problem, find_container_engine(environ) if config.engine == "auto" and config.scan_command is None else None)
    if problem is not None:
        step = f"Start {engine.name}, give this account its socket (engine_socket in runner.toml), and name scan_image by its digest."
        return failure("engine", problem, step)
    facts = engine.describe()
    kind = "rootless" if facts["rootless"] else "rootful"
    return ok("engine", f"Scans run in containers ({engine.name} {facts['version']}, {kind}, cgroup v{facts['cgroupVersion']})")


def _process_engine(problem: str | None, unused: str | None) -> DoctorCheck:
    if problem is not None:
        return failure("engine", problem, "Correct scan_command in runner.toml, or remove it to use the built-in scan.")
    message = "Scans run as processes of this account (the process engine); its limits are listed below"
    if unused is not None:
        return warning("engine", f"{message}, although {unused} is here", "Set scan_image in runner.toml to run scans in containers.")
    return ok("engine", message)


async def check_image(engine: Engine) -> Iterable[DoctorCheck]:
    """Whether a scan could start with the image of the settings; fetches it, as the first scan would."""
    if engine.name == "process":
        return ()
    try:
        prepared = await engine.prepare(None)
    except EngineFailed as error:
        return (failure("scan_image", str(error), "Correct scan_image in runner.toml; it names an image by its digest."),)
    return (ok("scan_image", f"{prepared.digest} is here"),)


def check_scanners(config: Config) -> DoctorCheck:
    folder = config.scanners_dir or default_dir()
    found = status(folder)
    if found.problem is not None:
        return failure("scanners", f"{found.problem} ({folder})", "Run: apviso scanners install")
    return ok("scanners", found.summary)


def check_scope(setup: Setup) -> DoctorCheck:
    path = setup.workspace.scope_file
    try:
        scope = load_scope(path)
    except BadScope as error:
        return failure("scope", str(error), f"Correct {path}; until then every scan is refused.")
    if scope is None:
        message = "No scope file: internal addresses and names, and targets that are public or staging, may be scanned"
        return warning("scope", message, f"List what this runner may touch in {path} (hosts, cidrs, ports, methods).")
    return ok("scope", f"{path} is in force: {'; '.join(_in_words(scope))}")


def _in_words(scope: Scope) -> Iterable[str]:
    """What is in force, entry by entry: a person has to recognize a typing error."""
    for name, entries in (("hosts", scope.hosts), ("cidrs", scope.cidrs), ("ports", scope.ports), ("methods", scope.methods)):
        unlisted = "none" if name in ("hosts", "cidrs") else "any"
        yield f"{name} {', '.join(map(str, entries)) if entries else unlisted}"


def check_target_auth(config: Config) -> Iterable[DoctorCheck]:
    path = find_target_auth_file(config)
    try:
        entries = load_target_auth(path)
        for entry in entries:
            if isinstance(entry, BrowserStateAuth):
                read_browser_state(entry.state_file)
    except (BadTargetAuth, ExposedFile, OSError) as error:
        yield failure("target_auth", str(error), "Correct the file; until then every scan fails its preflight.")
        return
    if path is None:
        yield ok("target_auth", "No credentials for targets are configured")
        return
    yield ok("target_auth", f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'} in {path}")
    if any(len(value) < MIN_SECRET_LENGTH for entry in entries for value in entry.values() if value):
        message = f"A secret is shorter than {MIN_SECRET_LENGTH} characters and cannot be recognized in a scan's output"
        yield warning("target_auth_length", message, "Use a longer one.")
    if any(entry.id and not (entry.url or entry.domain) for entry in entries):
        message = "An entry names only the id of its target; whoever controls the target's address there gets the secret"
        yield warning("target_auth_pinned", message, "Add domain or url to the entry.")


def check_model_provider(environ: Mapping[str, str]) -> DoctorCheck:
    """By name only. Few images need one, so none is no failure."""
    name = configured_provider(environ)
    try:
        find_provider(name, environ)
    except UnusableLogin as error:
        return warning("model_provider", f"{name}: {error}", "Correct the file; until then images that need this provider do not start.")
    return ok("model_provider", "No model provider is configured" if name == NO_PROVIDER else f"{name} is configured")


async def check_control_plane(setup: Setup) -> list[DoctorCheck]:
    """Address, connection, clock and credentials, in the order in which they depend on each other."""
    url = setup.config.api_url
    if url is None:
        return [failure("control_plane", "The address of the control plane is not known", "Set APVISO_API_URL or give --api-url.")]
    checks = [check_transport(url)]
    try:
        async with (
            asyncio.timeout(CONNECT_SECONDS),
            open_client(setup.config.custom_ca_path) as client,
            # Status and date say it all; whoever answers in the control plane's place may go on for ever.
            client.stream("GET", f"{url}/healthz") as answer,
        ):
            pass
    except BadAuthority as error:
        return [*checks, failure("control_plane", str(error), "Correct APVISO_CUSTOM_CA_PATH.")]
    except BadProxy as error:
        step = "Correct HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or unset them."
        return [*checks, failure("control_plane", str(error), step)]
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
        return [*checks, await _unreachable(url, error)]
    if answer.status_code != httpx2.codes.OK:
        step = "Check the address; a proxy in between may answer in the control plane's place."
        return [*checks, failure("control_plane", f"{url} answers {answer.status_code} to /healthz", step)]
    checks.append(ok("control_plane", f"{url} answers{_by_proxy(url)}"))
    checks.append(check_clock(answer.headers, Clock().now()))
    return [*checks, *await check_credentials(setup, url)]


def check_transport(url: str) -> DoctorCheck:
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        return warning("transport", "The runner's token travels unencrypted", "Serve the control plane over https.")
    return ok("transport", "encrypted" if parts.scheme == "https" else "unencrypted, but on this host only")


def _by_proxy(url: str) -> str:
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.hostname or ""):
        return ""
    return f" (through the proxy {urlsplit(proxy).hostname})"


async def _unreachable(url: str, error: Exception) -> DoctorCheck:
    sentence = why_unreachable(url, error)
    if "CERTIFICATE_VERIFY_FAILED" in sentence:
        issuer = await asyncio.to_thread(tls_issuer, url)
        step = f"If you trust its issuer ({issuer}), put that authority's certificate into a file and name it in APVISO_CUSTOM_CA_PATH."
        return failure("control_plane", sentence, step)
    step = "Check the address, the name's resolution and the firewall; behind a proxy set HTTPS_PROXY, and NO_PROXY for internal names."
    return failure("control_plane", sentence, step)


def tls_issuer(url: str) -> str:
    """Who issued the certificate that is shown at this address: it gives an intercepting proxy away."""
    parts = urlsplit(url)
    try:
        pem = ssl.get_server_certificate((parts.hostname or "", parts.port or 443), timeout=CONNECT_SECONDS)
        return x509.load_pem_x509_certificate(pem.encode()).issuer.rfc4514_string()
    except (OSError, ValueError):
        return "unknown"


def check_clock(headers: Mapping[str, str], now: datetime) -> DoctorCheck:
    try:
        theirs = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return warning("clock", "The control plane's answer carries no date", "A proxy may have removed it; compare the clocks by hand.")
    # A zone of -0000 is UTC as well, but is parsed to a time without a zone.
    skew = (now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))).total_seconds()
    limit = Timers().clock_skew_limit.total_seconds()
    if abs(skew) > limit:
        step = "Set this host's clock, best by NTP. Scans go on meanwhile: leases do not depend on it."
        return warning("clock", f"This host's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}", step)
    return ok("clock", f"within {limit:.0f} s of the control plane's")


async def check_credentials(setup: Setup, url: str) -> list[DoctorCheck]:
    if setup.identity is None:
        return []
    token = setup.identity.token
    try:
        async with control_plane(url, setup.config.custom_ca_path, Redactor([token.reveal()]), token) as plane:
            found = await plane.targets()
    except IdentityRejected as error:
        step = "Register again with a new enrollment token: apviso register --force --token-file -"
        return [failure("credentials", f"The control plane does not accept the runner's token ({error.code})", step)]
    except CallFailed as error:
        return [failure("credentials", str(error), "Try again; if it lasts, look at the control plane's own log.")]
    return [ok("credentials", f"accepted; {len(found.targets)} targets may be sent to this runner")]
