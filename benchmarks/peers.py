"""Other products to compare with, each in an environment of its own outside the repository. What cannot be had is told, not guessed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

INSTALL_SECONDS = 600


class PeerAbsent(Exception):
    """It cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of pinned packages. `overrides` are for pins that its package index does not serve."""

    name: str
    packages: tuple[str, ...]
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Kept between runs: another list of packages gets another folder."""
        listed = " ".join((sys.version.split()[0], *self.packages, *self.overrides))
        return user_cache_path("apviso-benchmarks") / f"{self.name}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"

    def program(self, name: str) -> str:
        """The path of a program in it, which is installed with the first use. Raises PeerAbsent."""
        if not (self.folder / "installed").exists():
            self._install()
        return str(self.folder / "bin" / name)

    def _install(self) -> None:
        uv = Path(sys.executable).with_name("uv")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        overrides = self.folder / "overrides.txt"
        overrides.write_text("\n".join(self.overrides))
        try:
            _run([str(uv), "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(self.folder)])
            python = str(self.folder / "bin" / "python")
            _run([str(uv), "pip", "install", "--quiet", "--python", python, "--override", str(overrides), *self.packages])
        except (OSError, subprocess.SubprocessError) as error:
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
            raise PeerAbsent(f"{', '.join(self.packages)} could not be installed: {str(said).strip()[-300:]}") from error
        (self.folder / "installed").touch()


PREFECT = Environment("prefect", ("prefect==3.9.1", "asyncpg"), ("certifi>=2026.4",))
QUEUES = Environment("queues", ("procrastinate==3.10.0", "pgqueuer==1.6.0", "psycopg[binary,pool]", "asyncpg", "uvloop"))
ENCODERS = Environment("encoders", ("msgspec==0.22.0", "asyncpg", "uvloop"))


def system_program(name: str, package: str) -> str:
    """The path of a program of the system. Raises PeerAbsent."""
    found = shutil.which(name)
    if found is None:
        raise PeerAbsent(f"{name} is not installed; on Debian: apt-get install {package}")
    return found


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS, env={**os.environ, "VIRTUAL_ENV": ""})
