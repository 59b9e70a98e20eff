"""What a page says of installing a runner is what the product and the files in `deploy/` are."""

from __future__ import annotations

import html
import re

import pytest
from typer.testing import CliRunner

from apviso.cli import app
from apviso.server.dashboard.rendering import environment

# How the product is called in the commands, the unit and the files that a page shows.
COMMAND = re.compile(r"(?:^|[/ =])(?:apviso|apviso-runner:\S+|--no-TTY runner) ((?:register|run|doctor|scanners)\b.*)$")
ARGUMENTS = re.compile(r"^ *(?:args: \[(.*)\]|command: (\w+))$")
PLACE = {"url": "https://apviso.example.com", "version": "0.1.0", "file_name": "prod-runner-1"}


def test_files_for_deployment_are_what_the_page_shows(request: pytest.FixtureRequest) -> None:
    for name in ("compose.yaml", "apviso-runner.service", "kubernetes.yaml"):
        template = environment().get_template(f"runners/how/{name}.j2")
        shown = html.unescape(template.render(**PLACE))

        assert (request.config.rootpath / "deploy" / "runner" / name).read_text(encoding="utf-8") == shown + "\n", name


def test_every_command_of_the_page_is_one_of_the_product() -> None:
    parts = environment().get_template("parts.html.j2").module
    page = environment().get_template("runners/how/commands.html.j2").render(parts=parts, is_local=False, **PLACE)
    blocks = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    lines = [line for block in blocks for line in html.unescape(block).splitlines()]
    asked = [found[1] for line in lines if (found := COMMAND.search(line))] + [
        (found[1] or found[2]).replace(",", "") for line in lines if (found := ARGUMENTS.search(line))
    ]

    assert {words.split()[0] for words in asked} == {"register", "run", "doctor", "scanners"}
    for words in asked:
        # A name or an option that is none is refused before the help is shown.
        told = CliRunner().invoke(app, [*words.split(), "--help"])
        assert told.exit_code == 0, (words, told.output)
