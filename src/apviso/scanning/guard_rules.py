"""What the guard is told and what it counts: its rules, its counters, and how a job's target becomes an exact address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from apviso.protocol.limits import Limits
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import Wire

Count = Annotated[int, Field(ge=0)]
_DEFAULT_PORTS = {"http": 80, "https": 443}
# The identity that a request names to be sent without credentials.
ANONYMOUS = "anonymous"


class Refusal(StrEnum):
    """Why the guard kept a request from the target."""

    HOST_NOT_ALLOWED = "host_not_allowed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    EXCLUDED_PATH = "excluded_path"
    BUDGET_SPENT = "budget_spent"
    PERMIT_EXPIRED = "permit_expired"
    UPGRADE_REFUSED = "upgrade_refused"
    BODY_TOO_LARGE = "body_too_large"
    QUEUE_FULL = "queue_full"
    MALFORMED = "malformed"
    STRANGER = "stranger"
    NOT_A_HANDSHAKE = "not_a_handshake"
    UNKNOWN_IDENTITY = "unknown_identity"


class InvalidTarget(ValueError):
    """The target's scan URL names no exact http or https address."""


class AllowedHost(Wire):
    """Where the guard lets requests go. All three must match exactly; no prefix, suffix or wildcard.

    `addresses` are what the host's name stands for; the guard looks up no name by itself."""

    scheme: Literal["http", "https"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    addresses: tuple[str, ...] = ()


class GuardRules(Wire):
    """`headers` are the target's credentials, added to each request by the guard alone and hidden from repr.

    `identities` are those of the names that a request may ask for instead, by `X-Apviso-Identity`.
    `exclude_paths` are regular expressions, searched in path and query without regard to case."""

    scan_id: str
    allowed: list[AllowedHost]
    methods: list[str]
    requests_per_second: Annotated[float, Field(gt=0)]
    max_requests: Annotated[int, Field(ge=1)]
    exclude_paths: list[str]
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    identities: dict[str, dict[str, str]] = Field(default_factory=dict, repr=False)
    request_log: str | None = None


class GuardCounters(Wire):
    """`requests` were let through, `bytes` were answered in bodies, `connect_errors` were let through and never answered.

    `handshakes` are the tunnels for TLS checks, which carry no request.

    `refusals` counts by reason, `answers` by class of status ("2xx").
    The statuses 401, 403 and 429 are in `answers` a second time by themselves ("429")."""

    requests: Count = 0
    refused: Count = 0
    bytes: Count = 0
    refusals: dict[str, Count] = Field(default_factory=dict)
    answers: dict[str, Count] = Field(default_factory=dict)
    connect_errors: Count = 0
    handshakes: Count = 0

    @property
    def classes(self) -> dict[str, int]:
        """`answers` by class alone, so that their sum is the number of answers."""
        return {status: number for status, number in self.answers.items() if status.endswith("xx")}


def allowed_host(url: str) -> AllowedHost:
    """The exact address that `url` names. Raises InvalidTarget."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError as error:
        raise InvalidTarget(f"the scan URL is malformed: {error}") from error
    if not host or parts.username is not None or parts.password is not None:
        raise InvalidTarget("the scan URL needs a host and must not hold a user name")
    match scheme:
        case "http" | "https":
            return AllowedHost(scheme=scheme, host=normal_host(host), port=port or _DEFAULT_PORTS[scheme])
        case _:
            raise InvalidTarget("the scan URL must begin with http:// or https://")


def normal_host(host: str) -> str:
    """One spelling for one host: addresses compressed, names in lower-case ASCII without the final dot."""
    bare = host.strip("[]").lower().removesuffix(".")
    try:
        return str(ip_address(bare))
    except ValueError:
        pass
    try:
        return bare.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise InvalidTarget("the scan URL's host is no valid name") from error


def rules_for(
    scan_id: str,
    target: JobTarget,
    limits: Limits,
    identities: Mapping[str, Mapping[str, str]],
    request_log: Path | None,
    addresses: Sequence[str] = (),
) -> GuardRules:
    """The rules of one attempt. Raises InvalidTarget.

    `identities` are headers by the name of their identity, the default one first; `addresses` those of the target's host that were judged.
    """
    return GuardRules(
        scan_id=scan_id,
        allowed=[allowed_host(target.scan_url).model_copy(update={"addresses": tuple(addresses)})],
        methods=[method.upper() for method in limits.methods],
        requests_per_second=limits.requests_per_second,
        max_requests=limits.max_requests,
        exclude_paths=limits.exclude_paths,
        headers=dict(next(iter(identities.values()), {})),
        identities={name: dict(headers) for name, headers in identities.items()},
        request_log=str(request_log) if request_log else None,
    )
