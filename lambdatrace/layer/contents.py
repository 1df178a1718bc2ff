"""What the layer holds: the agent's own modules, the compiled probe, the library to preload.

Everything lies below /opt/lambdatrace, but for the one file that makes it an extension.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_OPT = Path(__file__).with_name("opt")
_LICENCES = Path(__file__).with_name("licences")

PACKAGES = "lambdatrace/packages"
START = "lambdatrace/start"
EXTENSION = "extensions/lambdatrace"
WRAPPER = "lambdatrace/wrapper"
PRELOADED = "lambdatrace/lib/liblambdatrace_preload.so"

_ENTRY = "lambdatrace.agent.__main__"
MODE = 0o644
EXECUTABLE = 0o755


class Architecture(StrEnum):
    """Instruction sets as Lambda names them."""

    X86_64 = "x86_64"
    ARM64 = "arm64"

    @property
    def machine(self) -> str:
        """As `uname -m` names it."""
        return "aarch64" if self is Architecture.ARM64 else "x86_64"


@dataclass(frozen=True, slots=True)
class LayerFile:
    """One file: `name` below /opt, permissions, content."""

    name: str
    mode: int
    content: bytes


def files(architecture: Architecture) -> tuple[LayerFile, ...]:
    """All files of the layer, by name."""
    found = [
        # The same twice: one that started the other would be a shell more.
        LayerFile(EXTENSION, EXECUTABLE, (_OPT / "start").read_bytes()),
        LayerFile(START, EXECUTABLE, (_OPT / "start").read_bytes()),
        LayerFile("lambdatrace/idle", EXECUTABLE, (_OPT / "idle").read_bytes()),
        LayerFile(WRAPPER, EXECUTABLE, (_OPT / "wrapper").read_bytes()),
        LayerFile(PRELOADED, EXECUTABLE, _preloaded(architecture).read_bytes()),
        LayerFile(f"{PACKAGES}/start.py", MODE, (_OPT / "start.py").read_bytes()),
        _packaged(_PACKAGE / "bpf/probe.bin"),
        *(_packaged(path) for path in modules().values()),
        *(
            LayerFile(f"lambdatrace/licences/{path.name}", MODE, path.read_bytes())
            for path in _LICENCES.iterdir()
        ),
    ]
    return tuple(sorted(found, key=lambda file: file.name))


@functools.cache
def modules() -> dict[str, Path]:
    """The modules that the agent imports, directly or not, at its start or later: name -> file.

    Read from the sources; what stands under `if TYPE_CHECKING:` is no import. Functions of a
    package itself (`__init__.py`) are not the agent's, nor is what they import.
    """
    found: dict[str, Path] = {}
    waiting = [_ENTRY]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting += _imports(path)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return found


def _file(name: str) -> Path | None:
    """The file of one of lambdatrace's modules; None for other modules and for no module."""
    first, *rest = name.split(".")
    if first != _PACKAGE.name:
        return None
    path = _PACKAGE.joinpath(*rest)
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    path = path.with_name(f"{path.name}.py")
    return path if rest and path.is_file() else None


def _imports(path: Path) -> list[str]:
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(path.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef) and path.name == "__init__.py":
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported from a package may be a module of it.
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        waiting += ast.iter_child_nodes(node)
    return found


def _preloaded(architecture: Architecture) -> Path:
    return _PACKAGE / f"preload/liblambdatrace_preload-{architecture.machine}.so"


def layer_path(path: Path) -> str:
    """Where a file of this package stands below /opt."""
    return f"{PACKAGES}/{path.relative_to(_PACKAGE.parent).as_posix()}"


def _packaged(path: Path) -> LayerFile:
    return LayerFile(layer_path(path), MODE, path.read_bytes())
