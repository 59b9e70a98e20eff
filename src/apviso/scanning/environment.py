"""The scanners' own Python environments: where they are, whether they are usable, how they are made. Never part of the product's.

Wapiti and the guard's proxy share one; the other scanners have one of their own inside it, because Wapiti pins what they need newer."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path

# Each environment with its lock file; the second lies inside the first, so that both are moved as one.
LOCKS = {"": Path(__file__).with_name("scanners.txt"), "tools": Path(__file__).with_name("tools.txt")}
Program = Literal["wapiti", "schemathesis", "sqlmap", "sslyze"]
INSTALL_SECONDS = 900
VENV_SECONDS = 120
_MARKER = "apviso-lock.sha256"
_FIX = "Run `python -m apviso.scanning.environment` with the interpreter of this installation."


class InstallFailed(Exception):
    """The environment could not be made; the old one, if any, is untouched. The message is fit for people."""


@dataclass(frozen=True)
class _Package:
    """`environment` is a key of LOCKS; `program` is a file in its `bin`, if the package is run by one."""

    environment: str
    distribution: str
    program: str | None
    title: str


PACKAGES: Mapping[str, _Package] = {
    "wapiti": _Package("", "wapiti3", "wapiti", "Wapiti"),
    "mitmproxy": _Package("", "mitmproxy", None, "The guard's proxy"),
    "schemathesis": _Package("tools", "schemathesis", "st", "Schemathesis"),
    "sqlmap": _Package("tools", "sqlmap", "sqlmap", "sqlmap"),
    "sslyze": _Package("tools", "sslyze", "sslyze", "SSLyze"),
}


@dataclass(frozen=True)
class ScannersStatus:
    """`versions` by the names of PACKAGES. `problem` is None where scans can run; `fix` is the next step where they cannot."""

    present: bool
    problem: str | None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def fix(self) -> str | None:
        return _FIX if self.problem else None

    @property
    def summary(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


def default_dir() -> Path:
    """Inside a virtual environment beside the product, else in the user's data folder."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix) / "scanners"
    return user_data_path("apviso") / "scanners"


def status(folder: Path) -> ScannersStatus:
    """Read from names of folders alone: cheap enough for every heartbeat."""
    if not os.access(folder / "bin" / "python", os.X_OK):
        return ScannersStatus(False, "The scanners' environment is missing.")
    found = {name: _version(folder, package) for name, package in PACKAGES.items()}
    problem = next((f"{PACKAGES[name].title} is missing in the scanners' environment." for name in found if found[name] is None), None)
    if problem is None and _made_from(folder) != lock_digest():
        problem = "The scanners' environment was not made from this version's lock files."
    return ScannersStatus(True, problem, {name: version for name, version in found.items() if version is not None})


def program(folder: Path, name: Program) -> list[str]:
    """The beginning of a scanner's command line, by its own interpreter: the script's first line names the place of the building."""
    package = PACKAGES[name]
    scripts = folder / package.environment / "bin"
    return [str(scripts / "python"), "-I", str(scripts / (package.program or name))]


def lock_digest() -> str:
    digest = hashlib.sha256()
    for lock in LOCKS.values():
        digest.update(lock.read_bytes())
    return digest.hexdigest()


def _made_from(folder: Path) -> str | None:
    try:
        return (folder / _MARKER).read_text().strip()
    except OSError:
        return None


def _version(folder: Path, package: _Package) -> str | None:
    place = folder / package.environment
    if package.program is not None and not (place / "bin" / package.program).is_file():
        return None
    for found in place.glob(f"lib/python3.*/site-packages/{package.distribution}-*.dist-info"):
        if named := re.fullmatch(rf"{package.distribution}-(\d[\w.]*)\.dist-info", found.name):
            return named[1]
    return None


def install(folder: Path) -> None:
    """Make the environments from the lock files, or leave them alone if they were made from these. Raises InstallFailed.

    A half-made environment is never at `folder`: it is built beside it and moved there when it is whole."""
    if status(folder).problem is None:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True) as aside:
            for environment, lock in LOCKS.items():
                _build(Path(aside) / "made" / environment, lock)
            (Path(aside) / "made" / _MARKER).write_text(lock_digest() + "\n")
            _move(Path(aside) / "made", folder, Path(aside) / "old")
    except OSError as error:
        raise InstallFailed(f"The scanners' environment cannot be written: {error}") from error


def _build(made: Path, lock: Path) -> None:
    _run([sys.executable, "-m", "venv", str(made)], VENV_SECONDS, "The virtual environment cannot be made")
    pip = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "--require-hashes", "-r", str(lock)], INSTALL_SECONDS, "The scanners cannot be installed")


def _move(made: Path, folder: Path, old: Path) -> None:
    """Both renames are atomic; between them there is no environment, which is honest."""
    if folder.exists():
        folder.rename(old)
    made.rename(folder)


def _run(command: list[str], seconds: int, failure: str) -> None:
    try:
        subprocess.run(command, check=True, timeout=seconds, capture_output=True, text=True, errors="replace")  # noqa: S603 - no part of it comes from outside
    except subprocess.CalledProcessError as error:
        raise InstallFailed(f"{failure}: {_last_line(error.stderr)}") from error
    except subprocess.TimeoutExpired as error:
        raise InstallFailed(f"{failure}: it took longer than {seconds} seconds") from error


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if not line.startswith("WARNING")]
    return lines[-1][:500] if lines else "no reason was given"


def main() -> int:
    """Make the environment at its default place."""
    folder = default_dir()
    try:
        install(folder)
    except InstallFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    sys.stdout.write(f"Scanners in {folder}: {status(folder).summary}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
