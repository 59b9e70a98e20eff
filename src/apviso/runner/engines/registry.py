"""Reads small things from an image registry: manifests and blobs, bounded and checked against their digests. Fetches no image."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

import docker.auth
import httpx2
from docker.errors import DockerException
from pydantic import BaseModel, Field, ValidationError

from apviso.protocol.states import EndReason
from apviso.runner.connection import BadProxy, open_client
from apviso.runner.engines import EngineFailed
from apviso.runner.engines.images import registry_of
from apviso.runner.trust import BadAuthority

CALL_SECONDS = 30.0
MAX_BYTES = 1024 * 1024
_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class _TokenAnswer(BaseModel):
    """What a registry's service for tokens says; it may use either name."""

    token: str = Field("", repr=False)
    access_token: str = Field("", repr=False)


class Registry:
    """The part of a registry that holds one repository. Credentials are those of the engine's own login on this host."""

    def __init__(self, repository: str, custom_ca: Path | None) -> None:
        self._host, self._name = registry_of(repository)
        self._custom_ca = custom_ca
        self._scheme = "http" if _is_loopback(self._host) else "https"

    async def find_manifest(self, tag: str) -> bytes | None:
        return await self._find(f"manifests/{tag}", _MANIFESTS)

    async def find_blob(self, digest: str) -> bytes | None:
        """None also where the content is not what the digest names."""
        found = await self._find(f"blobs/{digest}", "*/*")
        return found if found is not None and f"sha256:{hashlib.sha256(found).hexdigest()}" == digest else None

    async def _find(self, place: str, accept: str) -> bytes | None:
        url, headers = f"{self._scheme}://{self._host}/v2/{self._name}/{place}", {"Accept": accept, "Accept-Encoding": "identity"}
        try:
            async with asyncio.timeout(CALL_SECONDS), open_client(self._custom_ca) as client:
                answer = await _get(client, url, headers)
                if answer.status_code == httpx2.codes.UNAUTHORIZED:
                    permit = await self._permit(client, answer.headers.get("www-authenticate", ""))
                    answer = await _get(client, url, {**headers, "Authorization": permit})
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, BadAuthority, BadProxy) as error:
            raise _unavailable(self._host, str(error) or type(error).__name__) from error
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx2.codes.OK:
            raise _unavailable(self._host, f"it answers {answer.status_code}")
        return answer.content

    async def _permit(self, client: httpx2.AsyncClient, challenge: str) -> str:
        """What the registry asks for: the login itself, or a token that its own service gives for it."""
        login = await asyncio.to_thread(_login_for, self._host)
        if not challenge.lower().startswith("bearer"):
            if login is None:
                raise _unavailable(self._host, "it asks for a login; log the engine in to it")
            return "Basic " + base64.b64encode(":".join(login).encode()).decode()
        asked = dict(_CHALLENGE.findall(challenge))
        realm = asked.pop("realm", "")
        if urlsplit(realm).scheme != self._scheme:
            raise _unavailable(self._host, "it names no service for tokens that could be asked")
        async with client.stream("GET", realm, params=asked, auth=login) as answer:
            told = await _bounded(answer)
        return f"Bearer {_token_in(told)}" if answer.status_code == httpx2.codes.OK else "Bearer"


async def _get(client: httpx2.AsyncClient, url: str, headers: dict[str, str]) -> httpx2.Response:
    """Redirects are followed without the login: registries keep blobs elsewhere."""
    async with client.stream("GET", url, headers=headers, follow_redirects=True) as answer:
        content = await _bounded(answer)
    return httpx2.Response(answer.status_code, headers=answer.headers, content=content)


async def _bounded(answer: httpx2.Response) -> bytes:
    content = b""
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise httpx2.TransportError("the registry's answer is too large")
    return content


def _token_in(answer: bytes) -> str:
    try:
        told = _TokenAnswer.model_validate_json(answer)
    except ValidationError as error:
        raise httpx2.TransportError("the registry's service for tokens gives none") from error
    return told.token or told.access_token


def _login_for(host: str) -> tuple[str, str] | None:
    try:
        found = docker.auth.load_config().resolve_authconfig(host) or {}
    except DockerException:
        return None
    name, password = found.get("username"), found.get("password")
    return (str(name), str(password)) if name and password else None


def _is_loopback(host: str) -> bool:
    """Engines speak plain HTTP to a registry on the same host, and to no other."""
    name = host.rpartition(":")[0] or host
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _unavailable(host: str, why: str) -> EngineFailed:
    return EngineFailed(f"The registry {host} cannot be asked for the scan image's signature: {why}", EndReason.IMAGE_UNAVAILABLE)
