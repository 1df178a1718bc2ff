"""The layer's zip: the same bytes wherever it is built, small, and holding what it has to."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambdatrace.errors import LayerError
from lambdatrace.layer import build as building
from lambdatrace.layer.build import build, compiled, compiled_here
from lambdatrace.layer.contents import Architecture, modules

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
BUILD = """
import hashlib, os, sys
os.umask(int(sys.argv[1], 8))
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from lambdatrace.layer.build import build, compiled
from lambdatrace.layer.contents import Architecture
for each in Architecture:
    print(build(each).sha256, build(each, compiled([Path(sys.executable)])).sha256)
"""


def built(folder: Path, umask: str, **environ: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", BUILD, umask, ROOT],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_two_machines_build_the_same_bytes(tmp_path: Path) -> None:
    one = built(tmp_path, "022", PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C")
    other = built(ROOT, "077", PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C.UTF-8")
    assert one == other
    assert len(set(one.split())) == 4


@pytest.mark.parametrize("architecture", Architecture)
def test_what_is_in_it(architecture: Architecture) -> None:
    layer = build(architecture)
    assert hashlib.sha256(layer.content).hexdigest() == layer.sha256
    assert layer.sha256 in layer.description
    with zipfile.ZipFile(io.BytesIO(layer.content)) as archive:
        entries = archive.infolist()
        assert archive.testzip() is None
    names = [entry.filename for entry in entries]
    assert names == sorted(set(names))
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    # Lambda runs every executable of this folder.
    assert [name for name in names if name.startswith("extensions/")] == ["extensions/lambdatrace"]
    assert {name for name in names if not name.startswith("lambdatrace/")} == {
        "extensions/lambdatrace"
    }
    executable = {entry.filename for entry in entries if entry.external_attr >> 16 & 0o111}
    assert executable == {
            "extensions/lambdatrace", "lambdatrace/start", "lambdatrace/idle",
            "lambdatrace/wrapper", "lambdatrace/lib/liblambdatrace_preload.so",
        }  # fmt: skip
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644, 0o100755}
    packaged = "lambdatrace/packages/lambdatrace"
    assert {"lambdatrace/licences/Apache-2.0", "lambdatrace/licences/GPL-2.0"} <= set(names)
    assert {f"{packaged}/bpf/probe.bin", f"{packaged}/agent/worker.py"} <= set(names)
    for absent in ("cli", "analysis", "emulator", "layer", "model.py", "store/dynamodb.py"):
        assert not [name for name in names if name.startswith(f"{packaged}/{absent}")]


@pytest.mark.parametrize("architecture", Architecture)
def test_it_is_small(architecture: Architecture) -> None:
    """Stored, not deflated, so this is what a cold start unpacks as well."""
    plain = len(build(architecture).content)
    bytecode = len(build(architecture, compiled([Path(sys.executable)])).content) - plain
    assert plain + 3 * bytecode < building.MOST_BYTES


def test_the_architectures_differ_in_their_libraries_only() -> None:
    contents = []
    for architecture in Architecture:
        with zipfile.ZipFile(io.BytesIO(build(architecture).content)) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    one, other = contents
    assert set(one) == set(other)
    assert {name.rpartition("/")[0] for name in one if one[name] != other[name]} == {
        "lambdatrace/lib"
    }


def test_its_modules_are_those_that_are_really_loaded() -> None:
    """By an interpreter that imports all of them, and finds no other of lambdatrace's."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        + "\n".join(f"import {name}" for name in modules())
        + "\nprint(*sorted(n for n in sys.modules if n.partition('.')[0] == 'lambdatrace'))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == sorted(modules())


def test_bytecode_is_what_an_interpreter_takes_without_the_source(tmp_path: Path) -> None:
    layer = build(Architecture.X86_64, compiled([Path(sys.executable)]))
    with zipfile.ZipFile(io.BytesIO(layer.content)) as archive:
        archive.extractall(tmp_path)
    packages = tmp_path / "lambdatrace/packages"
    for path in (packages / "lambdatrace").rglob("*.py"):
        path.write_text("raise SystemExit('the source was read')")
    assert "AWS_LAMBDA_RUNTIME_API is not set" in started(packages)


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "of another Python": lambda content: b"spam" + content[4:],
    "its head alone": lambda _: MAGIC_NUMBER,
    "its index cut short": lambda content: content[:100],
    "no index": lambda _: MAGIC_NUMBER + b"\1\0\0\0x",
    "an empty index": lambda _: MAGIC_NUMBER + b"\2\0\0\0{0",
    "cut short": lambda content: content[:-1],
}


@pytest.mark.parametrize("how", SPOILED)
def test_bytecode_that_is_of_no_use_leaves_the_sources(tmp_path: Path, how: str) -> None:
    with zipfile.ZipFile(io.BytesIO(build(Architecture.X86_64).content)) as archive:
        archive.extractall(tmp_path)
    [file] = compiled([Path(sys.executable)])
    (tmp_path / file.name).write_bytes(SPOILED[how](file.content))
    assert "AWS_LAMBDA_RUNTIME_API is not set" in started(tmp_path / "lambdatrace/packages")


def started(packages: Path) -> str:
    """What the agent says that is started without anything to do."""
    command = [sys.executable, "-I", "-S", "-B", packages / "start.py"]
    return subprocess.run(command, env={}, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("interpreter", ["false", "not there"])
def test_an_interpreter_that_is_none(interpreter: str) -> None:
    with pytest.raises(LayerError, match="cannot compile"):
        compiled([Path(interpreter)])


def test_what_is_compiled_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each of Lambda's versions that is here; what only has such a name is left out."""
    (tmp_path / "python3.12").symlink_to(sys.executable)
    (tmp_path / "python3.13").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {file.name for file in compiled_here()}
    assert found == {f"lambdatrace/packages/compiled.{sys.implementation.cache_tag}"}
    layer = build(Architecture.ARM64, compiled_here())
    assert layer.sha256 != layer.sources == build(Architecture.ARM64).sha256
    assert layer.description == build(Architecture.ARM64).description
