"""Where an export goes: a file that is there whole or not at all, or standard output."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.errors import LambdatraceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.cli.environment import Environment

STANDARD_OUTPUT = "-"


@contextmanager
def written(
    environment: Environment, output: str, *, is_binary: bool = False
) -> Iterator[Callable[[bytes], object]]:
    """What takes the pieces of a file.

    A file is written beside its place and then put there, whatever was there before; not where
    anything goes wrong. Raises UsageError for bytes to a terminal, LambdatraceError for a file that
    cannot be written.
    """
    if output == STANDARD_OUTPUT:
        yield _standard_output(environment, is_binary)
        return
    path = Path(output)
    try:
        with _placed(path) as write:
            yield write
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise LambdatraceError(
            f"{output} cannot be written: {error.strerror or error}",
            "name another file: -o FILE, or - for standard output",
        ) from error


@contextmanager
def _placed(path: Path) -> Iterator[Callable[[bytes], object]]:
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with path.open("wb") as file:  # a pipe, a device
            yield file.write
        return
    path = path.resolve()  # not the link is replaced, but what it leads to
    beside = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            yield file.write
        if path.exists():
            beside.chmod(stat.S_IMODE(path.stat().st_mode))
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _standard_output(environment: Environment, is_binary: bool) -> Callable[[bytes], object]:
    stream = environment.stdout
    if is_binary and stream.isatty():
        raise UsageError("these are bytes, and standard output is a terminal", "add -o FILE")
    raw = getattr(stream, "buffer", None)
    if raw is None:
        if is_binary:
            raise UsageError("standard output takes text only", "add -o FILE")
        return lambda piece: stream.write(piece.decode())
    stream.flush()
    write: Callable[[bytes], object] = raw.write
    return write
