"""`make demo`: the pipeline under AWS's emulator, with a partner that has good and bad moments.

Starts its own servers in its own network (network.py), invokes the function, shows what lambdatrace
saw of it, and takes everything down again.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from examples.pipeline import network
from examples.pipeline.partner import Partner

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRATCH = ROOT / ".demo"
STORE = f"sqlite://{SCRATCH}/traces.db"
CLI = Path(sys.executable).with_name("lambdatrace")

INTERRUPTED_S = 15.0
PARTNER_PORT = 8080
DYNAMODB_PORT = 8000
ORDERS_ENDPOINT = f"http://orders.example:{DYNAMODB_PORT}"
# Taken by DynamoDB Local, and by nothing else in the demo's network.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
}

GOOD_AND_SLOW: tuple[str, dict[str, str], int, int] = (
    "five times the same; the partner takes its time over one of them",
    {},
    5,
    10,
)
REFUSED = (
    "a partner whose API is not running",
    {"api": f"http://legacy.partner.example:{PARTNER_PORT}"},
    1,
    10,
)
STUCK = ("a partner that never answers, until Lambda ends the wait", {"path": "/stuck"}, 1, 4)


def main() -> None:
    """Run the demo from beginning to end."""
    network.enter("examples.pipeline.demo")
    SCRATCH.mkdir(exist_ok=True)
    for left in SCRATCH.glob("traces.db*"):
        left.unlink()
    with ExitStack() as servers:
        say(
            "starting a DNS server, the partner's API and DynamoDB Local, in a network of their own"
        )
        start_servers(servers)
        for what, event, repeat, timeout_s in (GOOD_AND_SLOW, REFUSED, STUCK):
            say(f"invoking the pipeline: {what}")
            invoke(event, repeat, timeout_s)
    show()


def start_servers(servers: ExitStack) -> None:
    """Everything the pipeline talks to, until `servers` is closed."""
    network.set_up(SCRATCH)
    servers.enter_context(network.name_server())
    dynamodb = ROOT / ".tools/dynamodb"
    command = [
        *("java", "-Xmx256m", f"-Djava.library.path={dynamodb}/DynamoDBLocal_lib"),
        *("-jar", f"{dynamodb}/DynamoDBLocal.jar", "-inMemory", "-disableTelemetry"),
        *("-port", str(DYNAMODB_PORT)),
    ]
    partner = Partner(network.HOSTS["api.partner.example"], PARTNER_PORT)
    servers.callback(partner.ended.set)
    servers.callback(partner.shutdown)
    partner.start()
    address = network.HOSTS["orders.example"]
    servers.enter_context(network.server(command, address, DYNAMODB_PORT, SCRATCH))
    create_table()


def create_table() -> None:
    """The pipeline's table."""
    import boto3

    os.environ.update(CREDENTIALS)
    boto3.client("dynamodb", endpoint_url=ORDERS_ENDPOINT).create_table(
        TableName="Orders",
        KeySchema=[{"AttributeName": "OrderID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "OrderID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def invoke(event: dict[str, str], repeat: int, timeout_s: int) -> None:
    """`lambdatrace invoke`, as a person would type it; a failing function is part of the demo."""
    options = [f"--event={json.dumps(event)}"] if event else []
    options += [f"--repeat={repeat}"] if repeat > 1 else []
    lambdatrace(
        *("invoke", "app.handler", "--folder", "examples/pipeline", "--memory", "256"),
        *("--timeout", str(timeout_s), *options),
        ORDERS_ENDPOINT=ORDERS_ENDPOINT,
        **CREDENTIALS,
    )


def show() -> None:
    """What was seen, and where to go from here."""
    lambdatrace("list", "--since", "1h")
    executions = recorded()
    slow = execution_id(executions, "ok")
    if slow:
        lambdatrace("show", slow)
    lambdatrace("top-destinations", "--since", "1h")
    say("try next:")
    name, store = shlex.quote(os.path.relpath(CLI)), f"--store {shlex.quote(STORE)}"
    for arguments in (
        f"show {execution_id(executions, 'timeout') or '@latest'}",
        "list --status error",
        f"show {slow or '@slowest'} --output json",
    ):
        print(f"  {name} {arguments} {store}")


def recorded() -> list[dict[str, Any]]:
    """What `lambdatrace list` knows, for choosing what to show."""
    command = [str(CLI), "list", "--since", "1h", "--output", "json"]
    environ = {**os.environ, "LAMBDATRACE_STORE": STORE}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environ, check=False)  # noqa: S603
    if done.returncode != 0:
        sys.exit("error: nothing was recorded\nhint: see above for what the agent had to say")
    executions: list[dict[str, Any]] = json.loads(done.stdout)
    return executions


def execution_id(executions: list[dict[str, Any]], status: str) -> str | None:
    """The id of the slowest execution that ended so."""
    found = [execution for execution in executions if execution["status"] == status]
    slowest = max(found, key=lambda execution: float(execution["duration_ms"]), default=None)
    return None if slowest is None else str(slowest["execution_id"])


def lambdatrace(*arguments: str, **environ: str) -> None:
    """Show and run one command of the CLI."""
    print(f"\n$ lambdatrace {shlex.join(arguments)}", flush=True)
    process = subprocess.Popen(  # noqa: S603  # our own command
        [str(CLI), *arguments],
        cwd=ROOT,
        env={**os.environ, "LAMBDATRACE_STORE": STORE, **environ},
    )
    try:
        process.wait()
    except KeyboardInterrupt:
        # It got the Ctrl-C as well, and has a function and an emulator to end.
        process.wait(INTERRUPTED_S)
        raise


def say(text: str) -> None:
    """One line of progress."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
