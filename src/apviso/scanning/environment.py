"""The scanners' own Python environment: where it is, whether it is usable, how it is made. Never part of the product's."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

LOCK = Path(__file__).with_name("scanners.txt")
INSTALL_SECONDS = 900
VENV_SECONDS = 120
_MARKER = "apviso-lock.sha256"
_FIX = "Run `python -m apviso.scanning.environment` with the interpreter of this installation."


class InstallFailed(Exception):
    """The environment could not be made; the old one, if any, is untouched. The message is fit for people."""


@dataclass(frozen=True)
class ScannersStatus:
    """`problem` is None where scans can run; `fix` is the next step where they cannot."""

    present: bool
    wapiti_version: str | None
    mitmproxy_version: str | None
    problem: str | None
    fix: str | None


def default_dir() -> Path:
    """Inside a virtual environment beside the product, else in the user's data folder."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix) / "scanners"
    return user_data_path("apviso") / "scanners"


def status(folder: Path) -> ScannersStatus:
    """Read from names of folders alone: cheap enough for every heartbeat."""
    if not os.access(folder / "bin" / "python", os.X_OK):
        return ScannersStatus(False, None, None, "The scanners' environment is missing.", _FIX)
    wapiti, proxy = _version(folder, "wapiti3"), _version(folder, "mitmproxy")
    problem = None
    if wapiti is None or not (folder / "bin" / "wapiti").is_file():
        problem = "Wapiti is missing in the scanners' environment."
    elif proxy is None:
        problem = "The guard's proxy is missing in the scanners' environment."
    elif _made_from(folder) != lock_digest():
        problem = "The scanners' environment was not made from this version's lock file."
    return ScannersStatus(True, wapiti, proxy, problem, _FIX if problem else None)


def lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _made_from(folder: Path) -> str | None:
    try:
        return (folder / _MARKER).read_text().strip()
    except OSError:
        return None


def _version(folder: Path, package: str) -> str | None:
    for found in folder.glob(f"lib/python3.*/site-packages/{package}-*.dist-info"):
        if named := re.fullmatch(rf"{package}-(\d[\w.]*)\.dist-info", found.name):
            return named[1]
    return None


def install(folder: Path) -> None:
    """Make the environment from the lock file, or leave it alone if it was made from this one. Raises InstallFailed.

    A half-made environment is never at `folder`: it is built beside it and moved there when it is whole. What is in its
    `bin` must be run by its own interpreter, because the first lines of the scripts name the place of the building."""
    if status(folder).problem is None:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True) as aside:
            _build(Path(aside) / "made")
            (Path(aside) / "made" / _MARKER).write_text(lock_digest() + "\n")
            _move(Path(aside) / "made", folder, Path(aside) / "old")
    except OSError as error:
        raise InstallFailed(f"The scanners' environment cannot be written: {error}") from error


def _build(made: Path) -> None:
    _run([sys.executable, "-m", "venv", str(made)], VENV_SECONDS, "The virtual environment cannot be made")
    pip = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "--require-hashes", "-r", str(LOCK)], INSTALL_SECONDS, "The scanners cannot be installed")


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
    made = status(folder)
    sys.stdout.write(f"Scanners in {folder}: Wapiti {made.wapiti_version}, guard on mitmproxy {made.mitmproxy_version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
