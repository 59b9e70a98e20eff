"""`apviso admin`: bootstrap, licenses and organization settings, on a real database file."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from apviso.cli import app


@dataclass(frozen=True)
class Host:
    """The machine of an operator: commands run in its folder, on its data."""

    folder: Path

    def run(self, *words: str, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["admin", *words])
        assert result.exit_code == exit_code, result.output
        return result

    def told(self, *words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run(*words, "--json").stdout)
        return answer

    def issue(self, *words: str, exit_code: int = 0) -> str:
        """A license file for three runners; `words` come last and win."""
        limits = ("--runners", "3", "--jobs", "2", "--targets", "4", "--visibility", "private_internal")
        self.run("license", "issue", "--plan", "team", *limits, "--out", "license.json", *words, exit_code=exit_code)
        return "license.json"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APVISO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("APVISO_DATABASE_URL", raising=False)
    return Host(tmp_path)


def test_bootstrap_on_a_fresh_host_makes_everything(host: Host) -> None:
    told = host.told("bootstrap", "--organization", "Acme")

    assert set(told) == {"organizationId", "apiKey", "loginUrl"}
    assert told["apiKey"].startswith("apvk_")
    assert re.fullmatch(r"http://127\.0\.0\.1:8700/set-up\?code=apvl_[0-9a-f]{12}_[\w-]{43}", told["loginUrl"])
    assert stat.S_IMODE((host.folder / "data").stat().st_mode) == 0o700


def test_bootstrap_again_issues_another_key_of_the_same_organization(host: Host) -> None:
    first, second = (host.told("bootstrap", "--organization", "Acme") for _ in range(2))

    assert first["organizationId"] == second["organizationId"]
    assert first["apiKey"] != second["apiKey"]


def test_bootstrap_flag_wins_over_the_environment(host: Host) -> None:
    host.told("bootstrap", "--data-dir", "elsewhere")

    assert (host.folder / "elsewhere/apviso.db").exists()
    assert not (host.folder / "data").exists()


def test_bootstrap_with_unknown_database_is_refused_without_repeating_its_address(host: Host) -> None:
    result = host.run("bootstrap", "--database-url", "mysql://user:hush@db/x", exit_code=78)

    assert "use sqlite:///PATH or postgresql://" in result.output
    assert "hush" not in result.output


def test_bootstrap_with_unreachable_database_says_so(host: Host) -> None:
    result = host.run("bootstrap", "--database-url", "sqlite+aiosqlite:////proc/nowhere/x.db", exit_code=69)

    assert "cannot be opened" in result.output


@pytest.mark.parametrize("name", ["", "   ", "x" * 121])
def test_bootstrap_with_bad_name_is_a_usage_error(host: Host, name: str) -> None:
    host.run("bootstrap", "--organization", name, exit_code=64)


def test_license_issue_makes_the_key_pair_once_and_keeps_it_private(host: Host) -> None:
    host.issue()
    first = (host.folder / "issuer.key").read_bytes()

    host.issue()

    assert (host.folder / "issuer.key").read_bytes() == first
    assert stat.S_IMODE((host.folder / "issuer.key").stat().st_mode) == 0o600
    assert (host.folder / "issuer.pub").exists()


def test_license_issue_with_a_key_file_that_is_none_is_refused(host: Host) -> None:
    (host.folder / "issuer.key").write_text("nonsense")

    host.issue(exit_code=78)

    assert not (host.folder / "license.json").exists()


def test_license_install_with_the_issuer_key_takes_effect_and_is_remembered(host: Host) -> None:
    host.told("bootstrap", "--organization", "Acme")
    installed = host.told("license", "install", host.issue("--organization", "Acme"), "--issuer-key", "issuer.pub")

    renewed = host.told("license", "install", host.issue("--runners", "5"))

    assert (installed["plan"], installed["licenseState"], installed["runnerLimit"]) == ("team", "active", 3)
    assert renewed["runnerLimit"] == 5
    assert host.told("license", "show") == renewed
    assert "team (active" in host.run("license", "show").stdout


def test_license_install_without_the_issuer_key_is_refused(host: Host) -> None:
    host.told("bootstrap")

    result = host.run("license", "install", host.issue(), exit_code=2)

    assert "does not verify" in result.output
    assert host.told("license", "show")["plan"] == "community"


def test_license_install_of_a_changed_file_is_refused_and_trusts_nobody(host: Host) -> None:
    host.told("bootstrap")
    file = host.folder / host.issue()
    file.write_text(file.read_text().replace('"runnerLimit": 3', '"runnerLimit": 3000'))

    host.run("license", "install", "license.json", "--issuer-key", "issuer.pub", exit_code=2)

    assert host.told("license", "show")["plan"] == "community"
    assert not (host.folder / "data/issuer.pub").exists()


def test_license_install_for_another_organization_is_refused(host: Host) -> None:
    host.told("bootstrap", "--organization", "Acme")

    result = host.run("license", "install", host.issue("--organization", "Other"), "--issuer-key", "issuer.pub", exit_code=2)

    assert "Other" in result.output


def test_license_install_with_two_issuers_keeps_both_trusted(host: Host) -> None:
    for name in ("Acme", "Other"):
        host.told("bootstrap", "--organization", name)
        file = host.issue("--key", f"{name}.key")
        host.told("license", "install", file, "--issuer-key", f"{name}.pub", "--organization", name)

    plans = [host.told("license", "show", "--organization", name)["plan"] for name in ("Acme", "Other")]

    assert plans == ["team", "team"]


@pytest.mark.parametrize(
    ("words", "state"),
    [(["--suspended"], "suspended"), (["--expires-in-days", "0"], "grace"), (["--expires-in-days", "0", "--grace-days", "0"], "expired")],
)
def test_license_that_does_not_fully_permit_shows_its_state(host: Host, words: list[str], state: str) -> None:
    host.told("bootstrap")

    installed = host.told("license", "install", host.issue(*words), "--issuer-key", "issuer.pub")

    assert (installed["licenseState"], installed["canStartSelfHostedScan"]) == (state, state == "grace")


def test_license_show_without_an_organization_is_a_usage_error(host: Host) -> None:
    result = host.run("license", "show", exit_code=64)

    assert "bootstrap" in result.output


def test_license_show_with_several_organizations_asks_for_one(host: Host) -> None:
    host.told("bootstrap", "--organization", "Acme")
    host.told("bootstrap", "--organization", "Other")

    result = host.run("license", "show", exit_code=64)

    assert "Acme, Other" in result.output


def test_organization_verification_is_switched_and_shown(host: Host) -> None:
    host.told("bootstrap", "--organization", "Acme")
    before = host.told("organization")

    after = host.told("organization", "--no-require-verification")

    assert (before["requiresVerification"], after["requiresVerification"]) == (True, False)
    assert host.told("organization") == after
    assert "not required" in host.run("organization").stdout
