"""`doctor` on this very kernel, with and without privileges, and against both stores."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from support import require
from support_probe import CLI, environment, require_probe

from lambdatrace.store.table import create_table
from lambdatrace.store.url import StoreUrl

if TYPE_CHECKING:
    from pathlib import Path

# Root without root's powers: what is left is a user that nothing is allowed.
CONFINED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")


def doctor(
    *arguments: str, before: tuple[str, ...] = (), more: dict[str, str] | None = None
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run it as a person does: (exit code, checks by name)."""
    done = subprocess.run(
        [*before, *CLI, "doctor", "--output", "json", *arguments],
        capture_output=True,
        env=environment(**(more or {})),
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {check["name"]: check for check in found}


def test_root_sees_everything(tmp_path: Path) -> None:
    require_probe()
    code, found = doctor("--store", f"sqlite://{tmp_path}/new.db")
    assert code == 0
    assert (found["ebpf"]["finding"], found["ebpf"]["group"]) == ("ok", "backend")
    assert found["preload"]["finding"] == "note"  # the last of its rows: what it does not see
    assert "page faults" in found["preload"]["found"]
    assert found["bpf"]["found"] == "allowed"
    assert found["user"]["found"] == "root"
    assert "not there yet" in found["sqlite"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_without_privileges_it_says_what_is_refused(tmp_path: Path) -> None:
    require(shutil.which("setpriv"), "no setpriv (util-linux) to take privileges away with")
    code, found = doctor("--store", f"sqlite://{tmp_path}/new.db", before=CONFINED)
    # The other backend needs none.
    assert code == 0
    assert found["preload"]["group"] == "backend"
    assert found["ebpf"]["finding"] == "note"
    assert "EPERM" in found["ebpf"]["found"]
    assert "CAP_BPF" in found["ebpf"]["advice"]
    assert found["bpf"]["found"] == "refused (EPERM)"
    assert (found["capabilities"]["found"], found["no_new_privs"]["found"]) == ("none", "set")


def test_a_table(dynamodb_local: str, aws_environ: dict[str, str]) -> None:
    require_probe()
    url = StoreUrl("dynamodb", table="Doctor", region="eu-west-1", endpoint=dynamodb_local)
    create_table(url)
    code, found = doctor("--store", str(url), more=aws_environ)
    assert code == 0
    assert "can be read" in found["dynamodb"]["found"]
    assert found["clock"]["found"] == "as the store's"


def test_a_table_that_is_not_there(dynamodb_local: str, aws_environ: dict[str, str]) -> None:
    url = StoreUrl("dynamodb", table="Nowhere", region="eu-west-1", endpoint=dynamodb_local)
    code, found = doctor("--store", str(url), more=aws_environ)
    assert code == 1
    assert found["dynamodb"]["finding"] == "problem"
    assert "clock" not in found


def test_a_table_with_other_keys(dynamodb_local: str, aws_environ: dict[str, str]) -> None:
    import boto3

    boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=dynamodb_local).create_table(
        TableName="OtherKeys",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    url = StoreUrl("dynamodb", table="OtherKeys", region="eu-west-1", endpoint=dynamodb_local)
    code, found = doctor("--store", str(url), more=aws_environ)
    assert code == 1
    assert found["dynamodb"]["finding"] == "problem"
    assert "ExecutionID" in found["dynamodb"]["found"] + found["dynamodb"]["advice"]


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_text("no database")
    code, found = doctor("--store", f"sqlite://{file}")
    assert code == 1
    assert found["sqlite"]["finding"] == "problem"
