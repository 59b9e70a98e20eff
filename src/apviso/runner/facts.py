"""What a runner says of itself: names, numbers and booleans. Never a value of a secret, a path or an environment variable."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from pydantic import JsonValue

from apviso.runner.providers import NO_PROVIDER, configured_provider, environment_secrets
from apviso.scanning.environment import ScannersStatus

# An embedding provider counts as configured when its variable is set; which one is told by name, the value stays here.
EMBEDDING_PROVIDERS: Mapping[str, str] = {
    "VOYAGE_API_KEY": "voyage",
    "COHERE_API_KEY": "cohere",
    "OPENAI_API_KEY": "openai",
    "OLLAMA_HOST": "ollama",
}
TARGET_VISIBILITIES = ("public", "staging_preview", "private_internal", "localhost")


def system_name() -> str:
    return platform.system().lower()


def machine_name() -> str:
    return platform.machine().lower()


def provider_state(environ: Mapping[str, str]) -> dict[str, JsonValue]:
    return {
        "modelProvider": configured_provider(environ),
        "embeddingProvider": _first(EMBEDDING_PROVIDERS, environ),
    }


def _first(providers: Mapping[str, str], environ: Mapping[str, str]) -> str:
    return next((name for variable, name in providers.items() if environ.get(variable)), NO_PROVIDER)


def local_secrets(environ: Mapping[str, str]) -> list[str]:
    """Values of provider keys in the environment, for the redactor alone."""
    variables = {*EMBEDDING_PROVIDERS} - {"OLLAMA_HOST"}
    return [*environment_secrets(environ), *(environ[variable] for variable in sorted(variables) if environ.get(variable))]


def scanner_facts(scanners: ScannersStatus) -> dict[str, JsonValue]:
    return {"ready": scanners.problem is None, **scanners.versions}


def capabilities(
    environ: Mapping[str, str], *, has_target_auth: bool, engine: Mapping[str, JsonValue], scanners: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """`engine` and `scanners` are facts of the engine and of the scanners' environment; `isolation` repeats the one that matters."""
    return {
        "localProviderSecrets": bool(local_secrets(environ)) or configured_provider(environ) != NO_PROVIDER,
        "localTargetAuthConfig": has_target_auth,
        "targetVisibilities": list(TARGET_VISIBILITIES),
        "isolation": engine.get("isolation", "unknown"),
        "engine": dict(engine),
        "scanners": dict(scanners),
    }


def host_name() -> str:
    return platform.node() or "runner"
