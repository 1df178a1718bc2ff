"""`lambdatrace template`: infrastructure as code to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.deploying import DEFAULT_TABLE, TraceTableOption
from lambdatrace.layer.contents import Architecture
from lambdatrace.layer.template import TemplateFormat

if TYPE_CHECKING:
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace template > template.yaml
  lambdatrace template --format terraform --arch arm64 > traced.tf
"""

FormatOption = Annotated[TemplateFormat, typer.Option("--format", help="What for.")]
ArchitectureOption = Annotated[Architecture, typer.Option("--arch", help="The function's.")]


def template(
    context: typer.Context,
    wanted: FormatOption = TemplateFormat.SAM,
    architecture: ArchitectureOption = Architecture.X86_64,
    table: TraceTableOption = DEFAULT_TABLE,
) -> None:
    """Write a template: the table, the layer, and an example of a function that is traced."""
    from lambdatrace.layer.template import template as rendered
    from lambdatrace.store.url import parse

    environment: Environment = context.obj
    parse(f"dynamodb://{table}", environment.environ)  # or it is no name of a table
    environment.stdout.write(rendered(wanted, architecture, table))
