"""The files around the code keep their promises: pins, make targets, CI, README, licences."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from support import require

ROOT = Path(__file__).parents[2]
# Where registries and this project's workplaces have their addresses and folders.
FORBIDDEN = re.compile(r"https?://|--index-url|file:/|/opt/|/work/")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def constraints() -> dict[str, str]:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    return dict(line.lower().replace("_", "-").split("==") for line in lines)


def make_targets() -> list[str]:
    return re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE)


def test_constraints_pin_versions_and_hold_no_address() -> None:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    assert not FORBIDDEN.search("\n".join(lines))


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [requirement for group in groups for requirement in group]
    names = {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in wanted}
    assert names <= constraints().keys()


@pytest.mark.parametrize(
    "name", ["Makefile", ".ci/run", "tools/fetch.sh", "tools/packages.sh", "tools/python.sh"]
)
def test_no_registry_and_no_workplace_is_named(name: str) -> None:
    assert not FORBIDDEN.search(text(name))


def test_make_help_names_every_target() -> None:
    help_text = subprocess.check_output(["make", "--no-print-directory"], cwd=ROOT, text=True)
    for target in make_targets():
        assert re.search(rf"^  make {target} +\S", help_text, re.MULTILINE), target


def test_make_test_runs_everything() -> None:
    test = re.search(r"^test:(.*?)##", text("Makefile"), re.MULTILINE)
    assert test is not None
    assert test[1].split() == ["setup", "lint", "type", "unit"]


def test_ci_runs_make_test() -> None:
    assert text(".ci/run").rstrip().splitlines()[-1] == "make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "tools").glob("*.sh")))
def test_scripts_are_bash_without_syntax_errors(script: str) -> None:
    subprocess.run(["bash", "-n", script], cwd=ROOT / "tools", check=True)


def test_set_up_done_already_is_quick() -> None:
    require(os.geteuid() == 0, "set-up is done by root")
    require((ROOT / ".venv/stamp").exists(), "make setup has not run")
    done = subprocess.run(
        ["tools/setup.sh"], cwd=ROOT, check=True, timeout=10, capture_output=True, text=True
    )
    assert "==" not in done.stdout  # every step that does something says so


def test_the_first_commands_of_the_readme() -> None:
    readme = text("README.md")
    assert readme.index("make demo") < readme.index("make test")
    for command in ("run", "invoke", "list", "show", "top-destinations", "deploy-layer"):
        assert f"lambdatrace {command}" in readme


def test_every_fault_of_the_documentation_has_its_test() -> None:
    rows = [line for line in text("docs/faults.md").splitlines() if "::" in line]
    assert len(rows) > 30
    for row in rows:
        for name, test in re.findall(r"`(\w+\.py)::(\w+)`", row):
            assert f"def {test}(" in text(f"tests/integration/agent/{name}"), row


def test_the_licences_are_whole() -> None:
    assert "Apache License" in text("LICENSE")
    assert "END OF TERMS AND CONDITIONS" in text("LICENSE")
    assert "GNU GENERAL PUBLIC LICENSE" in text("LICENSE.GPL-2.0")
    assert "END OF TERMS AND CONDITIONS" in text("LICENSE.GPL-2.0")
    # What is in the layer is under them as well.
    assert text("lambdatrace/layer/licences/Apache-2.0").split() == text("LICENSE").split()
    gpl = "lambdatrace/layer/licences/GPL-2.0"
    assert text(gpl).split() == text("LICENSE.GPL-2.0").split()
    files = tomllib.loads(text("pyproject.toml"))["project"]["license-files"]
    assert sorted(files) == ["LICENSE", "LICENSE.GPL-2.0"]


def test_the_package_takes_its_data_along() -> None:
    data = tomllib.loads(text("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    for package, names in data.items():
        for name in names:
            assert (ROOT / package.replace(".", "/") / name).is_file(), name
    assert "enter.sh" in data["lambdatrace.emulator"]
