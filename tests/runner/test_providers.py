"""Which model provider is configured, what an image that needs one is given, and that nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apviso.runner.facts import capabilities, local_secrets, provider_state
from apviso.runner.providers import PROVIDERS, UnusableLogin, configured_provider, find_provider, needed_providers

CANARY = "canary-token-of-a-provider"
CONFIGURED = {
    "anthropic": {"ANTHROPIC_API_KEY": CANARY},
    "openai": {"OPENAI_API_KEY": CANARY},
    "github-copilot": {"COPILOT_GITHUB_TOKEN": CANARY},
    "cloudflare-ai-gateway": {"CLOUDFLARE_API_TOKEN": CANARY, "CLOUDFLARE_ACCOUNT_ID": "account-1", "CLOUDFLARE_GATEWAY_ID": "gateway"},
    "bedrock": {"AWS_ACCESS_KEY_ID": "canary-key-id", "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_REGION": "eu-central-1"},
    "claude-code": {"CLAUDE_CODE_OAUTH_TOKEN": CANARY},
}
BY_FILE = {
    "openai-codex": (".codex/auth.json", "CODEX_AUTH_JSON"),
    "github-copilot": (".config/github-copilot/apps.json", "GITHUB_COPILOT_APPS_JSON"),
    "claude-code": (".claude/.credentials.json", "CLAUDE_CODE_CREDENTIALS_JSON"),
}


def logged_in(home: Path, name: str, mode: int = 0o600, text: str = "") -> dict[str, str]:
    """The environment of an account whose login file is in its home folder."""
    path = home / BY_FILE[name][0]
    path.parent.mkdir(parents=True)
    path.write_text(text or json.dumps({"kind": "account", "tokens": [{"access_token": CANARY}], "expires": 1}))
    path.chmod(mode)
    return {"HOME": str(home)}


def test_providers_are_those_that_people_know_by_these_names() -> None:
    assert list(PROVIDERS) == ["anthropic", "openai", "openai-codex", "github-copilot", "cloudflare-ai-gateway", "bedrock", "claude-code"]


@pytest.mark.parametrize("name", CONFIGURED)
def test_provider_by_environment_is_told_by_name_and_found_with_its_values(name: str) -> None:
    environ = CONFIGURED[name] | {"PATH": "/bin", "HOME": "/nowhere"}

    found = find_provider(name, environ)

    assert found is not None
    assert (found.name, found.credentials) == (name, CONFIGURED[name])
    assert CANARY in found.secrets
    assert "canary" not in repr(found)
    assert provider_state(environ)["modelProvider"] == name
    assert CANARY in local_secrets(environ)
    assert not {"eu-central-1", "gateway"} & {*found.secrets, *local_secrets(environ)}


@pytest.mark.parametrize("name", BY_FILE)
def test_provider_by_login_file_is_told_by_name_and_found_with_its_content(name: str, tmp_path: Path) -> None:
    environ = logged_in(tmp_path, name)

    found = find_provider(name, environ)

    assert found is not None
    assert json.loads(found.credentials[BY_FILE[name][1]])["tokens"] == [{"access_token": CANARY}]
    assert found.secrets == [CANARY]
    assert provider_state(environ)["modelProvider"] == name
    assert capabilities(environ, has_target_auth=False, engine={}, scanners={})["localProviderSecrets"] is True


@pytest.mark.parametrize(("mode", "text", "said"), [(0o644, "", "chmod 600"), (0o600, f"{{{CANARY}", "no valid JSON")])
def test_provider_whose_login_file_cannot_be_used_says_why_without_quoting_it(mode: int, text: str, said: str, tmp_path: Path) -> None:
    environ = logged_in(tmp_path, "claude-code", mode, text)

    with pytest.raises(UnusableLogin, match=said) as caught:
        find_provider("claude-code", environ)

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "environ", [{}, {"HOME": "/nowhere"}, {"ANTHROPIC_API_KEY": ""}, {"CLOUDFLARE_API_TOKEN": CANARY}, {"AWS_REGION": "eu-central-1"}]
)
def test_provider_that_is_configured_in_part_or_not_counts_as_none(environ: dict[str, str]) -> None:
    assert configured_provider(environ) == "none"
    assert [name for name in PROVIDERS if find_provider(name, environ) is not None] == []


@pytest.mark.parametrize(
    ("label", "needed"),
    [
        (None, ()),
        ("", ()),
        ("none", ()),
        ("anthropic", ("anthropic",)),
        (" OpenAI , anthropic,openai", ("openai", "anthropic")),
        ("magic", ("magic",)),
        ("\x1b[2J", ("?",)),
    ],
)
def test_label_of_an_image_names_the_providers_that_it_can_use(label: str | None, needed: tuple[str, ...]) -> None:
    assert needed_providers(label) == needed
