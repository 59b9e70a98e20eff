"""What installations are built on, which decides what can be done to them: a database, one server or two, an engine or processes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

import docker

from tests.containers.private_engine import EngineProcess
from tests.faults.memory import can_limit_memory
from tests.support.databases import Kind
from tests.support.postgres import PostgresServer

# A scan of the preset `free` asks ten times a second.
REQUESTS = 25


def can_mount() -> bool:
    return os.getuid() == 0 and shutil.which("mount") is not None


def can_move_clocks() -> bool:
    """There is a compiler to make what shows a process another time of day."""
    return shutil.which("cc") is not None


@dataclass(frozen=True)
class ScanEngine:
    """A container engine for the scans of both hosts. `image` holds the same program that runs as a process elsewhere."""

    process: EngineProcess
    client: docker.DockerClient
    image: str

    @property
    def settings(self) -> dict[str, object]:
        return {"engine": "docker", "engine_socket": str(self.process.socket_file), "scan_image": self.image}


@dataclass(frozen=True)
class Ground:
    """With its extras, disks are small and clocks can be moved; without an engine, scans are processes.

    With a replica, two servers share the database, and each request of a runner goes to either.
    """

    kind: Kind
    postgres: PostgresServer | None = None
    has_extras: bool = False
    engine: ScanEngine | None = None
    requests: int = REQUESTS
    has_replica: bool = False

    @property
    def name(self) -> str:
        return "replicas" if self.has_replica else self.kind

    @property
    def is_postgresql(self) -> bool:
        return self.kind == "postgresql"

    @property
    def has_small_disks(self) -> bool:
        return self.has_extras and can_mount()

    @property
    def has_small_database_disk(self) -> bool:
        return self.postgres.is_small if self.postgres is not None and self.is_postgresql else self.has_small_disks

    @property
    def has_clocks(self) -> bool:
        return self.has_extras and can_move_clocks()

    @property
    def has_processes(self) -> bool:
        return self.engine is None

    @property
    def has_groups(self) -> bool:
        return self.has_processes and can_limit_memory()
