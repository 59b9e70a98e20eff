"""Every setting of the control plane. Environment variables carry the prefix `APVISO_`; flags of `apviso server` win over them."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, IPvAnyNetwork, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from apviso.protocol.timers import Timers
from apviso.protocol.webhooks import WebhookEvent

# How others write the same databases: as libpq and most hosts of databases do, and without the driver's name.
_DATABASES = {
    "sqlite:///": "sqlite+aiosqlite:///",
    "sqlite+aiosqlite:///": "sqlite+aiosqlite:///",
    "postgres://": "postgresql+asyncpg://",
    "postgresql://": "postgresql+asyncpg://",
    "postgresql+asyncpg://": "postgresql+asyncpg://",
}


def _known_database(url: str) -> str:
    """The URL with the driver's name, and with `sslmode` of libpq as the driver calls it. Raises ValueError."""
    if not url:
        return url
    written = next((start for start in _DATABASES if url.startswith(start)), None)
    if written is None:
        raise ValueError("use sqlite:///PATH or postgresql://USER@HOST/NAME")
    address, mark, words = url.partition("?")
    named = [f"ssl={word.removeprefix('sslmode=')}" if word.startswith("sslmode=") else word for word in words.split("&")]
    return _DATABASES[written] + address.removeprefix(written) + mark + "&".join(named)


# A registry's host, a name in it, and the digest: a tag could be moved to another image, a bare name means another one on each host.
_IMAGE = re.compile(
    r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)+|localhost|[a-z0-9.-]+(?=:))(?::[0-9]{1,5})?(?:/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}"
)


def _image_by_digest(image: str | None) -> str | None:
    if image and not _IMAGE.fullmatch(image):
        raise ValueError("name the image by registry and digest, such as registry.example/scan@sha256:... with 64 hexadecimal digits")
    return image or None


def name_server(text: str) -> tuple[str, int]:
    """Address and port of a name server. Raises ValueError."""
    parsed = urlsplit(f"//{text}")
    if parsed.netloc != text or parsed.username is not None:
        raise ValueError("write a name server as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353")
    return str(ip_address(parsed.hostname or "")), parsed.port or 53


def _name_servers(servers: list[str]) -> list[str]:
    for server in servers:
        name_server(server)
    return servers


def _public_address(text: str) -> str:
    parsed = urlsplit(text)
    is_whole = parsed.scheme in ("http", "https") and parsed.hostname
    if text and (not is_whole or parsed.path.strip("/") or parsed.query or parsed.fragment):
        raise ValueError("write the address as https://host or https://host:port, without a path")
    if parsed.username is not None:
        raise ValueError("leave user and password out of the address")
    return text.rstrip("/")


def _issuer(text: str) -> str:
    parsed = urlsplit(text)
    is_local = parsed.hostname in ("localhost", "127.0.0.1", "::1")
    if text and not (parsed.scheme == "https" or (parsed.scheme == "http" and is_local)):
        raise ValueError("name the provider by an https address")
    return text


def _sealing_key(key: SecretStr) -> SecretStr:
    try:
        Fernet(key.get_secret_value())
    except ValueError as error:
        raise ValueError(
            "make each key with: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
        ) from error
    return key


def _none_if_empty(told: object) -> object:
    return None if told == "" else told


