from __future__ import annotations

import sys
from pathlib import Path

import pytest

from apviso.scanning import environment
from apviso.scanning.environment import lock_digest, status

VERSIONS = {"wapiti": "3.2.3", "mitmproxy": "10.2.3", "schemathesis": "4.32.5", "sqlmap": "1.10.10", "sslyze": "6.3.1"}


def made(folder: Path, *, without: str = "", digest: str | None = None) -> Path:
    """The environments as far as their names go."""
    for place in (folder, folder / "tools"):
        packages = place / "lib" / "python3.11" / "site-packages"
        packages.mkdir(parents=True)
        (place / "bin").mkdir()
        (place / "bin" / "python").symlink_to(sys.executable)
        (packages / "wapiti_arsenic-28.2.dist-info").mkdir()
        (packages / "mitmproxy_rs-0.5.2.dist-info").mkdir()
    for name, package in environment.PACKAGES.items():
        if name != without:
            place = folder / package.environment
            (place / "bin" / (package.program or name)).touch()
            (place / "lib" / "python3.11" / "site-packages" / f"{package.distribution}-{VERSIONS[name]}.dist-info").mkdir()
    (folder / "apviso-lock.sha256").write_text(digest or lock_digest())
    return folder


def test_status_of_a_whole_environment_names_its_versions(tmp_path: Path) -> None:
    found = status(made(tmp_path / "scanners"))

    assert (found.present, found.versions) == (True, VERSIONS)
    assert (found.problem, found.fix) == (None, None)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"without": "wapiti"}, "Wapiti is missing"),
        ({"without": "mitmproxy"}, "proxy is missing"),
        ({"without": "sslyze"}, "SSLyze is missing"),
        ({"digest": "0" * 64}, "not made from this"),
    ],
)
def test_status_of_a_part_of_an_environment_names_problem_and_fix(parts: dict[str, str], told: str, tmp_path: Path) -> None:
    found = status(made(tmp_path / "scanners", **parts))

    assert found.problem is not None
    assert told in found.problem
    assert found.fix is not None


def test_status_of_no_environment_is_absent(tmp_path: Path) -> None:
    found = status(tmp_path / "scanners")

    assert (found.present, found.versions) == (False, {})
    assert found.problem == "The scanners' environment is missing."


def test_default_dir_is_inside_the_virtual_environment() -> None:
    assert environment.default_dir() == Path(sys.prefix) / "scanners"


def test_install_over_an_environment_of_this_lock_changes_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path / "scanners")
    before = folder.stat()

    environment.install(folder)

    assert folder.stat() == before


def test_install_that_fails_leaves_the_old_environment_and_no_rest(tmp_path: Path) -> None:
    folder = made(tmp_path / "scanners", digest="0" * 64)
    tmp_path.chmod(0o500)

    try:
        with pytest.raises(environment.InstallFailed):
            environment.install(folder / "bin" / "wapiti" / "below-a-file")
    finally:
        tmp_path.chmod(0o700)

    assert [path.name for path in tmp_path.iterdir()] == ["scanners"]
    assert (folder / "bin" / "wapiti").is_file()
