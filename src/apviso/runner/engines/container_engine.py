"""Scans in containers, through the Docker Engine API, which Podman speaks too. Touches no container that is not its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import JsonValue

from apviso.protocol.daemon import ScanImage
from apviso.protocol.states import EndReason
from apviso.runner.engines import EngineFailed, Line, Prepared, ScanLabels
from apviso.runner.engines.api import EngineFacts, EngineSocket
from apviso.runner.engines.attached import ContainerScan
from apviso.runner.engines.containers import HARDENING, INSTALLATION, container_name, create_body, order_inside
from apviso.runner.engines.images import ImageRef, parse_image
from apviso.runner.engines.lines import MAX_TOTAL_BYTES
from apviso.runner.engines.registry import Registry
from apviso.runner.engines.signatures import Trust
from apviso.runner.providers import IMAGE_LABEL, needed_providers
from apviso.scanning import relay
from apviso.scanning.order import GUARD_SOCKET, IMAGE_SCANNERS_DIR, ScanOrder

PREPARE_SECONDS = 600.0
DEFAULT_TRUST = Trust()


_LIMITS = {
    "docker": (),
    "podman": ("Podman does not tell when memory ran out: such a scan ends as one whose scanner failed.",),
}


class ContainerEngine:
    """`image` is the scan image of this runner's own settings; a job may name another one. `most_bytes` bounds a scan's output."""

    def __init__(
        self,
        name: Literal["docker", "podman"],
        socket_file: Path,
        image: str | None,
        installation: str,
        trust: Trust = DEFAULT_TRUST,
        custom_ca: Path | None = None,
        most_bytes: int = MAX_TOTAL_BYTES,
    ) -> None:
        self._most_bytes = most_bytes
        self._trust = trust
        self._custom_ca = custom_ca
        self._trusted: set[ImageRef] = set()
        self.name = name
        self._socket = EngineSocket(socket_file)
        self._image = image
        self._installation = installation
        self._facts: EngineFacts | None = None
        self._is_clean = False
        # Containers that the engine was not there to remove.
        self._owed: set[str] = set()
        self._sweeping = asyncio.Lock()

    def describe(self) -> Mapping[str, JsonValue]:
        facts = self._facts
        return {
            "name": self.name,
            "isolation": "container",
            "version": facts.version if facts else None,
            "rootless": facts.is_rootless if facts else None,
            "cgroupVersion": facts.cgroup_version if facts else None,
            "hardening": [*HARDENING, *(facts.security if facts else ())],
            "image": self._image,
            "imagePolicy": self._trust.policy,
            "limits": list(_LIMITS[self.name]),
        }

    async def problem(self) -> str | None:
        try:
            if self._image is not None:
                parse_image(self._image)
            self._facts = await self._socket.facts()
            await self._remove_owed()
        except EngineFailed as error:
            return str(error)
        return None

    async def prepare(self, image: ScanImage | None) -> Prepared:
        wanted = self._wanted(image)
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                found = await self._have(wanted)
                return Prepared(found, wanted.digest, needed_providers(await self._socket.label_of(found, IMAGE_LABEL)))
        except TimeoutError as error:
            message = f"The scan image {wanted} was not at hand within {PREPARE_SECONDS:.0f} s."
            raise EngineFailed(message, EndReason.PREPARE_TIMEOUT) from error

    def _wanted(self, image: ScanImage | None) -> ImageRef:
        if image is not None:
            return parse_image(f"{image.ref.partition('@')[0]}@{image.digest}")
        if self._image is None:
            raise EngineFailed("No scan image is set; name one as scan_image in runner.toml.", EndReason.IMAGE_UNAVAILABLE)
        return parse_image(self._image)

    async def _have(self, wanted: ImageRef) -> str:
        if not wanted.is_local and wanted not in self._trusted:
            await self._trust.check(wanted, Registry(wanted.repository, self._custom_ca))
            self._trusted.add(wanted)
        found = await self._socket.find_image(wanted)
        if found is None and wanted.is_local:
            raise EngineFailed(f"The engine has no image {wanted}; build it, or name one of a registry.", EndReason.IMAGE_UNAVAILABLE)
        if found is None:
            await self._socket.pull(wanted)
            found = await self._socket.find_image(wanted)
        if found is None:
            raise EngineFailed(f"What the registry sent is not {wanted}.", EndReason.IMAGE_REFUSED)
        return found

    async def start(
        self, prepared: Prepared, order: ScanOrder, labels: ScanLabels, work_dir: Path, take: Callable[[Line], None]
    ) -> ContainerScan:
        inside = order_inside(order, GUARD_SOCKET, IMAGE_SCANNERS_DIR)
        line = inside.model_dump_json(by_alias=True).encode() + b"\n"
        return await self.start_with(prepared, line, urlsplit(order.proxy_url).port or 0, labels, work_dir, take)

    async def start_with(
        self, prepared: Prepared, line: bytes, guard_port: int, labels: ScanLabels, work_dir: Path, take: Callable[[Line], None]
    ) -> ContainerScan:
        """Start what was prepared and give it `line` for its order, whatever that is. Raises EngineFailed.

        The guard's socket lies in a folder of its own, which is all that the container sees of this host.
        """
        if prepared.image is None:
            raise EngineFailed("The scan image was not prepared.", EndReason.INTERNAL_ERROR)
        await self._sweep_once()
        guard_dir = work_dir / "guard"
        guard_dir.mkdir(mode=0o755, exist_ok=True)
        async with AsyncExitStack() as undo:
            await undo.enter_async_context(relay.from_socket(guard_dir / GUARD_SOCKET, guard_port))
            body = create_body(prepared.image, labels, self._installation, guard_dir)
            container = await self._socket.create(container_name(labels), body)
            undo.push_async_callback(self._remove, container)
            stream = await self._socket.attach(container)
            undo.callback(stream.close)
            scan = ContainerScan(self._socket, container, stream, take, self._most_bytes)
            undo.push_async_callback(scan.unlisten)
            await self._socket.start(container)
            await scan.give(line)
            scan.undo = undo.pop_all()
        return scan

    async def _remove(self, container: str) -> None:
        try:
            await self._socket.remove(container)
        except EngineFailed:
            # An engine that is gone keeps it until it is back, or until the next start of this runner finds it by its label.
            self._owed.add(container)

    async def _remove_owed(self) -> None:
        with contextlib.suppress(EngineFailed):
            for container in list(self._owed):
                await self._socket.remove(container)
                self._owed.discard(container)

    async def _sweep_once(self) -> None:
        async with self._sweeping:
            if not self._is_clean:
                await self.end_leftovers()

    async def end_leftovers(self) -> list[str]:
        ended = []
        for container, name in await self._socket.list_labelled(f"{INSTALLATION}={self._installation}"):
            await self._socket.remove(container)
            ended.append(name)
        self._is_clean = True
        return ended