def _readable(file: Path | None) -> Path | None:
    if file is not None and not file.is_file():
        raise ValueError("there is no such file")
    return file


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APVISO_", env_nested_delimiter="__", frozen=True, extra="ignore")

    data_dir: Path = Field(Path("apviso-data"), description="Folder of the embedded database and of kept files.")
    database_url: Annotated[str, AfterValidator(_known_database)] = Field(
        "", repr=False, description="Database to use instead of SQLite in the data folder."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8700, description="Port to listen on.")

    requests_per_minute: Annotated[int, Field(ge=1)] = Field(120, description="Requests a minute for each API key.")
    enrollments_per_minute: Annotated[int, Field(ge=1)] = Field(60, description="Enrollment attempts a minute for each client address.")
    sign_ins_per_minute: Annotated[int, Field(ge=1)] = Field(
        20, description="Tries a minute to sign in to the dashboard, for each user and for each client address."
    )
    pages_per_minute: Annotated[int, Field(ge=1)] = Field(600, description="Pages a minute of the dashboard for each session.")
    daemon_requests_per_minute: Annotated[int, Field(ge=1)] = Field(1200, description="Daemon requests a minute for each runner.")
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(1024**2, description="Largest request body.")
    max_events_body_bytes: Annotated[int, Field(ge=1024)] = Field(8 * 1024**2, description="Largest body of a batch of scan events.")
    max_head_bytes: Annotated[int, Field(ge=4096)] = Field(32 * 1024, description="Largest request line with all headers.")
    request_head_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        10.0, description="How long request line and headers may take to arrive; a new connection that says nothing is closed then, too."
    )
    request_body_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        60.0, description="How long a request body may take to arrive, from its first byte to its last."
    )
    answer_stalled_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        60.0, description="How long a client may take nothing of an answer that waits for it, a stream included, before it is cut off."
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        50_000, description="Connections at once, as far as open files allow; one beyond is closed. Each runner keeps two."
    )
    max_parked_requests: Annotated[int, Field(ge=1)] = Field(
        20_000, description="Long polls and streams held open at once; beyond it the answer is 503."
    )

    public_url: Annotated[str, AfterValidator(_public_address)] = Field(
        "",
        description="Address under which people reach the dashboard, such as `https://apviso.example`. With https, cookies are sent "
        "through TLS alone; links name it.",
    )
    session_lifetime: timedelta = Field(timedelta(days=7), description="How long somebody stays signed in at most.")
    session_idle: timedelta = Field(timedelta(hours=12), description="After how long without a page somebody has to sign in again.")

    oidc_issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        "", description="OpenID Connect provider with which people sign in, such as `https://id.example/realm`; none unless set."
    )
    oidc_client_id: str = Field("", description="Client id of this server at the provider.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="Client secret of this server at the provider.")
    oidc_name: str = Field("your organization's account", max_length=60, description="What the button to sign in calls the provider.")
    oidc_new_users: Literal["", "viewer", "operator", "admin"] = Field(
        "",
        description="Role of somebody whom the provider vouches for and nobody has let in yet; without it they are refused. Everybody with "
        "an account at the provider gets in with it.",
    )
    oidc_organization: str = Field("", description="Name of the organization of such users, where there are several.")

    license_issuer_keys: list[str] = Field(
        [], description="Ed25519 public keys (base64) whose license files are accepted, besides issuer.pub in the data folder."
    )
    scan_image: Annotated[str | None, AfterValidator(_image_by_digest)] = Field(
        None, description="Scan image that every job names, `registry/name@sha256:...`; without it each runner uses its own."
    )
    pdf_reports: bool = Field(True, description="Whether reports are also made as PDF, which needs the extra `pdf`.")
    minimum_runner_version: str | None = Field(None, description="Runners below this version may not claim scans.")
    minimum_runner_version_from: Annotated[AwareDatetime | None, BeforeValidator(_none_if_empty)] = Field(
        None,
        description="From when on they may not, such as `2026-09-01T00:00:00Z`; until then they are reported as deprecated, with this "
        "time. Without it, at once. A scan that runs is never ended for its runner's version.",
    )
    deprecated_runner_version: str | None = Field(None, description="Runners below this version are reported as deprecated.")
    housekeeping_interval_seconds: Annotated[float, Field(gt=0, le=60)] = Field(1.0, description="How often timed duties run.")
    presence_flush_seconds: Annotated[float, Field(ge=0, le=10)] = Field(
        1.0, description="How long a heartbeat that says nothing new may wait to be written; 0 writes each before it is answered."
    )
    heartbeats_per_second: Annotated[int, Field(ge=1)] = Field(
        2_000,
        description="Heartbeats a second that the runners of all organizations may send together. Up to fifteen times as many runners keep "
        "the usual interval of 15 s; with more of them the interval, and with it the limits after which a runner is late or offline, grow "
        "in proportion, at most to four times.",
    )
    dns_servers: Annotated[list[str], AfterValidator(_name_servers)] = Field(
        [],
        description='Name servers that are asked when control of a target is verified, such as `["192.0.2.53", "[2001:db8::53]:5353"]`; '
        "without it those of the host.",
    )
    verification_networks: list[IPv4Network | IPv6Network] = Field(
        [],
        description='Internal networks that may be asked for a proof of control all the same, such as `["10.20.0.0/16"]`: files and tags '
        "of targets are otherwise fetched from public addresses alone.",
    )
    verification_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = Field(
        10.0, description="How long a name server or a target may take to show its proof of control."
    )
    max_verifications_at_once: Annotated[int, Field(ge=1, le=100)] = Field(
        16, description="Requests that may wait for a look at a target at once; beyond it the answer is 503."
    )
    webhook_keys: list[Annotated[SecretStr, AfterValidator(_sealing_key)]] = Field(
        [],
        description="Keys that the secrets of webhooks are encrypted with; the first encrypts, each decrypts. Without one, `webhooks.key` "
        "in the data folder is made and used; several processes on one database need the same keys here.",
    )
    webhook_allowed_networks: list[IPvAnyNetwork] = Field(
        [],
        description='Internal networks to which webhooks may be sent, such as `["10.20.0.0/16"]`. Without one, only to public addresses.',
    )
    webhook_allow_http: bool = Field(False, description="Whether webhooks may be sent without TLS.")
    webhook_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = Field(
        15.0, description="How long the receiver of a webhook may take to answer."
    )
    custom_ca_path: Annotated[Path | None, AfterValidator(_readable)] = Field(
        None, description="Certificate authorities (PEM) trusted beside the system's, for the receivers of webhooks."
    )
    notify_urls: list[SecretStr] = Field(
        [], description="Services that the operator tells of every organization's events, as Apprise URLs; needs `apviso[notify]`."
    )
    notify_events: list[WebhookEvent | Literal["*"]] = Field(
        [], description="Which events those services are told; every one where none is named."
    )
    timers: Timers = Field(Timers(), description="Durations that decide states, e.g. APVISO_TIMERS__LEASE=PT120S.")

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir.resolve() / 'apviso.db'}"
