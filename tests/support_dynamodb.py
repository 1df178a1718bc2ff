"""DynamoDB Local, AWS's own engine, running on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import require

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[1]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDLOCAL", "AWS_SECRET_ACCESS_KEY": "local"}
_START_SECONDS = 60


@contextlib.contextmanager
def dynamodb_local(log: Path) -> Iterator[str]:
    """Its endpoint, for as long as the context lasts; what it prints goes to `log`."""
    folder = Path(
        os.environ.get("LAMBDATRACE_DYNAMODB_LOCAL") or REPOSITORY / ".tools" / "dynamodb"
    )
    jar = folder / "DynamoDBLocal.jar"
    require(jar.exists(), f"no {jar.name} in {folder}: make setup, or LAMBDATRACE_DYNAMODB_LOCAL")
    require(_runs("java", "-version"), "DynamoDB Local needs a Java runtime, version 17 or newer")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                "java", "-Djava.library.path=DynamoDBLocal_lib", "-Xmx512m", "-jar", jar.name,
                "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port),
            ],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(_START_SECONDS * 10):
            if process.poll() is not None:
                pytest.fail(f"DynamoDB Local ended: {log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"DynamoDB Local does not listen: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
