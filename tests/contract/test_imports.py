"""Who may import whom: as written (.importlinter), and as loaded by a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import support_traces as traces

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, sys
from lambdatrace.cli.environment import Environment
from lambdatrace.cli.main import program
code = program(sys.argv[1:], Environment())
with open(os.environ["LOADED"], "w") as file:
    json.dump([code, sorted(sys.modules)], file)
"""
# Nothing of rich is needed where what is shown fits, without colours and wide characters.
HEAVY = {"pandas", "numpy", "boto3", "botocore", "bcc", "rich"}


def test_the_arrows_point_one_way() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / ".importlinter"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], HEAVY | {"sqlite3"}),
        (["--version"], HEAVY | {"sqlite3"}),
        (["show", "--help"], HEAVY | {"sqlite3"}),
        (["deploy-layer", "--help"], HEAVY | {"sqlite3"}),
        (["template"], HEAVY | {"sqlite3"}),
        (["show", "4f2c9a10-0000-4000-8000-000000000001"], HEAVY),
        (["show", "4f2c9a10-0000-4000-8000-000000000001", "-o", "json"], HEAVY),
        (["list", "--since", "2026-11-22T00:00:00Z", "--until", "2026-11-23T00:00:00Z"], HEAVY),
        (["list", "--since", "1m", "-o", "csv"], HEAVY),
        (["export", "--since", "2026-11-22T00:00:00Z"], HEAVY | {"pyarrow"}),
        (["top-destinations", "--since", "2026-11-22T00:00:00Z"], HEAVY),
        (["stats", "--since", "2026-11-22T00:00:00Z"], HEAVY),
    ],
)
def test_what_a_command_loads(tmp_path: Path, arguments: list[str], absent: set[str]) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(traces.pipeline()))
    loaded = tmp_path / "loaded.json"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=ROOT,
        env={"LAMBDATRACE_STORE": url, "LOADED": str(loaded), "PATH": ""},
        capture_output=True,
        check=True,
    )
    code, modules = json.loads(loaded.read_text())
    assert not code
    assert not absent & set(modules)
    assert not [
        name for name in modules if name.startswith(("lambdatrace.agent", "lambdatrace.bpf"))
    ]
