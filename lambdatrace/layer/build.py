"""Builds the layer's zip: the same bytes from the same lambdatrace, on any machine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace import __version__
from lambdatrace.errors import LayerError
from lambdatrace.layer.contents import (
    MODE,
    PACKAGES,
    Architecture,
    LayerFile,
    files,
    layer_path,
    modules,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The first moment a zip can name.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3  # the system whose permissions are meant (APPNOTE 4.4.2)
_REGULAR_FILE = 0o100000
# Bytes; Lambda takes 50 MB in one upload, and every cold start pays for what it unpacks.
MOST_BYTES = 5_000_000
# Lambda's Python runtimes on Amazon Linux 2023, by Python's minor version: older ones have too old
# a C library. The last is the newest there is.
MINORS = range(12, 15)

# Reads {file: [module, source]} from standard input and answers with the file that opt/start.py
# reads, its name on a line before it; run by the interpreter that is to read it. After MAGIC_NUMBER
# and the length of what follows (4 bytes) stands {module: (is a package, where, bytes)}, and behind
# it, counted from there, the code of each. `from __future__` becomes what it tells the compiler: at
# run time it would be a module more to find.
_COMPILE = """
import __future__, ast, importlib.util, json, marshal, sys
found, codes = {}, b""
for file, (module, source) in json.load(sys.stdin).items():
    tree, flags, body = ast.parse(source), 0, []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                flags |= getattr(__future__, alias.name).compiler_flag
        else:
            body.append(node)
    tree.body = body
    code = compile(tree, "/opt/" + file, "exec", flags, dont_inherit=True, optimize=2)
    dumped = marshal.dumps(code)
    found[module] = file.endswith("/__init__.py"), len(codes), len(dumped)
    codes += dumped
name = "compiled." + sys.implementation.cache_tag + "\\n"
index = marshal.dumps(found)
head = importlib.util.MAGIC_NUMBER + len(index).to_bytes(4, "little") + index
sys.stdout.buffer.write(name.encode() + head + codes)
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One built layer.

    `content` is the zip, `sha256` its hash in hexadecimal; `sources` is the hash of the zip without
    bytecode, which is the same for everybody.
    """

    architecture: Architecture
    content: bytes
    sha256: str
    sources: str

    @property
    def name(self) -> str:
        """What it is called in an account."""
        return layer_name(self.architecture)

    @property
    def description(self) -> str:
        """What tells this layer's content from others', at Lambda; bytecode is no other content."""
        return f"lambdatrace {__version__} sha256:{self.sources}"


def layer_name(architecture: Architecture) -> str:
    """What the layer for `architecture` is called in an account."""
    return f"lambdatrace-{architecture}"


def build(architecture: Architecture, bytecode: Sequence[LayerFile] = ()) -> Layer:
    """The layer for `architecture`; `bytecode` is what `compiled` has made."""
    sources = _zipped(files(architecture))
    content = sources
    if bytecode:
        content = _zipped([*files(architecture), *bytecode])
    digest, plain = (hashlib.sha256(each).hexdigest() for each in (content, sources))
    return Layer(architecture, content, digest, plain)


def compiled(interpreters: Iterable[Path]) -> tuple[LayerFile, ...]:
    """The agent's modules, compiled: a file for each version among `interpreters`.

    A cold start in a function of the same version need not do it. The bytes depend on the
    interpreters. Raises LayerError when one cannot be run.
    """
    sources = {
        layer_path(path): (name, path.read_text("utf-8")) for name, path in modules().items()
    }
    found = [_compiled(each, sources) for each in interpreters]
    return tuple({file.name: file for file in found}.values())


def compiled_here() -> tuple[LayerFile, ...]:
    """As `compiled`, for each version of Lambda's that this machine has an interpreter of."""
    names = [f"python3.{minor}" for minor in MINORS]
    candidates = [Path(path) for path in map(shutil.which, names) if path]
    if sys.version_info[:2] in {(3, minor) for minor in MINORS}:
        candidates.append(Path(sys.executable))
    found: list[LayerFile] = []
    for each in candidates:
        # A name may be there without an interpreter behind it: pyenv's are.
        with contextlib.suppress(LayerError):
            found += compiled([each])
    return tuple({file.name: file for file in found}.values())


def _zipped(found: Iterable[LayerFile]) -> bytes:
    buffer = io.BytesIO()
    # Stored, not deflated: deflating makes other bytes with another zlib. It is small as it is.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(found, key=lambda file: file.name):
            entry = zipfile.ZipInfo(file.name, _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = (_REGULAR_FILE | file.mode) << 16
            archive.writestr(entry, file.content)
    return buffer.getvalue()


def _compiled(interpreter: Path, sources: dict[str, tuple[str, str]]) -> LayerFile:
    try:
        done = subprocess.run(  # noqa: S603  # the user's own interpreter
            # Without the columns of tracebacks: a twelfth less to read.
            [interpreter, "-I", "-S", "-X", "no_debug_ranges", "-c", _COMPILE],
            input=json.dumps(sources).encode(),
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LayerError(
            f"{interpreter} cannot compile the agent: {error}",
            "name a Python from 3.11 on, as in --bytecode python3.13",
        ) from error
    name, _, content = done.stdout.partition(b"\n")
    return LayerFile(f"{PACKAGES}/{name.decode()}", MODE, content)
