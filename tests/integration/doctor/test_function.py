"""`doctor --function`: the real agent, confined; the real command line; moto's Lambda."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import support_traces as traces
from support_aws import REGION, Aws, Ended, Fault
from support_confined import confined_function

from lambdatrace import items
from lambdatrace.agent.writer import open_writer
from lambdatrace.store import open_store
from lambdatrace.store.table import definition, expiry

if TYPE_CHECKING:
    from collections.abc import Mapping


NAME = "under-test"
CONFINED = {
    "version": "$LATEST",
    "machine": {
        "kernel": "5.10.0", "architecture": "x86_64", "python": "3.13.1", "user": 993,
        "capabilities": [], "seccomp": "filter", "no_new_privileges": True, "btf": False,
        "tracefs": None,
    },
    "calls": {"bpf": "EPERM", "perf_event_open": "EPERM", "ptrace": "killed"},
    "backends": [
        {"name": "ebpf", "works": False, "why": "refused (EPERM)", "advice": "be root"},
        {"name": "preload", "works": True, "unavailable": {"locks": "not seen"}},
    ],
}  # fmt: skip


def checks(ended: Ended) -> dict[str, dict[str, Any]]:
    """By name; of several, the last."""
    return {check["name"]: check for check in json.loads(ended.stdout)}


def doctor(aws: Aws, *arguments: str, **environ: str | None) -> Ended:
    return aws.run("doctor", "--function", NAME, "--output", "json", *arguments, environ=environ)


def deployed(aws: Aws, store: str) -> None:
    aws.function(NAME, Environment={"Variables": {"LAMBDATRACE_STORE": store}})


def reported(url: str, report: Mapping[str, Any] = CONFINED) -> None:
    """An environment has written a report."""
    write(url, [items.make_report(NAME, time.time_ns(), report, int(time.time()) + 60)])


def write(url: str, written: list[items.Item]) -> None:
    """As an agent does."""
    writer = open_writer(
        url, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": REGION}
    )
    assert writer.write(written, time.monotonic() + 10) == 0
    writer.close()


def test_what_its_own_agent_has_found(aws: Aws, table: str, aws_environ: dict[str, str]) -> None:
    deployed(aws, table)
    with confined_function(wrapper="") as function:
        function.store = table
        with function.emulator(aws_environ) as emulator:

            def invoked(event: bytes) -> dict[str, str]:
                answer = emulator.invoke(event)
                log = base64.b64encode(b"START\nlambdatrace: a line of its own\n").decode()
                return {"x-amzn-RequestId": answer.request_id, "X-Amz-Log-Result": log}

            aws.invoked = invoked
            ended = doctor(aws, "--yes", "--payload", '{"secret": "of the event"}')
        folder = function.folder
    found = checks(ended)
    assert found["invocation"]["finding"] == "ok"
    assert "by proc, ok, because the kernel refused eBPF (EPERM" in found["trace"]["found"]
    assert found["report"]["finding"] == "ok"
    assert "EPERM" in found["ebpf"]["found"]
    assert "deploy-layer" in found["preload"]["advice"]
    assert "does not see" in found["proc"]["found"]
    assert found["bpf"]["found"] == "refused (EPERM)"
    assert (found["user"]["found"], found["capabilities"]["found"]) == ("993", "none")
    assert (found["seccomp"]["found"], found["no_new_privs"]["found"]) == ("filter", "set")
    assert found["log"]["found"] == "a line of its own"
    assert "can be read" in found["dynamodb"]["found"]
    # Only a layer is missing: what runs here is not deployed.
    problems = [name for name, check in found.items() if check["finding"] == "problem"]
    assert (problems, ended.code) == (["layer"], 1)
    store = open_store(table)
    (report,) = [each for each in store.get(items.report_key(NAME)) if each.kind == items.REPORT]
    store.close()
    # With its keys within a kilobyte, which is one write unit.
    assert len(report.body) < 800
    written = json.dumps(items.read_report(report))
    for secret in ("of the event", aws_environ["AWS_ACCESS_KEY_ID"], str(folder)):
        assert secret not in written


def test_the_latest_report_without_invoking(aws: Aws, table: str) -> None:
    deployed(aws, table)
    reported(table)
    ended = doctor(aws, "--no-invoke")
    found = checks(ended)
    assert "lambda:Invoke" not in aws.calls
    assert "invocation" not in found
    assert found["report"]["finding"] == "ok"
    assert found["ptrace"]["found"] == "refused (killed)"
    assert found["ebpf"]["finding"] == "note"


def test_nobody_is_invoked_unasked(aws: Aws, table: str) -> None:
    deployed(aws, table)
    ended = doctor(aws)
    assert ended.code == 2
    assert "nobody can be asked" in ended.error
    assert "lambda:Invoke" not in aws.calls


def test_no_report_and_no_table(aws: Aws, table: str) -> None:
    deployed(aws, table)
    found = checks(doctor(aws, "--no-invoke"))
    assert found["report"]["finding"] == "problem"
    assert "deploy-layer" in found["report"]["advice"]
    aws.reset()
    aws.function(NAME)
    ended = doctor(aws, "--no-invoke")
    assert ended.code == 1
    assert checks(ended)["table"]["found"] == "its agent is told of no table"


def test_the_keys_and_the_expiry_of_its_table(aws: Aws) -> None:
    client = aws.client("dynamodb")
    client.create_table(
        TableName="traces",
        KeySchema=[{"AttributeName": "ExecutionID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "ExecutionID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    deployed(aws, "dynamodb://traces")
    found = checks(doctor(aws, "--no-invoke"))
    assert found["dynamodb"]["finding"] == "problem"
    client.delete_table(TableName="traces")
    client.create_table(**definition("traces"))
    client.update_time_to_live(**expiry("traces"))
    found = checks(doctor(aws, "--no-invoke"))
    assert (found["keys"]["finding"], found["TTL"]["finding"]) == ("ok", "ok")
    aws.faults = [Fault("dynamodb:DescribeTable", "AccessDeniedException")]
    found = checks(doctor(aws, "--no-invoke"))
    assert "dynamodb:DescribeTable" in found["table"]["found"]


def test_a_function_that_fails_is_traced_all_the_same(aws: Aws, table: str) -> None:
    deployed(aws, table)
    reported(table)
    write(table, traces.execution(execution_id="failed", status="error"))
    aws.invoked = lambda event: {
        "X-Amz-Function-Error": "Unhandled",
        "x-amzn-RequestId": "failed",
    }
    ended = doctor(aws, "--yes", "--payload", '{"errorType": "ValueError", "errorMessage": "no"}')
    found = checks(ended)
    assert found["invocation"]["finding"] == "note"
    assert found["invocation"]["found"].endswith("failed: ValueError: no")
    assert found["trace"]["found"] == "the invocation's is there: by ebpf, error"


def test_what_is_asked_for_wrongly(aws: Aws, table: str) -> None:
    deployed(aws, table)
    assert "is not JSON" in doctor(aws, "--yes", "--payload", "{").error
    ended = aws.run("doctor", "--no-invoke")
    assert (ended.code, "go with --function" in ended.error) == (2, True)
    missing = aws.run("doctor", "--function", "nobody", "--no-invoke")
    assert (missing.code, "there is no function nobody" in missing.error) == (3, True)


def test_a_report_that_is_none(aws: Aws, table: str) -> None:
    deployed(aws, table)
    reported(table, {**CONFINED, "machine": {"kernel": 6}})
    ended = doctor(aws, "--no-invoke")
    assert ended.code == 1
    assert "not what it should be" in ended.error
