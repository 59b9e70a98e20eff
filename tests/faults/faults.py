"""What can go wrong, one fault a function: it strikes, lasts as long as the body runs, and is mended afterwards."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.end_to_end.installation import wait_for
from tests.faults.ground import Ground
from tests.faults.memory import exhausted, no_more
from tests.faults.proxy import Trouble
from tests.faults.stage import PATIENCE_SECONDS, TIMERS, RunnerHost, Stage, move_clock, signal_each

HOUR_SECONDS = 3600
# What has run out of memory may still answer, and end after that.
SETTLING_SECONDS = 2.0
# Older than any attempt without a control plane.
OLD_BACKUP = TIMERS["STALE_END_AFTER"] + 2.0


@dataclass
class Scene:
    """Where it happens. `victim` is the runner that has the first of `scans`; a fault may put other scans in their place."""

    stage: Stage
    victim: RunnerHost
    scans: list[str]
    random: random.Random
    has_new_identity: bool = False


Strike = Callable[[Scene], AbstractContextManager[None]]


def _always(_: Ground) -> bool:
    return True


@dataclass(frozen=True)
class Fault:
    """`holds`: seconds that it may last. `endings`: how a scan may end that it happened to. `fits`: whether it can be had there.

    `backup_age`: how old the backup of the database has to be before its scans start.
    """

    name: str
    strike: Strike
    holds: tuple[float, float] = (0.5, 6.0)
    endings: frozenset[str] = field(default=frozenset({"completed"}))
    fits: Callable[[Ground], bool] = _always
    backup_age: float = 0


# ---- the wire


def on_the_wire(trouble: Trouble, share: float = 1.0) -> Strike:
    def strike(scene: Scene) -> AbstractContextManager[None]:
        return scene.victim.wire.troubled(trouble, share)

    return strike


# ---- the control plane


@contextmanager
def server_killed(scene: Scene) -> Iterator[None]:
    scene.stage.server.signal(signal.SIGKILL)
    scene.stage.server.wait()
    yield
    scene.stage.restart_server()


@contextmanager
def server_stopped(scene: Scene) -> Iterator[None]:
    scene.stage.server.signal(signal.SIGTERM)
    scene.stage.server.wait()
    yield
    scene.stage.restart_server()


@contextmanager
def server_suspended(scene: Scene) -> Iterator[None]:
    scene.stage.server.signal(signal.SIGSTOP)
    yield
    scene.stage.server.signal(signal.SIGCONT)


@contextmanager
def backup_restored(scene: Scene) -> Iterator[None]:
    """The control plane comes back with the memory of long ago, and somebody asks for the same targets at once.

    What runs is still at it then, unless it is stopped.
    """
    stage = scene.stage
    for scan_id in scene.scans:
        stage.scans[scan_id].slowed.add(scan_id)
    stage.server.signal(signal.SIGKILL)
    stage.server.wait()
    yield
    stage.restore_backup()
    stage.restart_server()
    scene.scans[:] = stage.start_scans()


# ---- the database


def database_restarted(how: signal.Signals) -> Strike:
    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        assert scene.stage.database is not None
        scene.stage.database.stop(how)
        yield
        scene.stage.database.start()

    return strike


def database_locked(scene: Scene) -> AbstractContextManager[None]:
    return scene.stage.locked_database()


# ---- the runner's host


@contextmanager
def runner_killed(scene: Scene) -> Iterator[None]:
    """The process alone; what it has started has to notice."""
    scene.victim.process.popen.kill()
    scene.victim.process.wait()
    yield
    scene.victim.start()


@contextmanager
def power_lost(scene: Scene) -> Iterator[None]:
    signal_each(scene.victim.family(), signal.SIGKILL)
    scene.victim.process.wait()
    yield
    scene.victim.start()


@contextmanager
def runner_stopped(scene: Scene) -> Iterator[None]:
    scene.victim.process.popen.terminate()
    scene.victim.process.wait()
    yield
    scene.victim.start()


@contextmanager
def lid_closed(scene: Scene) -> Iterator[None]:
    """Nothing of the host runs, and its clocks go on, as on a laptop that sleeps."""
    asleep = scene.victim.family()
    signal_each(asleep, signal.SIGSTOP)
    # Children that were born meanwhile.
    late = scene.victim.family()
    signal_each(late, signal.SIGSTOP)
    yield
    signal_each([*reversed(late), *reversed(asleep)], signal.SIGCONT)


def child_killed(word: str) -> Strike:
    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        signal_each(scene.victim.children(word), signal.SIGKILL)
        yield

    return strike


@contextmanager
def scan_out_of_memory(scene: Scene) -> Iterator[None]:
    """The kernel ends the scan, which has taken more than there is."""
    with exhausted(scene.victim.children("scan_program.py")):
        yield


@contextmanager
def host_out_of_memory(scene: Scene) -> Iterator[None]:
    """The kernel ends whatever is largest of runner, guard and scan; whoever looks after services starts the runner again."""
    with exhausted(scene.victim.family()):
        yield
    _start_again(scene.victim)


@contextmanager
def runner_refused_memory(scene: Scene) -> Iterator[None]:
    """Nothing of the host is given any more memory; a runner that cannot go on ends, and is started again."""
    with no_more(scene.victim.family()):
        yield
    _start_again(scene.victim)


def _start_again(host: RunnerHost) -> None:
    """If it ends, as a service manager would; on a slow machine that may take a while. One that has called since then goes on."""
    since = time.monotonic() + SETTLING_SECONDS

    def has_ended_or_called() -> bool:
        is_heard = any(one.at > since and one.status == 200 for one in host.wire.exchanges[-20:])
        return host.process.popen.poll() is not None or is_heard

    wait_for(has_ended_or_called, PATIENCE_SECONDS, f"{host.name} ends or goes on")
    if host.process.popen.poll() is not None:
        host.start()


@contextmanager
def engine_restarted(scene: Scene) -> Iterator[None]:
    """The engine of both hosts, and with it all their scans."""
    assert scene.stage.engine is not None
    scene.stage.engine.process.stop()
    yield
    scene.stage.engine.process.start()


# ---- people


@contextmanager
def scan_cancelled(scene: Scene) -> Iterator[None]:
    scene.stage.installation.call("POST", f"/scans/{scene.scans[0]}/cancel")
    yield


@contextmanager
def runner_revoked(scene: Scene) -> Iterator[None]:
    """Its process ends by itself; later the host gets a new identity."""
    host = scene.victim
    token = host.token
    scene.stage.installation.call("DELETE", f"/runners/{host.runner_id}")
    host.revoked[token] = time.monotonic()
    yield
    assert host.process.wait(PATIENCE_SECONDS) == 78, "a revoked runner ends with 78"
    host.enroll(on_small_disk=scene.stage.has_small_disks)
    host.start()
    scene.has_new_identity = True


@contextmanager
def token_rotated(scene: Scene) -> Iterator[None]:
    """The first answers to its rotation are lost; the old token is worth nothing once the new one was used."""
    host = scene.victim
    old = host.token
    scene.stage.installation.call("POST", f"/runners/{host.runner_id}/rotate-token")
    with host.wire.troubled(Trouble.LOSE_ANSWER, 0.5):
        yield

    def is_used() -> bool:
        return host.token != old and any(one.token == host.token and one.status == 200 for one in list(host.wire.exchanges))

    wait_for(is_used, PATIENCE_SECONDS, f"{host.name} uses a new token")
    host.revoked[old] = time.monotonic()
    scene.has_new_identity = True


# ---- disks


@contextmanager
def full(folder: Path) -> Iterator[None]:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 65536) == 65536:
            pass
        while file.write(b"\0"):
            pass
    yield
    filler.unlink()


def runner_disk_full(scene: Scene) -> AbstractContextManager[None]:
    return full(scene.victim.workspace)


def server_disk_full(scene: Scene) -> AbstractContextManager[None]:
    return full(scene.stage.folder / "data")


@contextmanager
def database_disk_full(scene: Scene) -> Iterator[None]:
    """No table can grow, or PostgreSQL itself ends for want of a log; whoever looks after services starts it again until it answers."""
    database, loses_log = scene.stage.database, scene.random.random() < 0.5
    assert database is not None
    with full(database.folder):
        if loses_log:
            database.use_up_log()
        yield
    database.revive()


# ---- one of two servers


@contextmanager
def replica_killed(scene: Scene) -> Iterator[None]:
    """One of two servers, and it comes back."""
    which = scene.random.randrange(2)
    server = scene.stage.servers[which]
    server.signal(signal.SIGKILL)
    server.wait()
    yield
    scene.stage.start_server(which)


@contextmanager
def replica_frozen(scene: Scene) -> Iterator[None]:
    """One of two servers stands still in the middle of whatever it does, and then goes on with it."""
    server = scene.stage.servers[scene.random.randrange(2)]
    server.signal(signal.SIGSTOP)
    yield
    server.signal(signal.SIGCONT)


@contextmanager
def replicas_killed_in_turn(scene: Scene) -> Iterator[None]:
    """As where a new version is brought out in a hurry: the second goes as soon as the first is back."""
    for which in range(2):
        scene.stage.servers[which].signal(signal.SIGKILL)
        scene.stage.servers[which].wait()
        scene.stage.start_server(which)
    yield


# ---- clocks


def runner_clock_moved(seconds: int) -> Strike:
    return _clock_moved(lambda scene: scene.victim.clock, seconds)


def server_clock_moved(seconds: int) -> Strike:
    return _clock_moved(lambda scene: scene.stage.clock, seconds)


def _clock_moved(file: Callable[[Scene], Path], seconds: int) -> Strike:
    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        move_clock(file(scene), seconds)
        yield
        move_clock(file(scene), 0)

    return strike


# ---- two at a time


@contextmanager
def cut_off_and_clock_moved(scene: Scene) -> Iterator[None]:
    """The runner goes on by itself for a while, and the control plane's clock says that it has long been silent."""
    with scene.victim.wire.troubled(Trouble.BLACK_HOLE), server_clock_moved(HOUR_SECONDS)(scene):
        yield


