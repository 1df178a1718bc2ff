"""Builds the layer's zip: the same bytes from the same lambdatrace, on any machine."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdatrace import __version__
from lambdatrace.errors import LayerError
from lambdatrace.layer.contents import MODE, Architecture, LayerFile, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# The first moment a zip can name.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3  # the system whose permissions are meant (APPNOTE 4.4.2)
_REGULAR_FILE = 0o100000
# Bytes; Lambda takes 50 MB in one upload, and every cold start pays for what it unpacks.
MOST_BYTES = 5_000_000

# Reads {name: source} from standard input and answers with {name of the .pyc: its content in
# base 64}; run by the interpreter that is to read them. Unchecked (PEP 552): times in a layer mean
# nothing.
_COMPILE = """
import base64, importlib.util, json, marshal, sys
found = {}
for name, source in json.load(sys.stdin).items():
    code = compile(source, "/opt/" + name, "exec", dont_inherit=True, optimize=0)
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    content = head + importlib.util.source_hash(source.encode()) + marshal.dumps(code)
    found[importlib.util.cache_from_source(name)] = base64.b64encode(content).decode()
json.dump(found, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One built layer. `content` is the zip, `sha256` its hash in hexadecimal."""

    architecture: Architecture
    content: bytes
    sha256: str

    @property
    def name(self) -> str:
        """What it is called in an account."""
        return layer_name(self.architecture)

    @property
    def description(self) -> str:
        """What tells this layer's content from others', at Lambda."""
        return f"lambdatrace {__version__} sha256:{self.sha256}"


def layer_name(architecture: Architecture) -> str:
    """What the layer for `architecture` is called in an account."""
    return f"lambdatrace-{architecture}"


def build(architecture: Architecture, bytecode: Sequence[Path] = ()) -> Layer:
    """The layer for `architecture`.

    For each interpreter in `bytecode`, the modules are there compiled as well: a cold start in a
    function with the same version of Python need not do it, and the bytes depend on the
    interpreters. Raises LayerError when one cannot be run.
    """
    found = list(files(architecture))
    sources = {file.name: file.content.decode() for file in found if file.name.endswith(".py")}
    for interpreter in dict.fromkeys(bytecode):
        found += _compiled(interpreter, sources)
    content = _zipped(found)
    return Layer(architecture, content, hashlib.sha256(content).hexdigest())


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


def _compiled(interpreter: Path, sources: dict[str, str]) -> list[LayerFile]:
    try:
        done = subprocess.run(  # noqa: S603  # the user's own interpreter
            [interpreter, "-I", "-S", "-c", _COMPILE],
            input=json.dumps(sources).encode(),
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LayerError(
            f"{interpreter} cannot compile the agent: {error}",
            "name a Python from 3.11 on, as in --bytecode python3.13",
        ) from error
    found: dict[str, str] = json.loads(done.stdout)
    return [LayerFile(name, MODE, base64.b64decode(text)) for name, text in found.items()]
