"""The README's path from an AWS account to the first trace: three commands, as they stand there."""

from __future__ import annotations

import os
import pty
import re
import shlex
import time
from typing import TYPE_CHECKING

import support_traces as traces
from support_aws import REGION, ROOT

from lambdatrace.agent.dynamodb import open_table
from lambdatrace.store import url as store_url

if TYPE_CHECKING:
    from support_aws import Aws


def commands() -> list[list[str]]:
    readme = (ROOT / "README.md").read_text()
    (block,) = re.findall(
        r"From an account to the first trace:\n\n```sh\n(.*?)```", readme, re.DOTALL
    )
    return [shlex.split(line) for line in block.splitlines()]


def answered(aws: Aws, arguments: list[str], answer: bytes) -> tuple[int, str]:
    """Run a command at a terminal, where somebody answers."""
    ours, its = pty.openpty()
    try:
        os.write(ours, answer)
        ended = aws.run(*arguments, stdin=its)
    finally:
        os.close(ours)
        os.close(its)
    return ended.code, ended.stdout + ended.stderr


def test_three_commands(aws: Aws) -> None:
    install, deploy, read = commands()
    assert install == ["pip", "install", "lambdatrace"]
    aws.function("orders-import")
    code, said = answered(aws, deploy[1:], b"\n")
    assert (code, "make these changes? [y/N]" in said) == (1, True)
    assert aws.configuration("orders-import")["Layers"] == []
    code, said = answered(aws, deploy[1:], b"y\n")
    assert code == 0
    # What the agent writes once the function has been invoked.
    variables = aws.configuration("orders-import")["Environment"]["Variables"]
    store = f"{variables['LAMBDATRACE_STORE']}?region={REGION}&endpoint={aws.endpoint}"
    writer = open_table(
        store_url.parse(store, {}),
        {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test"},
    )
    execution = traces.execution(started_ns=time.time_ns() - 10**9, function="orders-import")
    assert writer.write(execution, time.monotonic() + 60) == 0
    writer.close()
    shown = aws.run(*read[1:])
    assert shown.code == 0, shown.stderr
    assert "orders-import" in shown.stdout
