"""`lambdatrace build-layer`: the layer's zip, on any machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.errors import UsageError
from lambdatrace.layer.contents import Architecture

if TYPE_CHECKING:
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace build-layer
  lambdatrace build-layer --arch arm64 --folder build
  lambdatrace build-layer --bytecode python3.13
"""

ArchitecturesOption = Annotated[
    list[Architecture] | None,
    typer.Option("--arch", help="One of them only.", show_default="both"),
]
FolderOption = Annotated[
    Path, typer.Option("--folder", metavar="PATH", help="Where the files go; made if need be.")
]
BytecodeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bytecode",
        metavar="PYTHON",
        help="Compile the agent for this interpreter as well: cold starts of functions of its "
        "version take 0.1 s of CPU less. More than once for several.",
    ),
]


def build_layer(
    context: typer.Context,
    architectures: ArchitecturesOption = None,
    folder: FolderOption = Path(),
    bytecode: BytecodeOption = None,
) -> None:
    """Build the Lambda layer: lambdatrace-x86_64.zip and lambdatrace-arm64.zip.

    Needs neither Docker nor a compiler, and writes the same bytes on any machine.
    """
    from lambdatrace.layer.build import build, compiled

    environment: Environment = context.obj
    made = compiled([_interpreter(name) for name in bytecode or ()])
    for architecture in architectures or Architecture:
        layer = build(architecture, made)
        path = folder / f"{layer.name}.zip"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(layer.content)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}", "name another folder with --folder"
            ) from error
        size = len(layer.content) / 1e6
        line = f"{path}  {size:.2f} MB  SHA-256 {layer.sha256}"
        print(line, file=environment.stdout, flush=True)


def _interpreter(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise UsageError(
            f"--bytecode: there is no {name!r} here", "name one that is, or leave it out"
        )
    return Path(found)
