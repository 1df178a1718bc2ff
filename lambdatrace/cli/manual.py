"""The man page: what `--help` says of every command, as man(7) has it.

`make man` writes it to man/lambdatrace.1, from where it is installed.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import typer

from lambdatrace import __version__
from lambdatrace.cli.app import COMMANDS, EPILOG, HELP, make_app

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENVIRONMENT = {
    "LAMBDATRACE_STORE": "the store, where --store does not name one",
    "AWS_REGION, AWS_PROFILE, …": "as AWS's own tools have them",
    "NO_COLOR": "no colours",
    "COLUMNS": "how many cells wide the output is",
    "OTEL_EXPORTER_OTLP_HEADERS": "headers for --otlp-endpoint: key=value,key=value",
    "LAMBDATRACE_DEBUG": "1: tracebacks of unexpected errors",
}
_FILES = {
    "~/.config/lambdatrace/config.toml": "store, region and profile",
    "~/.local/share/lambdatrace/lambdatrace.db": "the default store",
}


def man_page() -> str:
    """The page, for man(1)."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield f'.TH LAMBDATRACE 1 "" "lambdatrace {__version__}" "User Commands"'
    yield ".SH NAME"
    yield _plain("lambdatrace - where the time of one slow Lambda execution went")
    yield ".SH SYNOPSIS"
    yield r".B lambdatrace\fR \fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]..."
    yield ".SH DESCRIPTION"
    yield from _paragraphs(HELP)
    group: Any = typer.main.get_command(make_app())
    yield ".SH COMMANDS"
    for name in COMMANDS:
        yield from _command(name, group.commands[name])
    yield ".SH ENVIRONMENT"
    yield from _definitions(_ENVIRONMENT)
    yield ".SH FILES"
    yield from _definitions(_FILES)
    yield ".SH EXIT STATUS"
    yield from _paragraphs(EPILOG)


def _command(name: str, command: Any) -> Iterator[str]:
    # `lambdatrace show [OPTIONS] EXECUTION`, as --help begins
    context = command.make_context(name, [], resilient_parsing=True)
    yield f".SS {_plain(' '.join(['lambdatrace', name, *command.collect_usage_pieces(context)]))}"
    yield from _paragraphs(command.help or "")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            label, text = record
            yield ".TP"
            yield rf".B {_plain(label)}"
            yield _plain(text)
    yield ".PP"
    yield from _paragraphs(command.epilog or "")


def _definitions(words: dict[str, str]) -> Iterator[str]:
    for name, text in words.items():
        yield ".TP"
        yield f".B {_plain(name)}"
        yield _plain(text)


def _paragraphs(text: str) -> Iterator[str]:
    r"""Paragraphs of a help text; those behind a `\b` keep their lines."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.lstrip().startswith("\b"):
            yield ".PP"
            yield ".nf"
            for line in paragraph.split("\n")[1:]:
                yield _plain(line) or r"\&"
            yield ".fi"
        else:
            yield ".PP"
            yield _plain(" ".join(paragraph.split()))


def _plain(text: str) -> str:
    """`text` as roff takes it for itself."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(man_page())
