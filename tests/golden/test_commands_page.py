"""docs/commands.md: a part for every command, its options, and examples that print what it says.

After a change that is meant: GOLDEN=write pytest tests/golden && git diff
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import typer
from support_docs import PAGE, examples, printed, rewritten, store

from lambdatrace.cli.app import COMMANDS, make_app

if TYPE_CHECKING:
    from pathlib import Path

# Where options that several commands have are described, once.
COMMON = "Options that several commands have"
# The kernel, root, AWS's emulator; or a store that is changed.
RUN_ELSEWHERE = {"run", "invoke", "doctor", "import"}
# What is done to functions at AWS has a page of its own, deploy.md.
AT_AWS = {"deploy-layer", "status", "remove-layer", "init-table", "template", "build-layer"}
HERE = [name for name in COMMANDS if name not in AT_AWS]


def parts() -> dict[str, str]:
    """The page's parts by heading."""
    found = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def options(name: str) -> list[str]:
    """All options of a command, as they are typed."""
    group: Any = typer.main.get_command(make_app())
    command = group.commands[name]
    return [option for each in command.params for option in each.opts if option.startswith("--")]


@pytest.mark.parametrize("name", HERE)
def test_every_command_has_its_part_with_its_options_and_an_example(name: str) -> None:
    found = parts()
    own = found[f"`lambdatrace {name}`"]
    for option in options(name):
        described = f"`{option}" in own or f"`{option}" in found[COMMON] or option == "--help"
        assert described, (name, option)
    assert "```" in own
    assert name in RUN_ELSEWHERE or any(line.split()[1] == name for line, _ in examples(own)), (
        "no example that is run"
    )


@pytest.mark.parametrize("name", sorted(AT_AWS))
def test_what_is_done_at_aws_is_on_its_page(name: str) -> None:
    """Its examples are run in an account (tests/integration/layer/test_commands_page.py)."""
    page = PAGE.with_name("deploy.md").read_text()
    commands = page.partition("\n## The commands\n")[2].partition("\n## ")[0]
    common, *found = re.split(r"^### `lambdatrace (.*)`\n", commands, flags=re.MULTILINE)
    own = dict(zip(found[::2], found[1::2], strict=True))
    if name == "deploy-layer":  # as it says
        common += own["init-table"]
    for option in options(name):
        assert f"`{option}" in own[name] + common or option == "--help", (name, option)
    described = set(re.findall(r"`(--[a-z-]+)", own[name]))
    assert described <= set(options(name)), name
    assert f"$ lambdatrace {name} " in own[name]
    assert f"`{name}`" in PAGE.read_text() or f"`lambdatrace {name}`" in PAGE.read_text()


def test_no_option_is_described_that_is_not_there() -> None:
    group: Any = typer.main.get_command(make_app())
    for name in HERE:
        command = group.commands[name]
        there = {option for each in command.params for option in [*each.opts, *each.secondary_opts]}
        described = set(re.findall(r"`(--[a-z-]+)", parts()[f"`lambdatrace {name}`"]))
        assert described <= there | {"--help"}, name


def test_examples_print_what_the_page_says(tmp_path: Path) -> None:
    url = store(tmp_path / "store.db")
    if os.environ.get("GOLDEN") == "write":
        PAGE.write_text(rewritten(PAGE.read_text(), url))
    found = examples(PAGE.read_text())
    assert len(found) >= 8
    for line, said in found:
        result = printed(line, url)
        assert result.code in (0, 4, 130), (line, result.stderr)
        assert [each.rstrip() for each in result.stdout.splitlines()] == said.splitlines(), line


def test_every_field_of_a_filter_is_on_the_page() -> None:
    from lambdatrace.cli import filtering

    filters = parts()["Filters"]
    for fields in (
        filtering.EXECUTION_FIELDS, filtering.DESTINATION_FIELDS, filtering.CONNECTION_FIELDS,
        filtering.ROW_FIELDS,
    ):  # fmt: skip
        for name in fields:
            pattern = re.sub(r"_p(50|95|99)_ms$", "_p50_ms", name)
            pattern = re.sub(r"^partition\..*", "partition.wait_ms", pattern)
            assert f"`{pattern}`" in filters, name
