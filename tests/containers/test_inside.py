"""What a scan may do, asked from inside its container."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from apviso.runner.engines import containers
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.scanning.order import IMAGE_GUARD_DIR, IMAGE_WORK_DIR
from tests.containers.private_engine import PrivateEngine
from tests.containers.running import engine_for, facts_of, said, start

pytestmark = pytest.mark.slow

LOOK_AROUND = """
import errno, json, os, resource, sys

order = json.loads(sys.stdin.readline())

def refused(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]

def first(*places):
    return next(open(place).read().strip() for place in places if os.path.exists(place))

status = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
mounts = {line.split()[1]: line.split()[3].split(",") for line in open("/proc/self/mounts")}
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), os.geteuid()],
    "groups": os.getgroups(),
    "capabilities": [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")],
    "noNewPrivileges": status["NoNewPrivs"],
    "seccomp": status["Seccomp"],
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "root": refused(lambda: open("/x", "w")),
    "guardFolder": refused(lambda: open("%s/x" % "GUARD", "w")),
    "work": mounts["WORK"],
    "tmp": mounts["/tmp"],
    "workMode": oct(os.stat("WORK").st_mode & 0o7777),
    "written": refused(lambda: open("WORK/x", "w").close()),
    "full": refused(lambda: open("%s/big" % "/tmp", "wb").write(b"x" * (300 * 1024 * 1024))),
    "memory": int(first("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")),
    "pids": int(first("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max")),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "environment": sorted(os.environ),
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "sockets": [place for place in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(place)],
    "places": [order["workDir"], order["proxySocket"]],
}))
""".replace("GUARD", IMAGE_GUARD_DIR).replace("WORK", IMAGE_WORK_DIR)


async def test_scan_has_nothing_but_what_the_flags_give_it(engine_here: PrivateEngine, tmp_path: Path) -> None:
    seen = await facts_of(engine_here, LOOK_AROUND, tmp_path)

    assert (seen["ids"], seen["groups"]) == ([containers.USER] * 3, [containers.USER])
    assert seen["capabilities"] == [0, 0, 0, 0, 0]
    assert (seen["noNewPrivileges"], seen["seccomp"]) == ("1", "2")
    assert seen["interfaces"] == ["lo"]
    assert (seen["root"], seen["guardFolder"], seen["full"]) == ("EROFS", "EROFS", "ENOSPC")
    assert {"noexec", "nosuid", "nodev", "rw"} <= set(seen["work"])
    assert {"noexec", "nosuid", "nodev", "rw"} <= set(seen["tmp"])
    assert (seen["workMode"], seen["written"]) == ("0o1777", None)
    assert (seen["memory"], seen["pids"]) == (containers.MEMORY_BYTES, containers.PROCESSES)
    assert (seen["files"], seen["core"]) == ([containers.OPEN_FILES] * 2, [0, 0])
    assert seen["processes"] == [1]
    assert seen["sockets"] == []
    assert seen["places"] == [IMAGE_WORK_DIR, f"{IMAGE_GUARD_DIR}/proxy.sock"]
    assert set(seen["environment"]) <= {"HOME", "HOSTNAME", "HTTPS_PROXY", "HTTP_PROXY", "LC_CTYPE", "NO_PROXY", "PATH", "TMPDIR"}


_REACH_OUT = """
import json, socket, sys

order = json.loads(sys.stdin.readline())

def tried(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "reached"

def dial(host, port):
    return lambda: socket.create_connection((host, port), 3).close()

def dial_guard():
    with socket.socket(socket.AF_UNIX) as guard:
        guard.settimeout(5)
        guard.connect(order["proxySocket"])
        guard.sendall(b"hello")
        guard.shutdown(socket.SHUT_WR)
        assert guard.recv(100) == b"HELLO"

print(json.dumps({
    "host": tried(dial("127.0.0.1", PORT)),
    "metadata": tried(dial("169.254.169.254", 80)),
    "neighbour": tried(dial("172.17.0.2", 80)),
    "engine": tried(dial("127.0.0.1", 2375)),
    "internet": tried(dial("192.0.2.1", 443)),
    "name": tried(lambda: socket.getaddrinfo("example.com", 80)),
    "packet": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    "guard": tried(dial_guard),
}))
"""


async def test_scan_reaches_the_guard_and_nothing_else(engine_here: PrivateEngine, tmp_path: Path) -> None:
    await check_reach(engine_here, tmp_path)


async def check_reach(here: PrivateEngine, work_dir: Path) -> None:
    """Everything but the guard is out of reach, a server on this host's loopback included."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as control_plane:
        program = _REACH_OUT.replace("PORT", str(control_plane.getsockname()[1]))
        async with await asyncio.start_server(shout, "127.0.0.1", 0) as guard:
            seen = await facts_of(here, program, work_dir, guard.sockets[0].getsockname()[1])

    assert seen.pop("guard") == "reached"
    assert "reached" not in seen.values(), seen
    assert len(seen) == 7


_REACH_NEIGHBOUR = """
import json, os, sys
sys.stdin.readline()
print(json.dumps({"processes": [name for name in os.listdir("/proc") if name.isdigit()], "shared": os.listdir("/dev/shm"),
    "guard": os.listdir("GUARD")}))
""".replace("GUARD", IMAGE_GUARD_DIR)


async def test_scan_sees_nothing_of_another_scan_on_the_same_host(engine_here: PrivateEngine, tmp_path: Path) -> None:
    leaving = "import sys\nopen('/dev/shm/trace', 'w').close()\nprint('there', flush=True)\nsys.stdin.read()"
    others = ContainerEngine("docker", engine_here.socket_file, engine_here.image_of(leaving), "another-installation")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    neighbour, lines = await start(others, tmp_path / "one")
    try:
        seen = await facts_of(engine_here, _REACH_NEIGHBOUR, tmp_path / "two")
    finally:
        await neighbour.stop(0)

    assert said(lines) == ["there"]
    assert seen == {"processes": ["1"], "shared": [], "guard": ["proxy.sock"]}


_UNCOMPILED = """
import json, os, sys
import apviso.scanning.scan
modules = {module.__spec__.cached for module in list(sys.modules.values()) if getattr(module, "__spec__", None) and module.__spec__.cached}
print(json.dumps({"modules": len(modules), "uncompiled": [place for place in modules if not os.path.exists(place)]}))
"""


async def test_nothing_need_be_compiled_when_a_scan_starts(engine_here: PrivateEngine, tmp_path: Path) -> None:
    seen = await facts_of(engine_here, _UNCOMPILED, tmp_path)

    assert seen["modules"] > 100
    assert seen["uncompiled"] == []


async def test_scans_container_carries_its_labels_and_no_secret(engine_here: PrivateEngine, tmp_path: Path) -> None:
    scan, _ = await start(engine_for(engine_here, "import sys\nsys.stdin.read()"), tmp_path)
    try:
        (container,) = engine_here.client.containers.list()
        told = json.dumps(container.attrs)
        labels = {name: value for name, value in container.labels.items() if name.startswith(containers.LABEL)}
    finally:
        await scan.stop(0)

    assert set(labels) == {containers.LABEL + name for name in ("installation", "runner", "job", "attempt")}
    assert labels[containers.LABEL + "runner"] == "runner-1"
    assert container.attrs["HostConfig"]["LogConfig"]["Type"] == "none"
    assert "apvr_" not in told
    assert "apvj_" not in told
