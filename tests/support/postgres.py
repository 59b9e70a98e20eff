"""A PostgreSQL of the tests' own: its socket in a temporary folder, an account without rights, ended by process id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import quote

import asyncpg

from apviso.server.db.upgrade import upgrade

Result = TypeVar("Result")
START_SECONDS = 60
# So many pieces of 16 MiB are prepared at most.
MOST_PIECES = 20
SUPERUSER = "tests"
TEMPLATE = "schema_at_head"
# Rows that were taken out leave their places behind, which make later reads slower.
MOST_USES = 100
_NUMBERS = count(1)
END_OTHERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
# What there is in a database besides rows, and the version that it says it has.
# Whatever changes a table or an index writes a row of these catalogs anew, in a transaction with a number of its own.
MADE = """
SELECT (SELECT ROW(count(*), sum(xmin::text::bigint))::text FROM pg_class WHERE relnamespace = 'public'::regnamespace),
       (SELECT ROW(count(*), sum(xmin::text::bigint))::text FROM pg_attribute),
       (SELECT version_num FROM alembic_version)
"""
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'"
NUMBERS = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"
# Nothing here has to survive a power cut; what a test says about durability it says to its own server.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
SMALL = {"shared_buffers": "32MB", "max_connections": "200", "autovacuum": "off", "max_wal_size": "256MB"}


def binaries() -> Path | None:
    """Where `initdb` and `postgres` are: the newest that Debian installed, else what the PATH has."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """A cluster that can be stopped and started again, and databases in it, each empty or with the schema at head."""

    def __init__(self, folder: Path, settings: dict[str, str], *, is_small: bool = False) -> None:
        programs = binaries()
        assert programs is not None, "PostgreSQL is not installed"
        self.programs = programs
        self.folder = folder
        # On a file system of its own, which can be filled.
        self.is_small = is_small
        self._settings = {**SMALL, **settings, "listen_addresses": "", "unix_socket_directories": str(folder), "timezone": "Etc/GMT+7"}
        self._account = _account_without_rights()
        self._process: subprocess.Popen[bytes] | None = None
        # Copies of the template that a test is done with.
        self._emptied: list[str] = []
        self._uses: Counter[str] = Counter()
        self._cleaners: dict[str, asyncpg.Connection] = {}
        self._made: list[asyncpg.Record] = []
        self._take_out_rows = ""
        if self._account is not None:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        command = [str(self.programs / "initdb"), "-D", str(folder / "data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(self._as_account(command), check=True, capture_output=True, timeout=START_SECONDS, cwd=folder)

    def start(self) -> None:
        self._launch()
        in_a_loop_of_its_own(self._until_answering())

    def _launch(self) -> None:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._as_account(command), stdout=log, stderr=log, cwd=self.folder)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends every connection at once, SIGQUIT as if the power had gone."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def use_up_log(self) -> None:
        """Go on to one prepared piece of the write-ahead log after the other, until there is no room for the next."""
        with contextlib.suppress(asyncpg.PostgresError, OSError):
            for _ in range(MOST_PIECES):
                self.execute("SELECT pg_create_restore_point('next')", "SELECT pg_switch_wal()")

    def revive(self) -> None:
        """Until it answers, however often it ends by itself on the way."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._process is None or self._process.poll() is not None:
                self._launch()
            try:
                in_a_loop_of_its_own(self._until_answering())
            except AssertionError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            else:
                return

    def be_away(self, seconds: float, how: signal.Signals) -> None:
        """Stop, and come back after this time."""
        self.stop(how)
        time.sleep(seconds)
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://{SUPERUSER}@/{database}?host={quote(str(self.folder), safe='')}"

    def execute(self, *statements: str, database: str = "postgres") -> list[list[asyncpg.Record]]:
        """The answers to statements of the superuser, each in a transaction of its own."""

        async def run() -> list[list[asyncpg.Record]]:
            connection = await self._connect(database)
            try:
                return [list(await connection.fetch(statement)) for statement in statements]
            finally:
                await connection.close()

        return in_a_loop_of_its_own(run())

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The name of a database as new as `template`, which nobody else has and to which nobody is connected afterwards."""
        name = self._emptied.pop() if template == TEMPLATE and self._emptied else None
        if name is None:
            name = f"test_{next(_NUMBERS)}"
            self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            self._uses[name] += 1
            if template == TEMPLATE and self._uses[name] < MOST_USES and self._is_emptied(name):
                self._emptied.append(name)
            else:
                self._cleaners.pop(name, None)
                self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def make_template(self) -> None:
        """Bring one database to the newest schema, to copy the others from."""
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        in_a_loop_of_its_own(upgrade(self.url(TEMPLATE)))
        self._made, tables, numbers = self.execute(MADE, TABLES, NUMBERS, database=TEMPLATE)
        self._take_out_rows = ";".join(
            [
                # Nobody else sees it, so that the order of the tables does not matter.
                "SET session_replication_role = replica",
                *(f"DELETE FROM {table['relname']}" for table in tables),
                *(f"SELECT setval('{number['relname']}', 1, false)" for number in numbers),
            ]
        )

    def _is_emptied(self, name: str) -> bool:
        """Take out all rows, which costs a tenth of a new copy; only where the test has changed nothing else."""

        async def run() -> bool:
            connection = await self._alone_in(name)
            if list(await connection.fetch(MADE)) != self._made:
                connection.terminate()
                return False
            # A few rows in a few tables: TRUNCATE would make new files for every table and index.
            await connection.execute(self._take_out_rows)
            self._cleaners[name] = connection
            return True

        return in_a_loop_of_its_own(run())

    async def _alone_in(self, name: str) -> asyncpg.Connection:
        """The connection that was kept since the last time, as to connect costs as much as to take out the rows; all others are ended."""
        kept = self._cleaners.pop(name, None)
        if kept is not None:
            # The server may have been stopped meanwhile.
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await kept.fetch(END_OTHERS)
                return kept
        connection = await self._connect(name)
        await connection.fetch(END_OTHERS)
        return connection

    async def _connect(self, database: str) -> asyncpg.Connection:
        return await asyncpg.connect(host=str(self.folder), user=SUPERUSER, database=database, timeout=START_SECONDS)

    async def _until_answering(self) -> None:
        async with asyncio.timeout(START_SECONDS):
            while True:
                assert self._process is not None
                assert self._process.poll() is None, (self.folder / "log").read_text()
                try:
                    await (await self._connect("postgres")).close()
                except (OSError, asyncpg.CannotConnectNowError):
                    await asyncio.sleep(0.05)
                else:
                    return

    def _as_account(self, command: list[str]) -> list[str]:
        """PostgreSQL refuses to run as root. Where the tests are killed, it ends, too.

        The system takes the end of the thread that started it for that; another thread than the main one may end earlier.
        """
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return command
        who = [f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups"] if self._account else []
        until = ["--pdeathsig", "INT"] if threading.current_thread() is threading.main_thread() else []
        return [setpriv, *until, *who, *command]


def _account_without_rights() -> pwd.struct_passwd | None:
    """Whom to run it as; None for whoever runs the tests."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is no account to run PostgreSQL as")


def in_a_loop_of_its_own(work: Coroutine[Any, Any, Result]) -> Result:
    """Fixtures are no coroutines, yet the loop of a test may be running around them: another thread has a loop for them."""
    return asyncio.run_coroutine_threadsafe(work, _loop_beside()).result(START_SECONDS)


@cache
def _loop_beside() -> asyncio.AbstractEventLoop:
    """For as long as this process lives, as the connections in it."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="databases", daemon=True).start()
    return loop


@contextmanager
def postgres_server(*, small_disk: str | None = None, **settings: str) -> Iterator[PostgresServer]:
    """A running server; fast and forgetful unless `settings` say otherwise. `small_disk`: so large is the file system that it has alone."""
    with TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name, _disk_of(Path(name), small_disk):
        server = PostgresServer(Path(name), {**FAST, **settings}, is_small=small_disk is not None)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@contextmanager
def _disk_of(folder: Path, size: str | None) -> Iterator[None]:
    if size is None:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, timeout=10)
