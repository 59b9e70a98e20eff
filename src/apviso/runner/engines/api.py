"""The calls to an engine's socket that the runner needs, each with a time-out and a named refusal. The only place that knows the SDK."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from pydantic import JsonValue

from apviso.protocol.states import EndReason
from apviso.runner.engines import EngineFailed
from apviso.runner.engines.images import ImageRef

CALL_SECONDS = 30
# The heartbeat asks this; it must not wait long for an engine that hangs.
FACTS_SECONDS = 5
# Between two signs of life of a registry.
PULL_SILENCE_SECONDS = 120
_PULL_SECONDS = 900

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class EngineFacts:
    version: str
    is_rootless: bool
    cgroup_version: str
    security: tuple[str, ...]


@dataclass(frozen=True)
class ContainerState:
    is_running: bool
    exit_code: int
    out_of_memory: bool


class EngineSocket:
    """Each call connects anew and raises EngineFailed where it cannot be answered: an engine may be restarted at any time."""

    def __init__(self, socket_file: Path) -> None:
        self._socket_file = socket_file

    async def facts(self) -> EngineFacts:
        told = await self._call(lambda api: api.info(), FACTS_SECONDS)
        options = [str(option) for option in told.get("SecurityOptions") or []]
        return EngineFacts(
            version=str(told.get("ServerVersion", "unknown"))[:64],
            is_rootless=any("rootless" in option for option in options),
            cgroup_version=str(told.get("CgroupVersion", "unknown"))[:16],
            security=tuple(option.removeprefix("name=").partition(",")[0][:64] for option in options[:10]),
        )

    async def find_image(self, wanted: ImageRef) -> str | None:
        """The image's id in the engine, if it has this very image: a digest names its content."""

        def look(api: docker.APIClient) -> str | None:
            try:
                told = api.inspect_image(wanted.digest.removeprefix("sha256:") if wanted.is_local else str(wanted))
            except ImageNotFound:
                return None
            made = _id_of(told)
            digests = {made} if wanted.is_local else {name.rpartition("@")[2] for name in told.get("RepoDigests") or []}
            return made if wanted.digest in digests else None

        return await self._call(look)

    async def find_named(self, name: str) -> str | None:
        """The id of the image that the engine has under any name, a tag too: for people at their own engine, never for a job."""

        def look(api: docker.APIClient) -> str | None:
            try:
                # Podman knows no image by an id with the name of its kind.
                return _id_of(api.inspect_image(name.removeprefix("sha256:")))
            except ImageNotFound:
                return None

        return await self._call(look)

    async def label_of(self, image: str, name: str) -> str | None:
        """A label of an image that the engine has; None where it does not carry it."""
        told = await self._call(lambda api: api.inspect_image(image.removeprefix("sha256:")))
        value = ((told.get("Config") or {}).get("Labels") or {}).get(name)
        return str(value) if value is not None else None

    async def pull(self, wanted: ImageRef) -> None:
        """Fetch by digest. The engine checks what it gets against it, and so do we afterwards."""

        def fetch(api: docker.APIClient) -> None:
            deadline = time.monotonic() + _PULL_SECONDS
            for step in api.pull(wanted.repository, tag=wanted.digest, stream=True, decode=True):
                if "error" in step:
                    raise _of_pull(str(step["error"]), wanted)
                if time.monotonic() > deadline:
                    raise EngineFailed(f"The scan image {wanted} took too long to fetch.", EndReason.PREPARE_TIMEOUT)

        try:
            await self._call(fetch, PULL_SILENCE_SECONDS)
        except EngineFailed as error:
            raise (error if error.reason is not EndReason.ENGINE_UNAVAILABLE else _of_pull(str(error), wanted)) from error

    async def create(self, name: str, body: dict[str, JsonValue]) -> str:
        return await self._call(lambda api: str(api.create_container_from_config(body, name)["Id"]))

    async def attach(self, container: str) -> socket.socket:
        """Standard input, output and error of a container that has not started, as one stream of frames."""

        def connect(api: docker.APIClient) -> socket.socket:
            wrapped = api.attach_socket(container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            raw = wrapped._sock if hasattr(wrapped, "_sock") else wrapped
            # A copy of our own: the SDK closes its own when it forgets the answer.
            ours: socket.socket = raw.dup()
            ours.setblocking(False)
            return ours

        return await self._call(connect)

    async def start(self, container: str) -> None:
        await self._call(lambda api: api.start(container))

    async def stop(self, container: str, grace_seconds: float) -> None:
        """SIGTERM, after the grace SIGKILL. One that has ended already is no failure."""
        await self._call(lambda api: api.stop(container, timeout=round(grace_seconds)), CALL_SECONDS + grace_seconds)

    async def state(self, container: str) -> ContainerState:
        told = (await self._call(lambda api: api.inspect_container(container)))["State"]
        return ContainerState(bool(told["Running"]), int(told["ExitCode"]), bool(told.get("OOMKilled")))

    async def remove(self, container: str) -> None:
        """With force, so that it also ends; one that is gone already is no failure."""

        def remove(api: docker.APIClient) -> None:
            with contextlib.suppress(NotFound):
                api.remove_container(container, force=True, v=True)

        await self._call(remove)

    async def list_labelled(self, label: str) -> list[tuple[str, str]]:
        """Ids and names of all containers with this label, running or not."""
        found = await self._call(lambda api: api.containers(all=True, filters={"label": label}))
        return [(str(one["Id"]), str((one.get("Names") or ["?"])[0]).lstrip("/")) for one in found]

    def kill_now(self, container: str, seconds: float) -> None:
        """Without the event loop, for a process that is about to end; whether it was heard is not known."""
        with contextlib.suppress(EngineFailed):
            self._in_thread(lambda api: api.kill(container), seconds)

    async def _call(self, ask: Callable[[Any], Answer], seconds: float = CALL_SECONDS) -> Answer:
        return await asyncio.to_thread(self._in_thread, ask, seconds)

    def _in_thread(self, ask: Callable[[Any], Answer], seconds: float) -> Answer:
        try:
            with contextlib.closing(docker.APIClient(f"unix://{self._socket_file}", version="auto", timeout=seconds)) as api:
                return ask(api)
        except APIError as error:
            raise _refused(error) from error
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise EngineFailed(f"The engine at {self._socket_file} does not answer: {_plain(error)}") from error


def _id_of(told: dict[str, Any]) -> str:
    # Podman writes an id without the name of its kind.
    return f"sha256:{str(told['Id']).removeprefix('sha256:')}"


def _refused(error: APIError) -> EngineFailed:
    said = str(error.explanation or error)[:500]
    return EngineFailed(f"The engine refused: {said}", _reason_of(said))


def _reason_of(said: str) -> EndReason:
    return EndReason.DISK_FULL if "no space left on device" in said else EndReason.ENGINE_UNAVAILABLE


def _of_pull(said: str, wanted: ImageRef) -> EngineFailed:
    if _reason_of(said) is EndReason.DISK_FULL:
        return EngineFailed(f"There is no room for the scan image {wanted}.", EndReason.DISK_FULL)
    is_other = "verification failed" in said or "does not match" in said or "did not match" in said
    reason = EndReason.IMAGE_REFUSED if is_other else EndReason.IMAGE_UNAVAILABLE
    return EngineFailed(f"The scan image {wanted} cannot be fetched: {said}"[:1000], reason)


def _plain(error: Exception) -> str:
    """The cause without the layers of exceptions around it."""
    inner: BaseException = error
    while inner.__context__ is not None and not isinstance(inner, OSError):
        inner = inner.__context__
    return (inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner))[:300]
