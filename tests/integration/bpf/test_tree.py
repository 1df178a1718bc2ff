"""Who is traced: all that the root starts, whatever way it was started, and nobody else."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import support_probe as kernel
from support import require
from support_servers import Servers

MEMBERS = {
    "main", "thread", "thread_of_a_thread", "child", "thread_of_a_child", "grandchild",
    "child_of_a_thread", "exec", "posix_spawn", "exec_from_thread", "in_a_pid_namespace", "daemon",
    "main_after_exec",
}  # fmt: skip
OTHERS = {"own", "outsider"}


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param([], id="initial-namespace"),
        pytest.param(["unshare", "--pid", "--fork", "--mount-proc"], id="pid-namespace"),
    ],
)
def test_the_whole_tree_is_followed_and_nobody_else(prefix: list[str]) -> None:
    require(shutil.which("unshare"), "unshare is not installed")
    with Servers() as servers:
        ports = {name: servers.sink() for name in MEMBERS | OTHERS}
        program = kernel.PROGRAMS / "follow.py"
        ran = kernel.run([*prefix, sys.executable, program, json.dumps(ports)])
    told = json.loads(ran.stdout)
    assert told["seen"] == sorted(MEMBERS)
    assert told["lost"] == 0

    # One branch: that of the root's child from which all descend. Pids are the kernel's own.
    assert told["branches"] == 1
    assert (told["processes"]["main"] == told["child"]) == (not prefix)

    processes, threads = told["processes"], told["threads"]
    assert threads["main"] == processes["main"] == processes["thread"] != threads["thread"]
    assert processes["main_after_exec"] == processes["main"]
    assert processes["child"] == processes["thread_of_a_child"] != processes["main"]
    alone = {"grandchild", "child_of_a_thread", "exec", "posix_spawn", "daemon"}
    assert len({processes[name] for name in alone | {"main", "child"}}) == len(alone) + 2
    # After exec a thread has become its process.
    assert threads["exec_from_thread"] == processes["exec_from_thread"]
    assert told["commands"]["exec"] == told["commands"]["exec_from_thread"] == "bash"
