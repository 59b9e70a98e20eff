"""The product's own files, as the rules about them read them. Reads only; knows no rule."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
GENERATED = ("server/db/migrations/versions/",)


@dataclass(frozen=True)
class Module:
    """One Python file: its place below the folder it was read from, its text and its syntax tree."""

    place: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imports(self) -> Iterator[tuple[str, str]]:
        """Each imported name with the module that it comes from; for `import x`, the name is empty."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.module or "", alias.name) for alias in node.names)

    def calls(self) -> Iterator[str]:
        """Every call as it is written, without its arguments: `work.db.commit`, `print`."""
        return (ast.unparse(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call))


@cache
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SystemError:
        # CPython 3.11 counts its recursion wrongly when another thread gets its turn in the middle ("AST constructor recursion depth
        # mismatch"). The text has no part in that, and a second try tells: it fails again where the cause is another.
        return ast.parse(text)


@cache
def modules(folder: Path = SOURCE / "apviso") -> tuple[Module, ...]:
    """All modules below `folder` that people write, by their place."""
    found = (Module(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py")))
    return tuple(module for module in found if not module.place.startswith(GENERATED))


@cache
def tracked(*suffixes: str) -> tuple[Path, ...]:
    """Files of the repository, in version control or about to be; with suffixes, only those."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return tuple(path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes))


def read(place: str) -> str:
    return (ROOT / place).read_text(encoding="utf-8")
