"""Namelookups as a real resolver makes them, against a real DNS server in a network of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import require
from support_probe import CLI, environment, require_probe

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _room() -> None:
    require_probe()
    for program in ("dnsmasq", "ip", "unshare"):
        require(shutil.which(program), f"{program} is not installed")


def traced(program: str, folder: Path) -> dict[str, Any]:
    store = f"sqlite://{folder}/traces.db"
    command = [
        "unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork",
        "--kill-child", "sh", str(HERE / "room.sh"), str(folder),
        *CLI, "run", "--store", store, "--", sys.executable, str(HERE / "programs.py"), program,
    ]  # fmt: skip
    more = {"PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        [*CLI, "show", "@latest", "--store", store, "--output", "json"],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    trace: dict[str, Any] = json.loads(shown.stdout)
    assert trace["execution"]["dropped"] == 0
    return trace


def test_connections_show_the_name_they_were_opened_for(tmp_path: Path) -> None:
    trace = traced("web", tmp_path)

    web = [each for each in trace["connections"] if each["port"] == 8080]
    assert [each["host"] for each in web] == ["api.partner.example", "www.partner.example"]
    assert {each["address"] for each in web} == {"192.0.2.10"}

    found = {(each["name"], each["type"]): each for each in trace["namelookups"]}
    for name in ("api.partner.example", "www.partner.example"):
        lookup = found[name, "A"]
        assert lookup["addresses"] == ["192.0.2.10"]
        assert lookup["server"] == "192.0.2.53"
        assert lookup["answer"] == "NOERROR"
        assert lookup["attempts"] == 1
        assert 0 < lookup["duration_ms"] < 5_000
        # libc asks for both kinds of address at once.
        assert found[name, "AAAA"]["addresses"] == []
    first = min(each["started_ms"] for each in web)
    assert found["api.partner.example", "A"]["started_ms"] < first


def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    trace = traced("missing", tmp_path)

    assert {(each["name"], each["answer"]) for each in trace["namelookups"]} == {
        ("nowhere.example", "NXDOMAIN")
    }


def test_an_answer_too_long_for_a_datagram(tmp_path: Path) -> None:
    trace = traced("big", tmp_path)

    lookups = [each for each in trace["namelookups"] if each["name"] == "big.example"]
    assert lookups[0]["truncated"] is True
    assert lookups[-1]["truncated"] is False
    # As many as stand in the 800 bytes that are captured.
    assert len(lookups[-1]["addresses"]) >= 30
    protocols = {each["protocol"] for each in trace["connections"] if each["port"] == 53}
    assert protocols == {"udp", "tcp"}


def test_queries_that_nobody_answers(tmp_path: Path) -> None:
    trace = traced("unanswered", tmp_path)

    (lookup,) = trace["namelookups"]
    assert (lookup["name"], lookup["attempts"]) == ("slow.example", 2)
    assert (lookup["duration_ms"], lookup["answer"]) == (None, None)


def test_bytes_that_are_no_dns_message(tmp_path: Path) -> None:
    trace = traced("garbage", tmp_path)

    (connection,) = trace["connections"]
    assert connection["bytes_out"] == 1 + 600 + 256 + 600
    assert all(lookup["answer"] is None for lookup in trace["namelookups"])
