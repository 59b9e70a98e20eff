"""Where each setting comes from, and what a mistake in one says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from apviso.runner.config import CONFIG_VARIABLE, ENVIRONMENT, Config, ConfigProblem, load

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "runner-settings.md"


def test_setting_is_decided_by_flag_then_environment_then_file_then_identity_then_default(tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_text('api_url = "https://file.example"\nconcurrency = 3\nshutdown_grace_seconds = 5\n')
    environ = {"APVISO_RUNNER_WORKSPACE": str(tmp_path), "APVISO_RUNNER_CONCURRENCY": "4"}

    by_flag = load({"concurrency": 5}, environ)
    by_environment = load({}, environ)
    by_file = load({}, {"APVISO_RUNNER_WORKSPACE": str(tmp_path)}, "https://identity.example")
    by_identity = load({}, {"APVISO_RUNNER_WORKSPACE": str(tmp_path / "empty")}, "https://identity.example")

    assert (by_flag.config.concurrency, by_flag.sources["concurrency"]) == (5, "flag")
    assert (by_environment.config.concurrency, by_environment.sources["concurrency"]) == (4, "environment")
    assert (by_file.config.concurrency, by_file.sources["concurrency"]) == (3, str(tmp_path / "runner.toml"))
    assert (by_file.config.api_url, by_identity.config.api_url) == ("https://file.example", "https://identity.example")
    assert (by_identity.config.concurrency, by_identity.sources["concurrency"]) == (1, "default")
    assert by_identity.sources["api_url"] == "identity file"


def test_setting_with_an_empty_variable_counts_as_not_set() -> None:
    resolved = load({}, {"APVISO_API_URL": "", "APVISO_RUNNER_CONCURRENCY": "  "})

    assert (resolved.config.api_url, resolved.config.concurrency) == (None, 1)


@pytest.mark.parametrize("given", ["https://c.example", "https://c.example/", "https://c.example/api/v1", "https://c.example/api/v1/"])
def test_api_url_in_any_spelling_is_the_same_address(given: str) -> None:
    assert load({"api_url": given}, {}).config.api_url == "https://c.example"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("APVISO_API_URL", "ftp://c.example"),
        ("APVISO_API_URL", "c.example"),
        ("APVISO_API_URL", "https://user:pass@c.example"),
        ("APVISO_RUNNER_CONCURRENCY", "0"),
        ("APVISO_RUNNER_CONCURRENCY", "many"),
        ("APVISO_RUNNER_CONCURRENCY", "65"),
        ("APVISO_RUNNER_WORKSPACE", "~no-such-account/x"),
    ],
)
def test_setting_that_cannot_be_is_refused_with_its_name_and_source(variable: str, value: str) -> None:
    name = next(name for name, known in ENVIRONMENT.items() if known == variable)

    with pytest.raises(ConfigProblem, match=rf"{name} \(from environment\)"):
        load({}, {variable: value})


@pytest.mark.parametrize("text", ["concurency = 2", "concurrency =", "concurrency = 'x'"])
def test_settings_file_with_a_mistake_is_refused_by_its_path(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(ConfigProblem, match=re.escape(str(path))):
        load({}, {CONFIG_VARIABLE: str(path)})


def test_settings_file_that_was_named_but_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="does not exist"):
        load({}, {CONFIG_VARIABLE: str(tmp_path / "absent.toml")})


def test_settings_reference_lists_every_setting_with_its_variable() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`|-) \| (?:`([^`]*)`|-) \|", REFERENCE.read_text(), re.MULTILINE)

    assert [(name, variable) for name, variable, _ in rows] == [(name, ENVIRONMENT.get(name, "")) for name in Config.model_fields]
    assert {name: default for name, _, default in rows if default} == {
        name: str(field.default) for name, field in Config.model_fields.items() if field.default is not None
    }


def test_settings_file_in_the_home_of_nobody_is_refused_by_its_variable() -> None:
    with pytest.raises(ConfigProblem, match=CONFIG_VARIABLE):
        load({}, {CONFIG_VARIABLE: "~no-such-account/runner.toml"})