@contextmanager
def cut_off_and_restored(scene: Scene) -> Iterator[None]:
    """The runner goes on by itself with a scan of which the control plane knows nothing any more."""
    with scene.victim.wire.troubled(Trouble.BLACK_HOLE):
        with backup_restored(scene):
            pass
        yield


# ---- all of them


ENDED_EARLY = frozenset({"completed", "failed"})
FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("wire_delay", on_the_wire(Trouble.DELAY)),
        Fault("wire_cut", on_the_wire(Trouble.CUT, 0.7)),
        Fault("wire_half_close", on_the_wire(Trouble.HALF_CLOSE, 0.7)),
        Fault("wire_duplicate", on_the_wire(Trouble.DUPLICATE)),
        Fault("wire_lose_answer", on_the_wire(Trouble.LOSE_ANSWER, 0.7)),
        Fault("wire_black_hole", on_the_wire(Trouble.BLACK_HOLE), (1, 16)),
        Fault("wire_html_page", on_the_wire(Trouble.HTML_PAGE), (1, 10)),
        Fault("wire_proxy_login", on_the_wire(Trouble.PROXY_LOGIN), (1, 10)),
        Fault("wire_foreign_tls", on_the_wire(Trouble.FOREIGN_TLS), (1, 10)),
        Fault("server_killed", server_killed),
        Fault("server_stopped", server_stopped),
        Fault("server_suspended", server_suspended),
        Fault("backup_restored", backup_restored, (0.2, 3), backup_age=OLD_BACKUP),
        Fault("database_shut_down", database_restarted(signal.SIGINT), fits=lambda ground: ground.is_postgresql),
        Fault("database_crashed", database_restarted(signal.SIGQUIT), fits=lambda ground: ground.is_postgresql),
        Fault("database_locked", database_locked, fits=lambda ground: not ground.is_postgresql),
        Fault("runner_killed", runner_killed),
        Fault("power_lost", power_lost),
        Fault("runner_stopped", runner_stopped),
        Fault("lid_closed", lid_closed, (0.5, 20)),
        Fault("scan_killed", child_killed("scan_program.py"), (0, 1), ENDED_EARLY, fits=lambda ground: ground.has_processes),
        Fault("scan_out_of_memory", scan_out_of_memory, (0, 1), ENDED_EARLY, fits=lambda ground: ground.has_groups),
        Fault("host_out_of_memory", host_out_of_memory, (0, 3), ENDED_EARLY, fits=lambda ground: ground.has_groups),
        Fault("runner_refused_memory", runner_refused_memory, (1, 6), ENDED_EARLY, fits=lambda ground: ground.has_processes),
        Fault("engine_restarted", engine_restarted, fits=lambda ground: not ground.has_processes),
        # Before the first request nothing was looked at, and the scan has failed; later it is incomplete.
        Fault("guard_killed", child_killed("guard_proxy.py"), (0, 1), ENDED_EARLY),
        Fault("scan_cancelled", scan_cancelled, (0, 1), frozenset({"completed", "cancelled"})),
        Fault("runner_revoked", runner_revoked, (0.5, 3)),
        Fault("token_rotated", token_rotated, (2, 6)),
        Fault("runner_disk_full", runner_disk_full, fits=lambda ground: ground.has_small_disks),
        Fault("server_disk_full", server_disk_full, fits=lambda ground: not ground.is_postgresql and ground.has_small_disks),
        Fault(
            "database_disk_full", database_disk_full, (0.5, 4), fits=lambda ground: ground.is_postgresql and ground.has_small_database_disk
        ),
        Fault("replica_killed", replica_killed, fits=lambda ground: ground.has_replica),
        Fault("replica_frozen", replica_frozen, (0.5, 10), fits=lambda ground: ground.has_replica),
        Fault("replicas_killed_in_turn", replicas_killed_in_turn, (0, 1), fits=lambda ground: ground.has_replica),
        Fault("runner_clock_forward", runner_clock_moved(HOUR_SECONDS), fits=lambda ground: ground.has_clocks),
        Fault("runner_clock_back", runner_clock_moved(-HOUR_SECONDS), fits=lambda ground: ground.has_clocks),
        Fault("server_clock_forward", server_clock_moved(HOUR_SECONDS), fits=lambda ground: ground.has_clocks),
        Fault("cut_off_and_clock_moved", cut_off_and_clock_moved, (5, 9), fits=lambda ground: ground.has_clocks),
        Fault("cut_off_and_restored", cut_off_and_restored, (2, 6), backup_age=OLD_BACKUP),
        Fault("server_clock_back", server_clock_moved(-HOUR_SECONDS), fits=lambda ground: ground.has_clocks),
    )
}
# What two servers may answer in another way than one; the rest is between a host and its scans.
OF_TWO_SERVERS = ("replica", "wire_", "database_", "runner_killed", "scan_cancelled", "runner_revoked", "token_rotated")


def that_fit(ground: Ground) -> list[str]:
    kinds = OF_TWO_SERVERS if ground.has_replica else ""
    return [fault.name for fault in FAULTS.values() if fault.name.startswith(kinds) and fault.fits(ground)]
