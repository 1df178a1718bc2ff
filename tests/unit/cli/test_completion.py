"""What TAB offers, and that it never fails, waits or speaks."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import support_traces as traces
from support import require

from lambdatrace.cli import completion

ROOT = Path(__file__).parents[3]
MAIN = [sys.executable, "-c", "from lambdatrace.cli.main import main; main()"]


def completed(words: str, **environ: str) -> list[str]:
    """What a shell is told at the end of `words`."""
    result = subprocess.run(
        MAIN,
        env={
            "PATH": os.environ["PATH"], "_LAMBDATRACE_COMPLETE": "complete_bash",
            "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), **environ,
        },
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Executions of just now."""
    now = time.time_ns()
    return traces.write(
        tmp_path / "store.db",
        traces.execution(execution_id="4f2c-1", started_ns=now - 1_000),
        traces.execution(execution_id="4f2d-2", started_ns=now - 2_000, function="thumbnails"),
        traces.execution(execution_id="b700-3", started_ns=now - 3_000, function="two words"),
        traces.execution(execution_id="b\x1b[31m", started_ns=now - 4_000, function="\x1b[31m"),
    )


def test_ids(store: str) -> None:
    environ = {"LAMBDATRACE_STORE": store}
    assert completed("lambdatrace show ", **environ) == [
        "@latest", "@slowest", "4f2c-1", "4f2d-2", "b700-3",
    ]  # fmt: skip
    assert completed("lambdatrace show 4f2", **environ) == ["4f2c-1", "4f2d-2"]
    assert completed("lambdatrace compare b7", **environ) == ["b700-3"]
    assert completed("lambdatrace show @s", **environ) == ["@slowest"]


@pytest.mark.parametrize("body", ["'text'", "x'00'", "x'7b7d'"])
def test_a_row_that_cannot_be_read_hides_no_others(store: str, body: str) -> None:
    with sqlite3.connect(store.removeprefix("sqlite://")) as connection:
        schema = 1 if body == "x'7b7d'" else 3
        connection.execute(
            f"UPDATE items SET schema = {schema}, body = {body} WHERE kind = 'index' AND "
            "timestamp_nano = (SELECT max(timestamp_nano) FROM items)"
        )
    connection.close()
    environ = {"LAMBDATRACE_STORE": store}
    assert completed("lambdatrace show ", **environ) == ["@latest", "@slowest", "4f2d-2", "b700-3"]


def test_functions_of_the_store_that_was_typed(store: str) -> None:
    words = f"lambdatrace list --store {store} --function "
    assert completed(words) == ["checkout", "thumbnails"]


@pytest.mark.parametrize(
    "url", ["sqlite:///not/there.db", "nonsense", "dynamodb://Traces?region=eu-west-1"]
)
def test_a_store_that_cannot_be_read_offers_nothing(url: str) -> None:
    environ = {"LAMBDATRACE_STORE": url, "AWS_EC2_METADATA_DISABLED": "true"}
    assert completed("lambdatrace show x", **environ) == []


def test_a_store_that_does_not_answer_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environ = {
            "LAMBDATRACE_STORE": f"dynamodb://Traces?region=eu-west-1&endpoint={endpoint}",
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        }  # fmt: skip
        assert completed("lambdatrace show x", **environ) == []
        assert completed("lambdatrace list --table x", **environ) == []


def test_what_comes_in_time_is_offered_and_what_takes_long_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(completion, "LIMIT_S", 0.5)

    def slow() -> list[str]:
        yield "first"  # type: ignore[misc]
        time.sleep(600)

    def broken() -> list[str]:
        yield "one"  # type: ignore[misc]
        raise ZeroDivisionError

    began = time.monotonic()
    assert completion._quickly(slow, "") == ["first"]
    assert time.monotonic() - began < 300
    assert completion._quickly(broken, "") == ["one"]
    assert completion._quickly(lambda: ["a", "a", "b\n", "b"], "a") == ["a"]


# In each shell: its own script, and what it would offer at the end of `lambdatrace show 4f2`. zsh's
# completion system asks a terminal: here what the script hands to it is printed.
SHELLS = {
    "bash": """
        source "$SCRIPT"; COMP_WORDS=(lambdatrace show 4f2); COMP_CWORD=2
        _lambdatrace_completion lambdatrace; printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        compdef() { :; }; _arguments() { print -r -- "$@"; }; source "$SCRIPT"
        words=(lambdatrace show 4f2); CURRENT=3; _lambdatrace_completion
    """,
    "fish": 'source "$SCRIPT"; complete --do-complete "lambdatrace show 4f2"',
}


@pytest.mark.parametrize("shell", SHELLS)
def test_in_a_shell(tmp_path: Path, shell: str) -> None:
    require(shutil.which(shell), f"{shell} is missing: make setup")
    now, proof = time.time_ns(), tmp_path / "proof"
    hostile = ("$(touch${IFS}PROOF)", "`touch\tPROOF`", "';touch${IFS}PROOF;'", '4f2"|touch<PROOF')
    store = traces.write(
        tmp_path / "store.db",
        traces.execution(execution_id="4f2c-1", started_ns=now - 1_000),
        *(
            traces.execution(execution_id=f"4f2{name}".replace("PROOF", str(proof)), started_ns=now)
            for name in hostile
        ),
    )
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LAMBDATRACE_STORE": store,
        "HOME": str(tmp_path), "SCRIPT": str(tmp_path / "script"),
    }  # fmt: skip
    script = subprocess.run(
        ["lambdatrace"], env={**environ, "_LAMBDATRACE_COMPLETE": f"source_{shell}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (tmp_path / "script").write_text(script.stdout)
    offered = subprocess.run(
        [shell, "-c", SHELLS[shell]], env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.findall(r"4f2[^\s\"]*", offered.stdout) == ["4f2c-1"]
    assert not proof.exists()


def test_the_beginning_of_an_id_among_very_many(tmp_path: Path) -> None:
    now = time.time_ns()
    executions = (
        traces.execution(execution_id=f"{n:08x}-{'0' * 27}", started_ns=now - n)
        for n in range(1, 2_500)
    )
    url = traces.write(tmp_path / "store.db", *executions)
    oldest = f"{2_499:08x}-{'0' * 27}"
    assert completed(f"lambdatrace show {oldest[:8]}", LAMBDATRACE_STORE=url) == [oldest]
