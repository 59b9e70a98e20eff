"""Builds the scan image from the interpreter that runs this, without any base image: `python deploy/scan/build.py --tag NAME`.

For machines that reach no public registry. It needs the product installed in this interpreter's environment, the scanners'
environment beside it, and a Docker Engine. Prints the image's id. Elsewhere use the Containerfile next to this file.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import marshal
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import docker

from apviso.scanning import environment
from apviso.scanning.order import IMAGE_SCANNERS_DIR

# What a scan needs of the product's own dependencies; the rest of the product stays out of the image.
SCAN_DEPENDENCIES = Path(__file__).parents[2] / "requirements" / "scan.in"
USER = 65532
IMPORT_SECONDS = 300
_LEFT_OUT = re.compile(r"(^|/)(__pycache__|test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages|config-[^/]*)(/|$)|\.a$")
# What Python keeps of a source it has compiled: after so many bytes of head, the code. Of this kind it is run without a look at the source.
_HEAD_BYTES = 16
_UNCHECKED = (0b01).to_bytes(4, "little")
_LIBRARY = re.compile(r"(/\S+\.so\S*)")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--tag", default="apviso-scan:local", help="name of the image in the engine")
    arguments.add_argument("--scanners-dir", type=Path, default=environment.default_dir())
    asked = arguments.parse_args()
    found = environment.status(asked.scanners_dir)
    if found.problem is not None:
        sys.stderr.write(f"{found.problem} {found.fix}\n")
        return 1
    repository, _, tag = asked.tag.partition(":")
    with TemporaryFile() as image:
        write_image(image, asked.scanners_dir)
        image.seek(0)
        engine = docker.from_env(timeout=IMPORT_SECONDS)
        interpreter = Path(sys.base_prefix, "bin", f"python{sysconfig.get_python_version()}")
        changes = [f"USER {USER}:{USER}", f'ENTRYPOINT ["{interpreter}", "-I", "-m", "apviso.scanning"]', "WORKDIR /"]
        told = engine.api.import_image_from_data(image, changes=changes)
    # Docker names the image by its digest, Podman by the bare number, each in the last line of its answer.
    made = engine.images.get(re.findall(r"[0-9a-f]{64}", told)[-1])
    made.tag(repository, tag or "latest")
    sys.stdout.write(f"sha256:{made.id.removeprefix('sha256:')}\n")
    return 0


def write_image(image: io.IOBase, scanners_dir: Path) -> None:
    """A root file system as a tar: interpreter, libraries, the product's scanning part, scanners. The same input gives the same bytes."""
    site = Path(sys.base_prefix, "lib", f"python{sysconfig.get_python_version()}", "site-packages")
    files = {
        **dict(_interpreter()),
        **{site / name: path for name, path in _product()},
        **{Path(IMAGE_SCANNERS_DIR) / path.relative_to(scanners_dir): path for path in _walk(scanners_dir)},
    }
    libraries = _libraries(path for path in files.values() if path.suffix == ".so" or ".so." in path.name or path.name.startswith("python"))
    files |= {library: library.resolve() for library in libraries if library not in files}
    with tarfile.open(fileobj=image, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in ("proc", "sys", "dev", "run", "etc"):
            _add_folder(tar, folder, 0o755)
        # The engine's folders in memory take these modes over.
        _add_folder(tar, "tmp", 0o1777)
        _add_folder(tar, "work", 0o1777)
        _add_text(tar, "etc/passwd", f"root:x:0:0:root:/:/\nscan:x:{USER}:{USER}:scan:/work:/\n")
        _add_text(tar, "etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
        for inside, path in sorted(files.items()):
            if "__pycache__" not in inside.parts:
                _add(tar, inside, path)
                if path.suffix == ".py" and path.is_file():
                    _add_compiled(tar, inside, path)


def _interpreter() -> Iterator[tuple[Path, Path]]:
    version = f"python{sysconfig.get_python_version()}"
    base = Path(sys.base_prefix)
    yield base / "bin" / version, (base / "bin" / version).resolve()
    for name in ("python3", "python"):
        yield base / "bin" / name, (base / "bin" / version).resolve()
    standard = base / "lib" / version
    for path in _walk(standard):
        if not _LEFT_OUT.search(str(path.relative_to(standard))):
            yield path, path


def _product() -> Iterator[tuple[Path, Path]]:
    """The protocol and the scanning part of the product, and what they stand on; places relative to site-packages."""
    import apviso

    source = Path(apviso.__file__).parent
    for part in ("__init__.py", "protocol", "scanning"):
        for path in _walk(source / part):
            if "__pycache__" not in path.parts:
                yield Path("apviso") / path.relative_to(source), path
    wanted = [line for line in SCAN_DEPENDENCIES.read_text(encoding="utf-8").split("\n") if line and not line.startswith("#")]
    for name in sorted(_closure(wanted)):
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                yield Path(*file.parts), path


def _closure(names: Iterable[str]) -> set[str]:
    """The distributions and all that they require here, extras left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for requirement in importlib.metadata.requires(name) or ():
            if ";" not in requirement:
                waiting.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return found


def _walk(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in sorted([*names, *links]))


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """The shared libraries, and the loader, that these programs name."""
    found: set[Path] = set()
    for program in programs:
        told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=30, check=False)
        found |= {Path(name) for name in _LIBRARY.findall(told.stdout) if Path(name).is_file()}
    return found


def _add(tar: tarfile.TarFile, inside: Path, path: Path) -> None:
    entry = tar.gettarinfo(path, str(inside).lstrip("/"))
    if entry.issym() and Path(entry.linkname).is_absolute() and not entry.linkname.startswith(sys.base_prefix):
        entry = tar.gettarinfo(path.resolve(), str(inside).lstrip("/"))
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.mode & 0o100 or entry.issym() else 0o644
    if entry.isreg():
        with path.open("rb") as content:
            tar.addfile(entry, content)
    else:
        tar.addfile(entry)


def _add_compiled(tar: tarfile.TarFile, inside: Path, path: Path) -> None:
    """Nothing is ever written in the image, so that each start of a scanner would compile all of it anew."""
    source = path.read_bytes()
    code = _kept(path, len(source))
    if code is None:
        try:
            code = marshal.dumps(compile(source, inside, "exec", dont_inherit=True))
        except (SyntaxError, ValueError):
            return
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source)
    _add_bytes(tar, importlib.util.cache_from_source(str(inside)).lstrip("/"), head + code)


def _kept(path: Path, size: int) -> bytes | None:
    """The code as this interpreter keeps it beside the source, if it is of this very source."""
    try:
        kept = Path(importlib.util.cache_from_source(str(path))).read_bytes()
    except OSError:
        return None
    # Neither of the kinds that are told by a hash: by the time and the size of the source.
    by_time = bytes(4) + (int(path.stat().st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
    return kept[_HEAD_BYTES:] if kept.startswith(importlib.util.MAGIC_NUMBER + by_time) else None


def _add_folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    _add_bytes(tar, name, text.encode())


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main())
