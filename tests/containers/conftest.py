"""A real Docker Engine for each test process that needs one, with the scan image in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from apviso.runner.engines.container_engine import ContainerEngine
from apviso.scanning import environment
from tests.containers.private_engine import PrivateEngine, build_scan_image, engine_process, missing_parts
from tests.containers.private_registry import PrivateRegistry, registry_process
from tests.containers.private_registry import missing_parts as registry_lacks
from tests.containers.running import INSTALLATION


@pytest.fixture(scope="session")
def scanners_dir() -> Path:
    folder = environment.default_dir()
    problem = environment.status(folder).problem
    assert problem is None, problem
    return folder


@pytest.fixture(scope="session")
def engine_here(scanners_dir: Path) -> Iterator[PrivateEngine]:
    lacking = missing_parts()
    if lacking and "CI" not in os.environ:
        pytest.skip(f"no Docker Engine can be started here; missing: {', '.join(lacking)}")
    assert not lacking, f"CI must start a Docker Engine, and lacks {', '.join(lacking)}"
    with engine_process() as (socket_file, pid), closing(docker.DockerClient(f"unix://{socket_file}", timeout=120)) as client:
        yield PrivateEngine(socket_file, client, build_scan_image(socket_file, scanners_dir), pid)


@pytest.fixture
def scan_engine(engine_here: PrivateEngine) -> Iterator[ContainerEngine]:
    """The runner's own engine upon it; nothing of the test is left in it afterwards."""
    yield ContainerEngine("docker", engine_here.socket_file, engine_here.image, INSTALLATION)
    for container in engine_here.client.containers.list(all=True):
        container.remove(force=True)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRegistry]:
    """A registry of one's own, and cosign to sign what is in it."""
    lacking = registry_lacks()
    if lacking and "CI" not in os.environ:
        pytest.skip(f"no signed image can be made here; missing: {', '.join(lacking)}")
    assert not lacking, f"CI must sign images, and lacks {', '.join(lacking)}"
    with registry_process(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="session")
def node() -> str:
    """The interpreter of the example in JavaScript."""
    found = shutil.which("node")
    if found is None and "CI" not in os.environ:
        pytest.skip("the example in JavaScript needs Node")
    assert found is not None, "CI must run the example in JavaScript, and lacks Node"
    return found
