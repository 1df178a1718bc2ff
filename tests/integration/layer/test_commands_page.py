"""docs/deploy.md: its examples print what it says, one after the other in one account.

After a change that is meant: GOLDEN=write pytest tests/integration/layer/test_commands_page.py
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from support_aws import ROOT
from support_docs import examples

if TYPE_CHECKING:
    from pathlib import Path

    from support_aws import Aws

PAGE = ROOT / "docs/deploy.md"
# What changes whenever the agent does.
_BYTES = re.compile(r"[0-9.]+ MB|SHA-256 [0-9a-f]+")


def test_examples_print_what_the_page_says(aws: Aws, tmp_path: Path) -> None:
    for name in ("orders-import", "checkout"):
        aws.function(name)
    text = PAGE.read_text()
    found = examples(text)
    for line, said in found:
        words = shlex.split(line)[1:]
        arguments = [str(tmp_path) if word == "build" else word for word in words]
        ended = aws.run(*arguments)
        assert ended.code == 0, (line, ended.stderr)
        printed = ended.stdout.replace(str(tmp_path), "build")
        printed = "".join(f"{each.rstrip()}\n" for each in printed.splitlines())
        if os.environ.get("GOLDEN") == "write":
            text = text.replace(f"$ {line}\n{said}", f"$ {line}\n{printed}")
        else:
            assert _BYTES.sub("", printed) == _BYTES.sub("", said), line
    if os.environ.get("GOLDEN") == "write":
        PAGE.write_text(text)
    shown = {shlex.split(line)[1] for line, _ in found}
    assert {
        "init-table",
        "deploy-layer",
        "status",
        "remove-layer",
        "build-layer",
        "template",
    } == shown
