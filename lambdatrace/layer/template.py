"""Templates for those who deploy by code: the table, the layer and a traced function."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdatrace.layer.contents import Architecture

_FOLDER = Path(__file__).with_name("templates")


class TemplateFormat(StrEnum):
    """What templates there are."""

    SAM = "sam"
    CLOUDFORMATION = "cloudformation"
    TERRAFORM = "terraform"
    CDK = "cdk-snippet"


_FILES = {
    TemplateFormat.SAM: "sam.yaml",
    TemplateFormat.CLOUDFORMATION: "cloudformation.yaml",
    TemplateFormat.TERRAFORM: "terraform.tf",
    TemplateFormat.CDK: "cdk.py.txt",
}


def template(wanted: TemplateFormat, architecture: Architecture, table: str) -> str:
    """The template, for one architecture and a table's name."""
    text = (_FOLDER / _FILES[wanted]).read_text(encoding="utf-8")
    # As the CDK's constants are called.
    constant = architecture.name if architecture.name == "X86_64" else "ARM_64"
    return (
        text.replace("@CDK_ARCH@", constant)
        .replace("@ARCH@", architecture.value)
        .replace("@TABLE@", table)
    )
